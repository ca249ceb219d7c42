"""Predictions of a model beside the labels of the same frames: errors, and slopes (softening).

A slope is that through the origin, ``sum(x * x_ref) / sum(x_ref^2)``: 1 is neither soft nor stiff,
below 1 the model's potential is too soft (Deng et al., arXiv:2405.07105).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa
from numpy.typing import NDArray

from piwsl_plugins.data.frames import Floats, Frame

if TYPE_CHECKING:
    import pandas as pd

MILLI = 1000.0
RESAMPLES = 2000


def compare(
    frames: Iterable[Frame], calculator: Calculator, config_type_key: str = "config_type"
) -> pd.DataFrame:
    """Evaluate a calculator on frames, and put its answers beside their labels.

    A ValueError names the frame at which it fails or predicts no finite number.

    Returns:
        A row a number, with its ``label`` (energy, forces or stress), what is ``predicted`` and
        the ``reference``, in eV and angstrom; ``frame``, ``n_atoms``, ``config_type``, ``element``
        (of a force), ``seconds`` (of the frame's evaluation). Every frame has its energy, the
        reference NaN without a label; forces and stress only where they are labelled.
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

    Returns:
        ``slope``, ``interval`` (None if of one frame), its ``confidence``, ``n_frames``; None where
        no reference value differs from zero.
    """
    if not np.any(reference):
        return None
    frame = np.unique(frames, return_inverse=True)[1]
    products, norms = (
        np.bincount(frame, weights=reference * values) for values in (predicted, reference)
    )
    n, rng, slopes = len(norms), np.random.default_rng(seed), []
    for _ in range(RESAMPLES if n > 1 else 0):
        times = np.bincount(rng.integers(n, size=n), minlength=n)
        if (norm := times @ norms) > 0.0:
            slopes.append(times @ products / norm)
    return {
        "slope": float(products.sum() / norms.sum()),
        "interval": np.quantile(slopes, [0.025, 0.975]).tolist() if slopes else None,
        "confidence": 0.95,
        "n_frames": n,
    }
