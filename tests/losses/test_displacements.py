"""Displacements: how long, how distributed, from which random stream, and towards what."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from potentials import clusters, exact_forces, morse, random_steps
from tools import labelled, structures_of
from torch import Tensor

from piwsl_plugins.losses import Structures, draw_displacements, draw_pair, step_generator
from piwsl_plugins.losses.displacements import adversarial_displacements, choose_structures
from piwsl_plugins.settings import PiwslSettings

KINDS = ("ball", "shell", "cube")
RADIUS = 0.13
MANY = 20_000
INDEX = clusters().graph_index


def draw(
    kind: str, *sizes: int, seed: int = 0, fraction: float = 1.0, isolated: Any = None, **to: Any
) -> Tensor:
    """Displacements of graphs of the given sizes."""
    structures = Structures(
        positions=torch.zeros(sum(sizes), 3, **{"dtype": torch.float64, **to}),
        graph_index=torch.arange(len(sizes))
        .repeat_interleave(torch.tensor(sizes))
        .to(to.get("device")),
        n_graphs=len(sizes),
        isolated=None if isolated is None else torch.tensor(isolated).to(to.get("device")),
    )
    return draw_displacements(
        structures, kind=kind, max_displacement=RADIUS, generator=step_generator(seed, 0),
        fraction=fraction,
    )  # fmt: skip


def moved(displacement: Tensor) -> Tensor:
    return (displacement != 0).any(dim=-1)


def assert_uniform(samples: Tensor) -> None:
    """Kolmogorov and Smirnov: the samples are uniform in [0, 1] (at the level of 0.1 percent)."""
    n = len(samples)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    ordered = samples.sort().values
    distance = torch.maximum((steps[1:] - ordered).max(), (ordered - steps[:-1]).max())
    assert float(distance) < 1.95 / math.sqrt(n)


def test_a_ball_is_filled_uniformly_in_volume_and_a_shell_has_one_length() -> None:
    lengths = draw("ball", MANY).norm(dim=-1)
    assert float(lengths.max()) <= RADIUS
    assert_uniform((lengths / RADIUS) ** 3)
    lengths = draw("shell", MANY).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, RADIUS), rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_direction_is_preferred(kind: str) -> None:
    # Archimedes: on a sphere every component is uniform, as it is in a cube
    displacement = draw(kind, MANY)
    assert float(displacement.abs().max()) <= RADIUS
    length = RADIUS if kind == "cube" else displacement.norm(dim=-1)
    for component in displacement.T:
        assert_uniform((component / length + 1.0) / 2.0)


@pytest.mark.parametrize("kind", KINDS)
def test_isolated_graphs_lose_their_net_translation_alone_and_periodic_ones_keep_it(
    kind: str,
) -> None:
    sizes = (5, 4, 7)
    free = draw(kind, *sizes).split(sizes)
    held = draw(kind, *sizes, isolated=[True, False, True]).split(sizes)
    for number in (0, 2):
        net, removed = held[number].sum(0), free[number] - held[number]
        torch.testing.assert_close(net, torch.zeros_like(net), rtol=0.0, atol=1e-15)
        torch.testing.assert_close(removed, removed[:1].expand_as(removed), rtol=0.0, atol=1e-16)
        assert float(removed.norm()) > 0.01
    assert torch.equal(held[1], free[1])


@given(
    kind=st.sampled_from([*KINDS, "adversarial"]),
    length=st.floats(0.01, 1.0),
    fraction=st.sampled_from([0.3, 0.7, 1.0]),
    isolated=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_pair_distances_change_by_at_most_the_skin(
    kind: str, length: float, fraction: float, isolated: bool, seed: int
) -> None:
    settings = PiwslSettings(displacement=kind, max_displacement=length, fraction=fraction)
    batch = clusters()
    structures = structures_of(batch, isolated=torch.tensor([isolated, isolated]))
    energy, forces = exact_forces(morse(INDEX, 2), batch.positions)
    for displacement in draw_pair(settings, structures, energy, forces, step_generator(seed, 0)):
        for number in range(2):
            here = batch.positions[number == INDEX]
            there = here + displacement[number == INDEX]
            change = (torch.cdist(there, there) - torch.cdist(here, here)).abs().max()
            assert float(change) <= settings.skin + 1e-12


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.floats(0.001, 0.999))
def test_the_nearest_number_of_atoms_to_the_fraction_moves_and_at_least_one(
    sizes: list[int], fraction: float
) -> None:
    parts = draw("ball", *sizes, fraction=fraction, isolated=[True] * len(sizes)).split(sizes)
    for size, part in zip(sizes, parts, strict=True):
        number = int(moved(part).sum())
        assert number >= 1
        assert number == 1 or abs(number - fraction * size) <= 0.5 + 1e-5


@given(st.integers(1, 40), st.floats(0.01, 1.0), st.integers(0, 10**6))
def test_the_fraction_of_structures_is_right_on_average_and_never_nothing(
    n_graphs: int, fraction: float, seed: int
) -> None:
    chosen = choose_structures(n_graphs, fraction, step_generator(seed, 0))
    least = int(fraction * n_graphs)
    assert max(1, least) <= len(chosen) <= min(n_graphs, least + 1)
    assert chosen.tolist() == sorted({*chosen.tolist()} & {*range(n_graphs)})


def test_the_stream_depends_on_seed_step_and_rank_alone() -> None:
    triples = [(1, 23, 4), (12, 3, 4), (1, 2, 34), (123, 4, 0), (1, 234, 0), (4, 23, 1)]
    seeds = [step_generator(*triple).initial_seed() for triple in triples]
    assert len(set(seeds)) == len(triples)
    assert seeds == [step_generator(*triple).initial_seed() for triple in triples]
    assert step_generator(2**63 - 1, 2**40, 10**5).initial_seed() >= 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fraction", [0.4, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_device_and_precision_displaces_alike(
    kind: str, fraction: float, dtype: torch.dtype, device: str
) -> None:
    isolated = [True, False]
    found = draw(kind, 5, 9, fraction=fraction, isolated=isolated, dtype=dtype, device=device)
    assert (found.dtype, found.device.type, found.requires_grad) == (dtype, device, False)
    expected = draw(kind, 5, 9, fraction=fraction, isolated=isolated)
    torch.testing.assert_close(found.double().cpu(), expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(moved(found).cpu(), moved(expected))


def adversarial(
    structures: Structures, energy: Tensor, forces: Tensor, length: float = RADIUS
) -> Tensor:
    settings = PiwslSettings(max_displacement=length)
    return adversarial_displacements(settings, structures, energy, forces, step_generator(0, 0))


def assert_parallel(displacement: Tensor, direction: Tensor) -> None:
    expected = RADIUS * direction / direction.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(displacement, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("error", "sign"), [(2.0, 1.0), (0.0, 1.0), (-2.0, -1.0)])
def test_atoms_move_along_the_force_error_where_it_is_known_and_else_along_the_force(
    error: float, sign: float
) -> None:
    forces, reference = (random_steps(clusters().positions, 1.0, seed) for seed in (1, 2))
    forces[0] = 0.0
    energy = torch.zeros(2, dtype=torch.float64)
    structures = labelled(clusters(), energy - error, reference, [True, True], [False, True])
    found = adversarial(structures, energy, forces)
    assert found[0].tolist() == [0.0, 0.0, 0.0]  # there is no direction
    assert_parallel(found[1:3], forces[1:3])
    assert_parallel(found[3:], sign * (reference - forces)[3:])
    # without a reference energy, the error is taken for positive
    blind = dataclasses.replace(structures, has_energy=torch.tensor([True, False]))
    assert_parallel(adversarial(blind, energy, forces)[3:], (reference - forces)[3:])


@pytest.mark.parametrize("offset", [0.7, -0.7])
def test_an_adversarial_step_raises_the_energy_error_of_every_graph(offset: float) -> None:
    batch = clusters()
    model = morse(INDEX, 2)
    truth = morse(INDEX, 2, depth=4.0, steepness=2.0, length=1.1)
    zero = offset + (truth(batch.positions) - model(batch.positions))
    energy, forces = exact_forces(lambda r: model(r) + zero, batch.positions)
    structures = labelled(batch, *exact_forces(truth, batch.positions), [True] * 2, [True] * 2)
    end = batch.positions + adversarial(structures, energy, forces, 0.01)
    before, after = energy - truth(batch.positions), model(end) + zero - truth(end)
    assert (before * offset > 0).all()
    assert (after.abs() > before.abs()).all()


@pytest.mark.parametrize("kind", [*KINDS, "adversarial"])
def test_d_and_the_other_d_are_unrelated_and_translate_no_isolated_structure(kind: str) -> None:
    energy, forces = exact_forces(morse(INDEX, 2), clusters().positions)
    structures = structures_of(clusters(), isolated=torch.tensor([True, True]))
    settings, generator = PiwslSettings(displacement=kind), step_generator(0, 0)
    both = draw_pair(settings, structures, energy, forces.requires_grad_(), generator)
    assert not torch.isclose(*both).any()
    for displacement, number in itertools.product(both, range(2)):
        assert not displacement.requires_grad
        net = displacement[number == INDEX].sum(0)
        torch.testing.assert_close(net, torch.zeros_like(net), rtol=0.0, atol=1e-15)
    if kind == "adversarial":  # the first follows the forces, the second is random
        along = torch.nn.functional.cosine_similarity(forces.detach(), both[0])
        assert float(along.min()) > 0.5
