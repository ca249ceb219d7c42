import pytest
import torch

from piwsl_plugins.losses import weak_force_penalties

INDEX = torch.tensor([0, 0, 1])


def test_the_squared_penalty_is_the_mean_over_components_of_each_structure() -> None:
    forces, weak = torch.randn(2, 3, 3, dtype=torch.float64)
    penalties = weak_force_penalties(forces, weak, INDEX, 2)
    error = (forces - weak).square()
    assert torch.allclose(penalties, torch.stack([error[:2].mean(), error[2:].mean()]))


def test_the_length_is_that_of_the_vector_whatever_its_direction() -> None:
    weak = torch.zeros(3, 3)
    forces = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0], [0.0, -2.0, 0.0]])
    penalties = weak_force_penalties(forces, weak, INDEX, 2, penalty="length")
    assert penalties.tolist() == [3.0, 2.0]


@pytest.mark.parametrize("penalty", ["squared", "length"])
def test_missing_weak_forces_cost_nothing_and_leave_no_nan_in_the_gradient(penalty: str) -> None:
    forces = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    weak = torch.randn(3, 3, dtype=torch.float64)
    weak[:2] = torch.nan
    has = torch.tensor([False, True])
    penalties = weak_force_penalties(forces, weak, INDEX, 2, has_weak_forces=has, penalty=penalty)
    penalties.sum().backward()
    assert penalties[0] == 0.0
    assert penalties[1] > 0.0
    assert forces.grad is not None
    assert torch.equal(forces.grad[:2], torch.zeros(2, 3, dtype=torch.float64))
    assert forces.grad[2].abs().min() > 0


def test_equal_forces_have_a_penalty_and_a_gradient_of_zero() -> None:
    forces = torch.ones(3, 3, requires_grad=True)
    weak_force_penalties(forces, torch.ones(3, 3), INDEX, 2, penalty="length").sum().backward()
    assert forces.grad is not None
    assert torch.equal(forces.grad, torch.zeros(3, 3))


@pytest.mark.parametrize("penalty", ["squared", "length"])
def test_gradients_are_right_to_second_order(penalty: str) -> None:
    forces, weak = torch.randn(2, 3, 3, dtype=torch.float64)

    def total(values: torch.Tensor) -> torch.Tensor:
        return weak_force_penalties(values, weak, INDEX, 2, penalty=penalty)

    assert torch.autograd.gradcheck(total, forces.requires_grad_())
    assert torch.autograd.gradgradcheck(total, forces)


def test_shapes_and_penalties_that_are_wrong_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got shape \(2, 3\), expected that of the forces"):
        weak_force_penalties(torch.zeros(3, 3), torch.zeros(2, 3), INDEX, 2)
    with pytest.raises(ValueError, match="penalty: got 'huber'"):
        weak_force_penalties(torch.zeros(3, 3), torch.zeros(3, 3), INDEX, 2, penalty="huber")
