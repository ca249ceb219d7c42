"""The slope is 1 for exact forces, the factor for scaled ones, and blind to missing labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.evaluation import Comparison, slope_through_origin, softening, summarise


def scaled(factor: float, *, noise: float = 0.0, frames: int = 20, seed: int = 3) -> Comparison:
    """Predicted forces that are the reference times a factor, plus noise."""
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(4 * frames, 3))
    energies = rng.normal(size=frames)
    return Comparison(
        n_atoms=np.full(frames, 4),
        energies=energies,
        reference_energies=energies + 0.001,
        forces=factor * reference + noise * rng.normal(size=reference.shape),
        reference_forces=reference,
    )


@given(st.floats(min_value=0.01, max_value=10.0))
def test_the_slope_of_scaled_forces_is_the_factor(factor: float) -> None:
    result = softening(scaled(factor), resamples=100)
    assert result is not None
    assert result.interval is not None
    assert result.slope == pytest.approx(factor)
    assert result.interval == pytest.approx((factor, factor))


def test_noise_widens_the_interval_around_the_slope() -> None:
    narrow, wide = softening(scaled(0.9, noise=0.05)), softening(scaled(0.9, noise=0.5))
    assert narrow is not None
    assert wide is not None
    assert narrow.interval is not None
    assert wide.interval is not None
    assert narrow.interval[0] < narrow.slope < narrow.interval[1]
    assert np.diff(wide.interval) > 5 * np.diff(narrow.interval)


def test_about_nineteen_of_twenty_intervals_hold_the_true_slope() -> None:
    results = [softening(scaled(0.9, noise=0.3, seed=s), resamples=500) for s in range(200)]
    held = [r.interval[0] <= 0.9 <= r.interval[1] for r in results if r and r.interval]
    assert len(held) == 200
    assert 0.87 <= np.mean(held) <= 0.99


def test_the_same_seed_gives_the_same_interval() -> None:
    c = scaled(0.9, noise=0.3)
    assert softening(c, seed=5) == softening(c, seed=5) != softening(c, seed=6)


def test_atoms_without_label_do_not_move_the_slope() -> None:
    full = scaled(0.8, noise=0.1)
    labels = full.reference_forces.copy()
    labels[40:] = np.nan  # the last ten frames
    forces = full.forces.copy()
    forces[40:] = 1e3
    result = softening(
        Comparison(
            n_atoms=full.n_atoms,
            energies=full.energies,
            reference_energies=full.reference_energies,
            forces=forces,
            reference_forces=labels,
        )
    )
    assert result is not None
    assert result.n_frames == 10
    assert result.slope == pytest.approx(slope_through_origin(full.forces[:40], labels[:40]))


def test_one_frame_has_a_slope_but_no_interval() -> None:
    result = softening(scaled(0.9, frames=1))
    assert result is not None
    assert result.slope == pytest.approx(0.9)
    assert result.interval is None


def test_zero_forces_and_other_nonsense_are_refused() -> None:
    with pytest.raises(ValueError, match="no reference value that differs from zero"):
        slope_through_origin(np.ones((2, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="shape"):
        slope_through_origin(np.ones((2, 3)), np.ones((1, 3)))
    with pytest.raises(ValueError, match="confidence"):
        softening(scaled(1.0), confidence=1.0)
    with pytest.raises(ValueError, match="resamples"):
        softening(scaled(1.0), resamples=5)


def test_the_summary_is_in_milli_units_and_fits_into_json() -> None:
    summary = summarise(scaled(1.0))
    assert summary.energy_rmse_mev == pytest.approx(1.0)
    assert summary.energy_rmse_mev_per_atom == pytest.approx(0.25)
    assert summary.force_rmse_mev_per_angstrom == pytest.approx(0.0, abs=1e-9)
    assert summary.n_frames_with_energy == 20
    assert summary.n_atoms_with_forces == 80
    assert json.loads(json.dumps(summary.as_dict()))["softening"]["slope"] == pytest.approx(1.0)


def test_the_summary_of_energies_alone_says_nothing_of_forces() -> None:
    c = scaled(1.0)
    summary = summarise(
        Comparison(
            n_atoms=c.n_atoms,
            energies=c.energies,
            reference_energies=c.reference_energies,
            forces=c.forces,
            reference_forces=np.full_like(c.forces, np.nan),
        )
    )
    assert summary.softening is None
    assert summary.force_rmse_mev_per_angstrom is None
    assert summary.force_mae_mev_per_angstrom is None
