"""What is in a file of frames, collected in one pass over it."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
from ase.data import chemical_symbols

from piwsl_plugins.data import plausibility
from piwsl_plugins.data.blocks import LABELS, Block, Floats
from piwsl_plugins.data.closest import Pair, ShortestPairs
from piwsl_plugins.data.composition import formula
from piwsl_plugins.data.duplicates import Duplicates, find_duplicates
from piwsl_plugins.data.energy_spread import Energies, Spread
from piwsl_plugins.data.fingerprints import Fingerprints, Places
from piwsl_plugins.data.isolated import IsolatedAtoms, is_isolated
from piwsl_plugins.data.progress import watched
from piwsl_plugins.data.readers.base import DataError, Source

_CONFIG_TYPE = "config_type"


@dataclasses.dataclass(slots=True)
class Sizes:
    """Numbers of frames and atoms.

    Attributes:
        frames: number of frames.
        atoms: number of atoms in all.
        smallest: atoms of the smallest frame.
        largest: atoms of the largest frame.
        periodic: frames that are periodic in some direction.
    """

    frames: int = 0
    atoms: int = 0
    smallest: int = 0
    largest: int = 0
    periodic: int = 0

    def add(self, block: Block) -> None:
        """Count the frames of a block."""
        n_atoms = len(block.numbers)
        self.smallest = min(self.smallest, n_atoms) if self.frames else n_atoms
        self.largest = max(self.largest, n_atoms)
        self.frames += len(block)
        self.atoms += n_atoms * len(block)
        if block.pbc is not None:
            self.periodic += int(block.pbc.any(axis=1).sum())


@dataclasses.dataclass(slots=True)
class Forces:
    """Sizes of the vectors of a label such as forces, eV/angstrom.

    Attributes:
        squares: sum of squared components.
        components: number of components.
        longest: length of the longest vector.
        frame: the frame that has it.
        atom: its atom.
    """

    squares: float = 0.0
    components: int = 0
    longest: float = 0.0
    frame: int = 0
    atom: int = 0

    def add(self, block: Block, values: Floats) -> None:
        """Add the vectors of a block, shape [n_frames, n_atoms, 3]; NaN is left out."""
        lengths = np.nan_to_num(np.einsum("fai,fai->fa", values, values))
        self.squares += float(lengths.sum())
        self.components += int((~np.isnan(values)).sum())
        best = int(lengths.argmax())
        frame, atom = divmod(best, lengths.shape[1])
        if lengths[frame, atom] > self.longest**2:
            self.longest = float(np.sqrt(lengths[frame, atom]))
            self.frame, self.atom = int(block.places[frame]), atom

    @property
    def root_mean_square(self) -> float:
        """Of the components."""
        return float(np.sqrt(self.squares / max(1, self.components)))


@dataclasses.dataclass(slots=True)
class Inspection:
    """What one file holds.

    Attributes:
        source: the file.
        sizes: numbers of frames and atoms.
        elements: frames that have each element, by atomic number.
        formulas: frames of each formula.
        groups: number of groups that the file names.
        config_types: frames of each ``config_type``.
        labels: frames that have each label.
        vectors: sizes of the forces and their like.
        spread: energies per atom, or None where there are none.
        isolated: energies of isolated atoms by symbol, None where one has none, eV.
        conflict: what is wrong with isolated atoms, or "".
        duplicates: frames that are there more than once, isolated atoms left out.
        pairs: shortest distance of each pair of elements, the shortest first.
        looked_at: frames whose distances were looked at.
        units: what the numbers say of their units.
        places: where the frames are, isolated atoms left out.
        fingerprints: of these frames.
    """

    source: Source
    sizes: Sizes
    elements: Counter[int]
    formulas: Counter[str]
    groups: int
    config_types: Counter[str]
    labels: Counter[str]
    vectors: dict[str, Forces]
    spread: Spread | None
    isolated: dict[str, float | None]
    conflict: str
    duplicates: Duplicates
    pairs: list[Pair]
    looked_at: int
    units: list[plausibility.Finding]
    places: Places
    fingerprints: Fingerprints


class _Collector:
    """Collects it, some 70 bytes a frame, and twice as many while copies are looked for."""

    def __init__(self, source: Source, frames: int) -> None:
        self.source = source
        self.sizes = Sizes()
        self.elements: Counter[int] = Counter()
        self.formulas: Counter[str] = Counter()
        self.groups: set[str] = set()
        self.config_types: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.vectors: dict[str, Forces] = {}
        self.energies = Energies()
        self.isolated: dict[int, Floats] = {}
        self.atoms = IsolatedAtoms()
        self.conflict = ""
        self.pairs = ShortestPairs(frames)
        self.places = Places([source])
        self.prints = Fingerprints()

    def add(self, block: Block) -> None:
        isolated = is_isolated(block)
        energies = block.labels.get("energy", np.full(len(block), np.nan))
        self.sizes.add(block)
        self.elements.update(dict.fromkeys(np.unique(block.numbers).tolist(), len(block)))
        self.formulas[formula(block.numbers)] += len(block)
        if block.group:
            self.groups.add(block.group)
        self.config_types.update(
            str(kind) for kind in block.info.get(_CONFIG_TYPE, ()) if kind is not None
        )
        self.labels.update({label: int(block.has(label).sum()) for label in block.labels})
        for label, values in block.labels.items():
            if values.ndim == 3 and label != "stress":
                self.vectors.setdefault(label, Forces()).add(block, values)
        if isolated.any():
            self._add_isolated(block, energies[isolated])
        self.pairs.add(block)
        kept = block.take(~isolated)
        if not len(kept):
            return
        self.places.add(0, kept)
        self.prints.add(kept)
        self.energies.add(kept, energies[~isolated])

    def _add_isolated(self, block: Block, energies: Floats) -> None:
        known = energies[~np.isnan(energies)]
        number = int(block.numbers[0])
        if number not in self.isolated or len(known):
            self.isolated[number] = known
        try:
            self.atoms.add(block)
        except DataError as error:
            self.conflict = self.conflict or str(error)

    def done(self) -> Inspection:
        return Inspection(
            source=self.source,
            sizes=self.sizes,
            elements=self.elements,
            formulas=self.formulas,
            groups=len(self.groups),
            config_types=self.config_types,
            labels=Counter({label: n for label in LABELS if (n := self.labels[label])}),
            vectors=self.vectors,
            spread=self.energies.spread(),
            isolated={
                chemical_symbols[number]: float(known[0]) if len(known) else None
                for number, known in sorted(self.isolated.items())
            },
            conflict=self.conflict,
            duplicates=find_duplicates(self.prints.groups(), self.energies.values, self.places),
            pairs=self.pairs.pairs,
            looked_at=self.pairs.looked_at,
            units=_units(self.source, self.atoms.known()),
            places=self.places,
            fingerprints=self.prints,
        )


def inspect(source: Source) -> Inspection:
    """Look at all frames of a file.

    Args:
        source: the file.

    Raises:
        DataError: whatever reading finds wrong.
    """
    collector = _Collector(source, len(source))
    for block in watched(source.blocks(), f"inspecting {source.path.name}", len(source)):
        collector.add(block)
    return collector.done()


def _units(source: Source, atoms: dict[int, float]) -> list[plausibility.Finding]:
    settings = source.settings
    source.settings = dataclasses.replace(settings, allow_unusual_units=True)  # told, not raised
    try:
        return plausibility.check_units(source, atoms)
    finally:
        source.settings = settings


def shared_frames(inspections: list[Inspection]) -> dict[tuple[int, int], tuple[int, str]]:
    """Frames that are in two files; isolated atoms do not count.

    Args:
        inspections: of the files.

    Returns:
        Number of frames of the second file that are in the first, and one of them in words, by the
        files' numbers.
    """
    found, places = Fingerprints(), Places([one.source for one in inspections])
    file = np.repeat(np.arange(len(inspections)), [len(one.fingerprints) for one in inspections])
    for number, one in enumerate(inspections):
        found.extend(one.fingerprints)
        places.extend(number, one.places)
    groups = found.groups()
    shared: dict[tuple[int, int], tuple[int, str]] = {}
    for frame in np.flatnonzero(file != file[groups]).tolist():
        pair = (int(file[groups[frame]]), int(file[frame]))
        number, example = shared.get(
            pair, (0, f"{places.name(frame)} is {places.name(groups[frame])}")
        )
        shared[pair] = (number + 1, example)
    return shared
