"""The regression: exact leave-one-out, primal and dual, posterior, and what it recovers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule
from teacher.teaching import crystals, labelled, molecules, rattled, true_forces
from torch import Tensor

from piwsl_plugins import models
from piwsl_plugins.data.frames import Frame
from piwsl_plugins.teacher import calculator, fitting, linear, model
from piwsl_plugins.teacher.fitting import fit_teacher
from piwsl_plugins.teacher.linear import Equations, Fit, fit, within
from piwsl_plugins.teacher.settings import TeacherSettings

SETTINGS = TeacherSettings()


def equations(n: int = 40, n_features: int = 12, n_groups: int = 1, m: int = 0) -> Equations:
    """Energies that are linear in the features, with noise and a constant for each group."""
    random = torch.Generator().manual_seed(n)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    w, group = normal(n_features), torch.arange(n) % n_groups
    x, gradients = normal(n, n_features), normal(m, n_features)
    y = x @ w + normal(n_groups)[group] + 0.3 * normal(n) + 5.0
    return Equations(
        x=x,
        y=y,
        composition=torch.ones(n, 1, dtype=torch.float64),
        group=group,
        gradients=gradients,
        targets=gradients @ w + 0.3 * normal(m),
    )


def brute_force(at: Equations, found: Fit) -> tuple[Tensor, Tensor]:
    """Coefficients, groups' constants and common constant by least squares, and their precision."""
    n, n_groups = len(at.y), int(at.group.max()) + 1
    member = torch.nn.functional.one_hot(at.group).double()
    of_energies = torch.cat([at.x, member, torch.ones(n, 1).double()], 1)
    zeros = at.gradients.new_zeros(len(at.gradients), n_groups + 1)
    of_gradients = found.gradient_weight * torch.cat([at.gradients, zeros], 1)
    variances = [1.0] * at.x.shape[1] + [max(found.group_variance, 1e-12)] * n_groups
    priors = (found.ridge / torch.tensor([*variances, torch.inf]).double()).sqrt().diag()
    rows = torch.cat([of_energies, of_gradients, priors])
    targets = torch.cat([at.y, found.gradient_weight * at.targets, priors.new_zeros(len(priors))])
    mean = torch.linalg.lstsq(rows, targets[:, None], driver="gelsd").solution[:, 0]
    return mean, rows.T @ rows / found.noise**2


@pytest.mark.parametrize(("n_groups", "m"), [(1, 0), (4, 0), (1, 30)])
def test_the_leave_one_out_error_is_that_of_fits_without_one_energy(n_groups: int, m: int) -> None:
    at = equations(n_groups=n_groups, m=m)
    found = fit(at)
    errors = []
    for left_out in range(len(at.y)):
        kept = [i for i in range(len(at.y)) if i != left_out]
        part = dataclasses.replace(at, x=at.x[kept], y=at.y[kept], group=at.group[kept])
        mean, n_features = brute_force(part, found)[0], at.x.shape[1]
        own = at.x[left_out] @ mean[:n_features] + mean[n_features + at.group[left_out]] + mean[-1]
        errors.append(at.y[left_out] - own)
    loo = within(torch.stack(errors), at.group).norm() / (len(errors) - n_groups) ** 0.5
    assert found.loo == pytest.approx(float(loo), rel=1e-6)


@pytest.mark.parametrize(("n_groups", "m"), [(1, 0), (4, 0), (4, 30)])
def test_coefficients_and_groups_are_the_posterior_mean(n_groups: int, m: int) -> None:
    at = equations(n_groups=n_groups, m=m)
    found = fit(at)
    mean = brute_force(at, found)[0]
    n = at.x.shape[1]
    torch.testing.assert_close(found.coefficients[:n], mean[:n], rtol=1e-5, atol=1e-5)
    constants = found.groups + found.coefficients[n]
    torch.testing.assert_close(constants, mean[n:-1] + mean[-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n", "n_features"), [(30, 60), (60, 30)])
def test_the_primal_solution_is_the_dual_one(n: int, n_features: int) -> None:
    at = equations(n, n_features, n_groups=3, m=20)
    gradients = at.gradients
    streamed = dataclasses.replace(
        at, normal=(gradients.T @ gradients, gradients.T @ at.targets)
    )  # with it the primal problem is solved
    primal, dual = fit(streamed), fit(at)
    torch.testing.assert_close(primal.coefficients, dual.coefficients, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(primal.groups, dual.groups, rtol=1e-4, atol=1e-4)


def test_the_draws_have_the_covariance_of_the_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "N_DRAWS", 200_000)
    at = equations(n_groups=3)
    found = fit(at)
    covariance = torch.linalg.inv(brute_force(at, found)[1])
    chosen = [*range(at.x.shape[1]), -1]
    expected = covariance[chosen][:, chosen]
    drawn = found.draws @ found.draws.T / found.draws.shape[1]
    torch.testing.assert_close(drawn, expected, rtol=0, atol=0.02 * float(expected.max()))


def test_strengths_of_many_energies_are_chosen_on_some(monkeypatch: pytest.MonkeyPatch) -> None:
    at = equations(n=300)
    exact = fit(at)
    monkeypatch.setattr(linear, "MOST_ROWS", 100)
    torch.testing.assert_close(fit(at).coefficients, exact.coefficients, rtol=0.1, atol=0.01)


def test_a_fit_to_noise_says_that_it_explains_nothing() -> None:
    at = equations()
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(len(at.y), generator=generator, dtype=torch.float64)
    assert fit(at).explains
    assert not fit(dataclasses.replace(at, y=noise)).explains


def errors(teacher: model.Teacher, frames: list[Frame]) -> float:
    """Root mean square error of the forces, in that of the forces."""
    found = teacher.predict([frame.atoms for frame in frames]).forces.numpy()
    true = np.concatenate(true_forces(frames))
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


def test_energies_alone_give_the_forces_of_a_target_in_the_basis() -> None:
    frames = labelled(molecules(60))
    own = fit_teacher(frames, SETTINGS, low=False)
    energies = own.predict([frame.atoms for frame in frames], errors=False).energy.tolist()
    frames = [dataclasses.replace(f, labels={"energy": e})
              for f, e in zip(frames, energies, strict=True)]  # fmt: skip
    new = molecules(5, seed=9)
    again = fit_teacher(frames, SETTINGS, low=False)
    expected, found = (teacher.predict(new, errors=False) for teacher in (own, again))
    torch.testing.assert_close(found.energy, expected.energy, rtol=0, atol=2e-3)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=2e-2)


def test_more_labels_give_better_forces() -> None:
    new = labelled(molecules(20, seed=5))
    few = errors(fit_teacher(labelled(molecules(30)), SETTINGS, low=False), new)
    many = errors(fit_teacher(labelled(molecules(200)), SETTINGS, low=False), new)
    with_forces = errors(
        fit_teacher(labelled(molecules(30), forces=True), SETTINGS, low=False), new
    )
    assert many < 0.5 * few
    assert with_forces < 0.5 * few


def test_the_predicted_error_of_the_forces_is_about_the_real_one() -> None:
    teacher = fit_teacher(labelled(molecules(60)), SETTINGS, low=False)
    new = labelled(molecules(40, seed=5), forces=True)
    found = teacher.predict([frame.atoms for frame in new])
    real = found.forces.numpy() - np.concatenate([frame.labels["forces"] for frame in new])
    assert 0.5 < float(found.forces_std.norm()) / np.linalg.norm(real) < 2.0


def test_two_molecules_are_fitted_together_with_a_constant_each() -> None:
    frames = labelled([*molecules(60), *rattled(molecule("CH4"), 60, seed=1)])
    shifted = [
        dataclasses.replace(f, labels={"energy": f.labels["energy"] + 7.0 * (len(f.atoms) == 5)})
        for f in frames
    ]
    one, other = (fit_teacher(given, SETTINGS, low=False) for given in (frames, shifted))
    new = [*molecules(3, seed=8), *rattled(molecule("CH4"), 3, seed=8)]
    differences = other.predict(new).energy - one.predict(new).energy
    torch.testing.assert_close(
        differences, torch.tensor([0.0, 0, 0, 7, 7, 7]).double(), rtol=0, atol=0.05
    )
    assert errors(one, labelled(new)) < 0.3


def test_cells_are_fitted_to_forces_and_stress_as_well() -> None:
    new = crystals(4, seed=6)
    true = labelled(new, forces=True, stress=True)
    frames = labelled(crystals(30), forces=True, stress=True)
    found = fit_teacher(frames, SETTINGS, low=False).predict(new)
    forces = np.concatenate([frame.labels["forces"] for frame in true])
    stress = np.array([frame.labels["stress"] for frame in true])
    assert np.linalg.norm(found.forces.numpy() - forces) < 0.1 * np.linalg.norm(forces)
    assert np.linalg.norm(found.stress.numpy() - stress) < 0.2 * np.linalg.norm(stress)


def test_equations_in_pieces_are_the_same_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, new = labelled(molecules(30), forces=True), molecules(4, seed=7)
    monkeypatch.setattr(fitting, "MOST_ROWS", 100)  # the primal problem
    whole = fit_teacher(frames, SETTINGS, low=False).predict(new)
    monkeypatch.setattr(model, "CHUNK", 1e4)
    pieces = fit_teacher(frames, SETTINGS, low=False).predict(new)
    torch.testing.assert_close(pieces.forces, whole.forces, rtol=1e-4, atol=1e-4)


def test_a_wall_rises_where_atoms_are_closer_than_in_any_frame() -> None:
    atoms = molecule("H2")
    teacher = fit_teacher(labelled(rattled(atoms, 30)), SETTINGS, low=False)
    distances = np.linspace(0.6, 0.25, 8) * atoms.get_distance(0, 1)
    squeezed = []
    for distance in distances:
        atoms.set_distance(0, 1, distance)
        squeezed.append(atoms.copy())
    assert (teacher.predict(squeezed).energy.diff() > 0).all()


@pytest.mark.parametrize("low", [None, "ase.calculators.emt.EMT"])
def test_a_saved_teacher_says_the_same_as_an_ase_calculator(
    tmp_path: Path, low: str | None
) -> None:
    teacher = fit_teacher(labelled(molecules(30)), SETTINGS, low=False)
    path = tmp_path / "teacher.json"
    calculator.save(path, teacher, low and calculator.Method(method=low))
    identified = models.identify(path)
    atoms = molecules(1, seed=4)[0]
    expected = teacher.predict([atoms])
    atoms.calc = models.load(identified).calculator
    below = 0.0
    if low:
        from ase.calculators.emt import EMT

        bare = atoms.copy()
        bare.calc = EMT()
        below = bare.get_forces()
    np.testing.assert_allclose(atoms.get_forces() - below, expected.forces, atol=1e-10)
    std = atoms.calc.get_property("forces_std", atoms)
    np.testing.assert_allclose(std, expected.forces_std, atol=1e-10)


def test_an_ase_calculator_of_a_crystal_gives_its_stress() -> None:
    teacher = fit_teacher(labelled(crystals(20)), SETTINGS, low=False)
    atoms = crystals(1, seed=3)[0]
    atoms.calc = calculator.TeacherCalculator(teacher)
    expected = teacher.predict([atoms]).stress[0]
    np.testing.assert_allclose(atoms.get_stress(voigt=False), expected, atol=1e-12)


def test_an_element_that_the_fit_never_saw_is_named() -> None:
    teacher = fit_teacher(labelled(molecules(10)), SETTINGS, low=False)
    with pytest.raises(ValueError, match=r"hold N, and no training frame .* \(H, C, O alone\)"):
        teacher.predict([ase.Atoms("N2", [(0, 0, 0), (0, 0, 1.1)])])


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"piwsl": "teacher", "version": 99}')
    with pytest.raises(ValueError, match="not a teacher that this version can read"):
        calculator.read(path)
