"""Errors are averages over the labels that exist, and over nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from piwsl_plugins.evaluation import (
    Comparison,
    energy_rmse,
    energy_rmse_per_atom,
    force_mae,
    force_rmse,
)

NAN = float("nan")


def comparison(
    *,
    n_atoms: list[int],
    energies: list[float],
    reference_energies: list[float],
    forces: np.ndarray | None = None,
    reference_forces: np.ndarray | None = None,
) -> Comparison:
    absent = np.full((sum(n_atoms), 3), NAN)
    return Comparison(
        n_atoms=np.array(n_atoms),
        energies=np.array(energies, dtype=np.float64),
        reference_energies=np.array(reference_energies, dtype=np.float64),
        forces=np.zeros_like(absent) if forces is None else forces,
        reference_forces=absent if reference_forces is None else reference_forces,
    )


def test_energy_error_of_known_differences() -> None:
    c = comparison(n_atoms=[1, 2], energies=[3.0, 4.0], reference_energies=[0.0, 0.0])
    assert energy_rmse(c) == pytest.approx(np.sqrt((9 + 16) / 2))
    assert energy_rmse_per_atom(c) == pytest.approx(np.sqrt((9 + 4) / 2))


def test_a_frame_without_energy_changes_nothing() -> None:
    alone = comparison(n_atoms=[2], energies=[1.5], reference_energies=[1.0])
    with_unlabelled = comparison(
        n_atoms=[2, 3], energies=[1.5, 99.0], reference_energies=[1.0, NAN]
    )
    assert energy_rmse(with_unlabelled) == energy_rmse(alone) == pytest.approx(0.5)
    assert energy_rmse_per_atom(with_unlabelled) == pytest.approx(0.25)


def test_no_label_at_all_gives_none_and_not_zero() -> None:
    c = comparison(n_atoms=[2], energies=[1.0], reference_energies=[NAN])
    assert energy_rmse(c) is None
    assert energy_rmse_per_atom(c) is None
    assert force_rmse(c) is None
    assert force_mae(c) is None


def test_force_errors_over_components_of_labelled_atoms() -> None:
    forces = np.array([[1.0, 0.0, 0.0], [50.0, 50.0, 50.0]])
    reference = np.array([[0.0, 2.0, 0.0], [NAN, 0.0, 0.0]])  # the second atom: half a label
    c = comparison(
        n_atoms=[2],
        energies=[0.0],
        reference_energies=[0.0],
        forces=forces,
        reference_forces=reference,
    )
    assert force_rmse(c) == pytest.approx(np.sqrt((1 + 4 + 0) / 3))
    assert force_mae(c) == pytest.approx((1 + 2 + 0) / 3)


def test_a_diverged_model_is_named_and_not_left_out() -> None:
    with pytest.raises(ValueError, match=r"predicted energy of frame 1"):
        comparison(n_atoms=[1, 1], energies=[0.0, NAN], reference_energies=[0.0, 0.0])
    forces = np.zeros((3, 3))
    forces[2, 1] = np.inf
    with pytest.raises(ValueError, match=r"predicted force of frame 1"):
        comparison(
            n_atoms=[1, 2], energies=[0.0, 0.0], reference_energies=[0.0, 0.0], forces=forces
        )


def test_infinite_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reference energy of frame 0"):
        comparison(n_atoms=[1], energies=[0.0], reference_energies=[float("inf")])


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"energies has shape \(1,\), expected \(2,\)"):
        comparison(n_atoms=[1, 1], energies=[0.0], reference_energies=[0.0, 0.0])
