"""Predictions of a model beside the labels of the same frames: errors, and slopes (softening).

A slope is that through the origin, ``sum(x * x_ref) / sum(x_ref^2)``: 1 is neither soft nor stiff,
below 1 the model's potential is too soft (Deng et al., arXiv:2405.07105).
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.geometry import find_mic
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa
from numpy.typing import NDArray

from piwsl_plugins.data.frames import Frame

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
MILLI = 1000.0
RESAMPLES = 2000
MOST_FRAMES = 100
"""Frames of the same atoms that are paired with one another; more are thinned out evenly."""


def compare(
    frames: Iterable[Frame], calculator: Calculator, config_type_key: str = "config_type"
) -> pd.DataFrame:
    """Evaluate a calculator on frames, and put its answers beside their labels.

    Returns:
        A row a number, with its ``label`` (energy, forces or stress), what is ``predicted`` and
        the ``reference``, in eV and angstrom; ``frame``, ``n_atoms``, ``config_type``, ``element``
        (of a force), ``seconds`` (of the frame's evaluation). Every frame has its energy, the
        reference NaN without a label; forces and stress only where they are labelled.

    Raises:
        ValueError: the calculator fails at a frame, which is named, or predicts no finite number.
    """
    import pandas as pd  # slow to import, and not needed for --help

    rows = []
    for number, frame in enumerate(frames):
        atoms, labels = frame.atoms.copy(), {"energy": np.nan, **frame.labels}
        atoms.calc = calculator
        started = time.perf_counter()
        try:
            found = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
            if "stress" in labels and "stress" in calculator.implemented_properties:
                found["stress"] = atoms.get_stress()
                labels["stress"] = full_3x3_to_voigt_6_stress(labels["stress"])
            for label, values in found.items():
                if not np.isfinite(values).all():
                    raise ValueError(f"the predicted {label} is not a finite number")
        except Exception as error:  # whatever a calculator raises about a frame
            raise ValueError(f"{frame.name}: the model failed: {error}") from error
        kind, seconds = frame.atoms.info.get(config_type_key), time.perf_counter() - started
        kind = None if kind is None else str(kind)
        about = {"frame": number, "n_atoms": len(atoms), "config_type": kind, "seconds": seconds}
        for label in found.keys() & labels.keys():
            both = {"predicted": np.ravel(found[label]), "reference": np.ravel(labels[label])}
            element = np.repeat(list(atoms.symbols), 3) if label == "forces" else ""
            rows.append(pd.DataFrame({"label": label, **both, "element": element, **about}))
    return pd.concat(rows, ignore_index=True)


def errors_of(rows: pd.DataFrame, unit: Any = MILLI) -> dict[str, float] | None:  # noqa: ANN401
    """Errors times a number, or one a row: ``rmse``, ``mae``, ``max`` and ``n``; None of none."""
    error = ((rows["predicted"] - rows["reference"]) * unit).dropna().abs()
    found = {"rmse": np.sqrt((error**2).mean()), "mae": error.mean(), "max": error.max()}
    return {**{key: float(found[key]) for key in found}, "n": len(error)} if len(error) else None


def accuracy(table: pd.DataFrame, seed: int = 0) -> dict[str, Any]:
    """Every error in a table of :func:`compare`, in the units that people read.

    Those of :func:`errors_of`, by element and configuration type too, and the slope of the forces.
    """
    of = {label: table[table["label"] == label] for label in ("energy", "forces", "stress")}
    energies, forces = of["energy"], of["forces"]
    typed = energies["config_type"].notna().any()
    kinds = table["config_type"].fillna("(none)") if typed else table["label"][:0]
    by_type = {}
    for kind in kinds.unique():
        own, of_kind = (rows[kinds[rows.index] == kind] for rows in (energies, forces))
        by_type[str(kind)] = {
            "n_frames": len(own),
            "energy": errors_of(own),
            "energy_per_atom": errors_of(own, MILLI / own["n_atoms"]),
            "force": errors_of(of_kind),
        }
    predicted, reference, frame = forces[["predicted", "reference", "frame"]].to_numpy().T
    return {
        "energy_mev": errors_of(energies),
        "energy_mev_per_atom": errors_of(energies, MILLI / energies["n_atoms"]),
        "force_mev_per_angstrom": errors_of(forces),
        "stress_gpa": errors_of(of["stress"], 1.0 / GPa),
        "force_by_element": {str(e): errors_of(rows) for e, rows in forces.groupby("element")},
        "by_config_type": by_type,
        "force_slope": slope(predicted, reference, frame, seed),
    }


def slope(
    predicted: Floats, reference: Floats, frames: NDArray[Any], seed: int = 0
) -> dict[str, Any] | None:
    """Slope through the origin with a bootstrap interval over whole frames, not single values.

    A value of two frames, shape [n, 2], counts the product of the times that they were drawn.

    Returns:
        ``slope``, ``interval`` (None if of one frame, or pair), its ``confidence``, ``n_frames``;
        None where no reference value differs from zero.
    """
    if not np.any(reference):
        return None
    groups, group = np.unique(frames.reshape(len(frames), -1), axis=0, return_inverse=True)
    products, norms = (
        np.bincount(group.ravel(), weights=reference * values) for values in (predicted, reference)
    )
    numbers, members = np.unique(groups, return_inverse=True)
    n, rng, slopes = len(numbers), np.random.default_rng(seed), []
    for _ in range(RESAMPLES if len(groups) > 1 else 0):
        times = np.bincount(rng.integers(n, size=n), minlength=n)
        weight = times[members.reshape(groups.shape)].prod(axis=1)
        if (norm := weight @ norms) > 0.0:
            slopes.append(weight @ products / norm)
    return {
        "slope": float(products.sum() / norms.sum()),
        "interval": np.quantile(slopes, [0.025, 0.975]).tolist() if slopes else None,
        "confidence": 0.95,
        "n_frames": n,
    }


def secant_curvatures(
    frames: Sequence[Frame], table: pd.DataFrame
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Curvature along the way between two frames, c = -<d, F(r + d) - F(r)> / <d, d>.

    Every pair of frames with the same atoms in the same order counts, up to :data:`MOST_FRAMES` of
    a kind: molecules superposed by least squares, cells by minimum images.

    Returns:
        Predicted and reference curvatures, shape [n_pairs], eV/angstrom^2, and the two frames of
        each pair, shape [n_pairs, 2].
    """
    forces, alike = {}, defaultdict(list)
    for number, own in table[table["label"] == "forces"].groupby("frame"):
        forces[number] = own[["predicted", "reference"]].to_numpy().T.reshape(2, -1, 3)
        atoms = frames[number].atoms
        lattice = np.round(atoms.cell.array, 6).tolist() if atoms.pbc.any() else None
        alike[str((atoms.numbers.tolist(), atoms.pbc.tolist(), lattice))].append(number)
    curvatures, pairs = [], []
    for members in alike.values():
        chosen = np.unique(np.linspace(0, len(members) - 1, MOST_FRAMES).round().astype(int))
        for first, second in itertools.combinations([members[place] for place in chosen], 2):
            way, turn = _way(frames[first].atoms, frames[second].atoms)
            length = np.sum(way**2)
            if length > 1e-8:  # the same geometry twice has no way
                change = forces[second] @ turn - forces[first]
                curvatures.append(-np.sum(way * change, axis=(1, 2)) / length)
                pairs.append((first, second))
    predicted, reference = np.array(curvatures, dtype=np.float64).reshape(-1, 2).T
    return predicted, reference, np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _way(first: Atoms, second: Atoms) -> tuple[Floats, Floats]:
    """Way from the first frame to the second, [n, 3], and the turn of the second's forces."""
    if first.pbc.any():
        way, _ = find_mic(second.positions - first.positions, first.cell, first.pbc)
        return way - way.mean(axis=0), np.eye(3)
    here, there = (atoms.positions - atoms.positions.mean(axis=0) for atoms in (first, second))
    left, _, right = np.linalg.svd(there.T @ here)
    # a mirror image is not superposed by a mirror
    turn = left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
    return there @ turn - here, turn
