"""Some structures of a batch stand for all of it."""

from __future__ import annotations

import pytest
import torch
from consistency_tools import labelled, reference
from hypothesis import given
from hypothesis import strategies as st
from potentials import Clusters, clusters, exact_forces, morse
from torch import Tensor

from piwsl_plugins.losses import (
    Pairs,
    Structures,
    consistency_penalties,
    draw_pair,
    from_energy,
    step_generator,
    step_penalties,
)
from piwsl_plugins.losses.displacements import choose_structures
from piwsl_plugins.settings import PAPER_TERMS, TERMS, PiwslSettings


class Selectable:
    """Morse clusters, evaluated together or some of them alone."""

    def __init__(self, batch: Clusters, evaluated: list[int]) -> None:
        self.batch = batch
        self.evaluated = evaluated
        self.model = from_energy(morse(batch.graph_index, batch.n_graphs))

    def __call__(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        self.evaluated.append(self.batch.n_graphs)
        return self.model(positions, forces=forces)

    def select(self, chosen: Tensor) -> Selectable:
        atoms = chosen[self.batch.graph_index]
        part = Clusters(
            positions=self.batch.positions[atoms],
            graph_index=(torch.cumsum(chosen, 0) - 1)[self.batch.graph_index[atoms]],
            n_graphs=int(chosen.sum()),
        )
        return Selectable(part, self.evaluated)


def many(copies: int = 3) -> Clusters:
    """Six clusters."""
    two = clusters()
    return Clusters(
        positions=torch.cat([two.positions + 0.05 * k for k in range(copies)]),
        graph_index=torch.cat([two.graph_index + 2 * k for k in range(copies)]),
        n_graphs=2 * copies,
    )


def pairs_of(batch: Clusters) -> Pairs:
    same = batch.graph_index.unsqueeze(0) == batch.graph_index.unsqueeze(1)
    index = (same & ~torch.eye(len(same), dtype=torch.bool)).nonzero().T
    shifts = torch.zeros(index.shape[1], 3, dtype=torch.float64)
    return Pairs(index=index, shifts=shifts, radii=torch.linspace(0.5, 0.9, len(same)).double())


def whole(batch: Clusters) -> Structures:
    return Structures(
        positions=batch.positions.clone().requires_grad_(),
        graph_index=batch.graph_index,
        n_graphs=batch.n_graphs,
        pairs=pairs_of(batch),
    )


@given(st.integers(1, 40), st.floats(0.01, 1.0), st.integers(0, 10**6))
def test_the_fraction_is_right_on_average_and_never_nothing(
    n_graphs: int, fraction: float, seed: int
) -> None:
    number = int(choose_structures(n_graphs, fraction, step_generator(seed, 0)).sum())
    assert max(1, int(fraction * n_graphs)) <= number <= min(n_graphs, int(fraction * n_graphs) + 1)


def test_every_structure_gets_its_turn() -> None:
    counts = sum(choose_structures(5, 0.3, step_generator(0, k)).double() for k in range(2000))
    torch.testing.assert_close(
        counts / 2000, torch.full((5,), 0.3, dtype=torch.float64), rtol=0, atol=0.05
    )


@pytest.mark.parametrize("order", [{"order": 1}, {"order": 2}, {"second_order": "hessian"}])
@pytest.mark.parametrize("given", [True, False])
def test_the_chosen_structures_have_the_penalties_that_they_have_alone(
    order: dict[str, object], given: bool
) -> None:
    batch = many()
    settings = PiwslSettings(batch_fraction=0.5, **order)  # type: ignore[arg-type]
    structures, evaluated = whole(batch), list[int]()
    model = Selectable(batch, evaluated)
    energy, forces = model.model(structures.positions, forces=True) if given else (None, None)
    found = step_penalties(settings, TERMS, structures, energy, forces, model, step_generator(3, 0))
    generator = step_generator(3, 0)
    chosen = choose_structures(6, 0.5, generator)
    assert int(chosen.sum()) == 3
    assert set(evaluated) == {3}
    part = structures.select(chosen)
    pair = draw_pair(settings, part, None, None, generator)
    own = model.select(chosen)
    expected = consistency_penalties(settings, TERMS, part, None, None, own, pair)
    assert found.keys() == set(TERMS)
    for term, values in found.items():
        assert values[~chosen].eq(0).all()
        torch.testing.assert_close(values[chosen], 2.0 * expected[term])
        torch.testing.assert_close(values.mean(), expected[term].mean())


def test_a_model_that_cannot_select_is_evaluated_on_all() -> None:
    batch = many()
    model = from_energy(morse(batch.graph_index, 6))
    some, every = (
        step_penalties(settings, TERMS, whole(batch), None, None, model, step_generator(3, 0))
        for settings in (PiwslSettings(batch_fraction=0.5), PiwslSettings())
    )
    for term in TERMS:
        torch.testing.assert_close(some[term], every[term], rtol=0, atol=0)


def test_energies_and_forces_given_or_not_are_the_same() -> None:
    batch = many()
    structures = whole(batch)
    model = from_energy(morse(batch.graph_index, 6))
    energy, forces = model(structures.positions, forces=True)
    results = [
        step_penalties(PiwslSettings(), TERMS, structures, *known, model, step_generator(3, 0))
        for known in ((energy, forces), (None, None))
    ]
    for term in TERMS:
        torch.testing.assert_close(results[0][term], results[1][term])


def test_a_selection_keeps_labels_and_pairs_with_their_structures() -> None:
    batch = clusters()
    energy, forces = exact_forces(morse(batch.graph_index, 2), batch.positions)
    both = labelled(batch, energy, forces, [True, False], [False, True])
    both = Structures(
        **{name: getattr(both, name) for name in both.__slots__ if name != "pairs"},
        pairs=pairs_of(batch),
    )
    second = both.select(torch.tensor([False, True]))
    alone = batch.graph(1)
    assert second.n_graphs == 1
    torch.testing.assert_close(second.positions, alone.positions)
    assert second.graph_index.tolist() == [0, 0, 0, 0]
    assert second.has_energy is not None
    assert second.has_forces is not None
    assert (second.has_energy.tolist(), second.has_forces.tolist()) == ([False], [True])
    torch.testing.assert_close(second.forces, forces[3:])
    assert second.pairs is not None
    assert sorted(second.pairs.index.T.tolist()) == [
        [i, j] for i in range(4) for j in range(4) if i != j
    ]
    assert both.pairs is not None
    torch.testing.assert_close(second.pairs.radii, both.pairs.radii[3:])


def test_adversarial_displacements_without_forces_are_refused() -> None:
    batch = clusters()
    model = from_energy(morse(batch.graph_index, 2))
    settings = PiwslSettings(displacement="adversarial")
    with pytest.raises(ValueError, match=r"adversarial displacements need .* got None"):
        step_penalties(settings, PAPER_TERMS, whole(batch), None, None, model, step_generator(0, 0))


def test_the_labels_of_the_chosen_are_the_anchors() -> None:
    batch = clusters()
    settings = PiwslSettings(batch_fraction=0.5, anchor="label")
    structures = labelled(batch, *reference(batch), [True, True], [False, False])
    model = Selectable(batch, [])
    found = step_penalties(
        settings, ("taylor",), structures, None, None, model, step_generator(1, 0)
    )
    free = step_penalties(
        PiwslSettings(batch_fraction=0.5),
        ("taylor",),
        structures,
        None,
        None,
        model,
        step_generator(1, 0),
    )
    assert found["taylor"].max() > 10 * free["taylor"].max()
