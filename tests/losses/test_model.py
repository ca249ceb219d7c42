"""A model made of an energy; two displaced points that need the same cost it one call."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from piwsl_plugins.losses import Structures, consistency_penalties, from_energy
from piwsl_plugins.settings import PAPER_TERMS, PiwslSettings

GRAPHS = torch.tensor([0, 0, 0, 1, 1])


def energy(positions: Tensor) -> Tensor:
    """An anharmonic field about the origin, energies of two graphs."""
    atomic = positions.square().sum(-1) + 0.3 * positions.pow(4).sum(-1)
    return positions.new_zeros(2).index_add(0, GRAPHS, atomic)


class Stackable:
    """The same model, which can evaluate several copies at once and counts its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.single = from_energy(energy)

    def __call__(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        self.calls.append("forces" if forces else "energy")
        return self.single(positions, forces=forces)

    def stacked(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        self.calls.append(f"stacked {len(positions)}")
        assert forces
        energies = torch.stack([energy(copy) for copy in positions])
        (gradient,) = torch.autograd.grad(energies.sum(), positions, create_graph=True)
        return energies, -gradient


def penalties(settings: PiwslSettings, model: Stackable, *, stack: bool) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(5, 3, generator=generator, dtype=torch.float64).requires_grad_()
    shifts = 0.1 * torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    structures = Structures(positions=positions, graph_index=GRAPHS, n_graphs=2)
    value, forces = from_energy(energy)(positions, forces=True)
    assert forces is not None
    evaluate = model if stack else model.single
    return consistency_penalties(
        settings, PAPER_TERMS, structures, value, forces, evaluate, (shifts[0], shifts[1])
    )


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        (PiwslSettings(order=2), ["stacked 2"]),
        (PiwslSettings(order=1), ["energy", "forces"]),
        (PiwslSettings(order=2, second_order="hessian"), ["energy", "forces"]),
    ],
)
def test_one_call_serves_both_points_where_both_need_forces(
    settings: PiwslSettings, calls: list[str]
) -> None:
    model = Stackable()
    found = penalties(settings, model, stack=True)
    assert model.calls == calls
    expected = penalties(settings, model, stack=False)
    assert found.keys() == expected.keys()
    for term, values in expected.items():
        torch.testing.assert_close(found[term], values)


def test_a_stack_of_another_shape_is_refused() -> None:
    model = Stackable()
    model.stacked = lambda positions, *, forces: (positions.sum(), None)  # type: ignore[assignment, method-assign]
    with pytest.raises(ValueError, match=r"evaluate\.stacked: energy: got shape \(\)"):
        penalties(PiwslSettings(order=2), model, stack=True)


def test_training_pulls_the_same_through_one_call_as_through_two() -> None:
    class Scaled(Stackable):
        """The model with a factor that is trained."""

        def __init__(self, factor: Tensor) -> None:
            super().__init__()
            self.factor = factor
            self.single = from_energy(lambda positions: factor * energy(positions))

        def stacked(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
            energies, gradient = super().stacked(positions, forces=forces)
            assert gradient is not None
            return self.factor * energies, self.factor * gradient

    gradients = []
    for stack in (True, False):
        factor = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
        values = penalties(PiwslSettings(order=2), Scaled(factor), stack=stack)
        total = values["taylor"].sum() + values["conservative"].sum()
        gradients.append(torch.autograd.grad(total, factor)[0])
    assert gradients[0].item() != 0.0
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=0.0)


@given(st.floats(-5.0, 5.0))
def test_from_energy_gives_minus_the_gradient_and_only_on_demand(place: float) -> None:
    model = from_energy(lambda r: 0.5 * 3.0 * r.square().sum().reshape(1))
    positions = torch.full((1, 3), place, dtype=torch.float64, requires_grad=True)
    value, forces = model(positions, forces=True)
    assert value.item() == pytest.approx(4.5 * place**2)
    assert forces is not None
    torch.testing.assert_close(forces, -3.0 * positions)
    assert model(positions, forces=False)[1] is None


def test_from_energys_forces_can_be_trained_through() -> None:
    stiffness = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    model = from_energy(lambda r: 0.5 * stiffness * r.square().sum().reshape(1))
    positions = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    _, forces = model(positions, forces=True)
    assert forces is not None
    (gradient,) = torch.autograd.grad(forces.sum(), stiffness)
    assert gradient.item() == -3.0  # F = -k r
