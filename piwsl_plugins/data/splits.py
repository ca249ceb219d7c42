"""Splits of frames: what stays together, and what goes where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ase
import networkx
import numpy as np
from ase.neighborlist import natural_cutoffs, neighbor_list
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from piwsl_plugins.data.checks import copies
from piwsl_plugins.data.frames import DataError, Frame

Numbers = NDArray[np.int64]
NOWHERE = -1  # part of a frame that is in none
DESCRIPTOR: dict[str, Any] = {"r_cut": 5.0, "n_max": 6, "l_max": 4, "sigma": 0.5}  # SOAP's


def part_size(word: str) -> tuple[str, int | float]:
    """A part's name and size: ``train=0.8`` (a fraction), ``train=1000`` (a number of frames)."""
    name, _, size = word.partition("=")
    return name, float(size) if "." in size else int(size)


def partition(
    frames: Iterable[Frame], sizes: Mapping[str, int | float], by: str, seed: int
) -> Numbers:
    """Number of each frame's part, or :data:`NOWHERE`, shape [n_frames].

    Copies stay together, and so do what ``by`` says, ``formula`` or ``molecule``; where it is
    ``farthest-point``, the first part are frames far from each other. Isolated atoms go to the
    first part, uncounted. A DataError says that a part is too large or empty.
    """
    unit = copies(frames)
    if by in ("formula", "molecule"):
        name = molecule if by == "molecule" else lambda frame: frame.atoms.get_chemical_formula()
        kind = np.unique([name(frame) for frame in frames], return_inverse=True)[1]
        graph = coo_array((np.ones(len(kind)), (kind, kind[unit])), shape=(len(kind),) * 2)
        unit = connected_components(graph, directed=False)[1][kind]
    free = np.flatnonzero([not frame.is_isolated_atom for frame in frames])
    units, random = unit[free], np.random.default_rng([seed, 1])
    ends = np.cumsum([n * len(free) if isinstance(n, float) else n for n in sizes.values()])
    wanted = np.diff(np.floor(ends + 0.5 + 1e-9), prepend=0).astype(np.int64)
    if wanted.sum() > len(free):
        raise DataError(f"--split asks for {wanted.sum()} frames, but there are {len(free)}")
    first = np.full(len(free), False)
    if by == "farthest-point":
        first = _farthest([f for f in frames if not f.is_isolated_atom], units, wanted[0], random)
        wanted[0] = 0
    dealt = np.zeros(len(free), dtype=np.int64)
    dealt[~first] = deal(units[~first], wanted, random)
    if empty := [name for part, name in enumerate(sizes) if part not in dealt]:
        those = f"{len(free)} frames in {len(np.unique(units))} units that stay together"
        raise DataError(f"--split: no frame is left for {', '.join(empty)} of {those}")
    parts = np.zeros(len(unit), dtype=np.int64)
    parts[free] = dealt
    return parts


def deal(units: Numbers, wanted: Numbers, random: np.random.Generator) -> Numbers:
    """Deal each frame's unit out to parts at random, the largest first, where most is missing.

    ``wanted`` is the number of frames of each part; returns each frame's, or :data:`NOWHERE`.
    """
    _, unit, sizes = np.unique(units, return_inverse=True, return_counts=True)
    order = random.permutation(len(sizes))
    missing = np.array([len(units) - wanted.sum(), *wanted])  # the first is that of no part
    parts = np.empty(len(sizes), dtype=np.int64)
    for number in order[np.argsort(-sizes[order], kind="stable")]:
        parts[number] = missing.argmax()
        missing[parts[number]] -= sizes[number]
    return np.asarray(parts[unit] - 1)


def molecule(frame: Frame) -> str:
    """Name of a frame's molecule: its group in the file, or the graph of its covalent bonds."""
    atoms = frame.atoms
    if "group" in atoms.info:
        return str(atoms.info["group"])
    graph = networkx.Graph()
    graph.add_nodes_from((i, {"element": symbol}) for i, symbol in enumerate(atoms.symbols))
    bonds = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.1))
    graph.add_edges_from(zip(*bonds, strict=True))
    return str(networkx.weisfeiler_lehman_graph_hash(graph, node_attr="element", iterations=12))


def farthest(
    frames: Sequence[ase.Atoms], first: Sequence[int], most: int
) -> tuple[Numbers, NDArray[np.float64]]:
    """Farthest-point selection, after the first ones, by averaged SOAP power spectra.

    Returns numbers of the frames as they are selected, shape [n_selected], and the distance of each
    from those before it, in the spread of all (the median distance from their mean).
    """
    soap_of, search_of = selectors()
    soap = soap_of(
        species=sorted({symbol for atoms in frames for symbol in atoms.symbols}),
        periodic=any(atoms.pbc.any() for atoms in frames),
        average="outer",
        compression={"mode": "mu1nu1"},
        **DESCRIPTOR,
    )
    points = np.array([soap.create(atoms) for atoms in frames])
    points -= points.mean(axis=0)
    search = search_of(n_to_select=most, initialize=list(first)).fit(points)
    order = np.asarray(search.selected_idx_, dtype=np.int64)
    distance = np.sqrt(np.maximum(search.hausdorff_at_select_[order], 0.0))
    spread = float(np.median(np.linalg.norm(points, axis=1))) or 1.0  # all may be equal
    return order, distance / spread


def selectors() -> tuple[Any, Any]:
    """What describes and selects geometries; a DataError says that it is missing."""
    try:
        from dscribe.descriptors import SOAP
        from skmatter.sample_selection import FPS
    except ImportError as error:
        needs = f"needs {error.name}: pip install 'piwsl-plugins[weak]'"
        raise DataError(f"farthest-point selection {needs}, or select in another way") from error
    return SOAP, FPS


def _farthest(
    frames: Sequence[Frame], units: Numbers, wanted: int, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Which frames are in units that are farthest from each other."""
    numbers, first, sizes = np.unique(units, return_index=True, return_counts=True)
    if len(numbers) < 2:
        return np.full(len(units), True)
    start, most = int(random.integers(len(numbers))), min(int(wanted), len(numbers))
    order, _ = farthest([frames[i].atoms for i in first], [start], most)
    chosen = order[np.cumsum(sizes[order]) - sizes[order] < wanted]  # as many as reach the size
    return np.isin(units, numbers[chosen])
