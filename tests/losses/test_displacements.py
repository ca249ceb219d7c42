"""Displacements: how long, how distributed, from which random stream, and towards what."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from potentials import clusters, exact_forces, morse
from torch import Tensor

from piwsl_plugins.losses import Structures, draw_displacements, step_generator
from piwsl_plugins.losses.displacements import adversarial_displacements, keep_fraction
from piwsl_plugins.losses.step import draw_pair
from piwsl_plugins.settings import PiwslSettings

KINDS = ("ball", "shell", "cube")
DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
RADIUS = 0.13
MANY = 20_000


def draw(
    kind: str,
    n_atoms: int | list[int] = MANY,
    *,
    seed: int = 0,
    fraction: float = 1.0,
    isolated: list[bool] | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Displacements of one graph, or of several of the given sizes."""
    sizes = [n_atoms] if isinstance(n_atoms, int) else n_atoms
    return draw_displacements(
        torch.zeros(sum(sizes), 3, dtype=dtype),
        graph_index_of(sizes),
        len(sizes),
        kind=kind,
        max_displacement=RADIUS,
        generator=step_generator(seed, 0),
        fraction=fraction,
        isolated=None if isolated is None else torch.tensor(isolated),
    )


def graph_index_of(sizes: list[int]) -> Tensor:
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


def assert_uniform(samples: Tensor) -> None:
    """Kolmogorov and Smirnov: the samples are uniform in [0, 1] (at the level of 0.1 percent)."""
    n = len(samples)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    ordered = samples.sort().values
    distance = torch.maximum((steps[1:] - ordered).max(), (ordered - steps[:-1]).max())
    assert float(distance) < 1.95 / math.sqrt(n)


# how long, how distributed


def test_a_ball_is_filled_uniformly_in_volume() -> None:
    lengths = draw("ball").norm(dim=-1)
    assert float(lengths.max()) <= RADIUS
    assert_uniform((lengths / RADIUS) ** 3)


def test_a_shell_has_one_length() -> None:
    lengths = draw("shell").norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, RADIUS), rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_cube_is_filled_uniformly_in_each_component(axis: int) -> None:
    component = draw("cube")[:, axis]
    assert float(component.abs().max()) <= RADIUS
    assert_uniform((component / RADIUS + 1.0) / 2.0)


@pytest.mark.parametrize("kind", ["ball", "shell"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_no_direction_is_preferred(kind: str, axis: int) -> None:
    # Archimedes: on a sphere every component is uniform
    displacement = draw(kind)
    cosine = displacement[:, axis] / displacement.norm(dim=-1)
    assert_uniform((cosine + 1.0) / 2.0)


@pytest.mark.parametrize(("kind", "variance"), [("ball", 1 / 5), ("shell", 1 / 3), ("cube", 1 / 3)])
def test_components_are_uncorrelated_with_the_bodys_own_variance(
    kind: str, variance: float
) -> None:
    displacement = draw(kind) / RADIUS
    covariance = displacement.T @ displacement / MANY
    expected = variance * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(covariance, expected, rtol=0.0, atol=4.0 / math.sqrt(MANY))
    assert float(displacement.mean(0).abs().max()) < 4.0 / math.sqrt(MANY)


@pytest.mark.parametrize("kind", KINDS)
def test_atoms_are_displaced_independently(kind: str) -> None:
    displacement = draw(kind) / RADIUS
    between = (displacement[::2] * displacement[1::2]).sum(-1)
    assert abs(float(between.mean())) < 4.0 / math.sqrt(MANY)


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="kind: got 'sphere', expected 'ball', 'shell' or 'cube'"):
        draw("sphere", 3)


# net translation


@pytest.mark.parametrize("kind", KINDS)
def test_isolated_graphs_lose_their_net_translation_and_periodic_ones_keep_it(kind: str) -> None:
    sizes = [5, 4, 7]
    free = draw(kind, sizes).split(sizes)
    held = draw(kind, sizes, isolated=[True, False, True]).split(sizes)
    for number in (0, 2):
        net = held[number].sum(0)
        torch.testing.assert_close(net, torch.zeros_like(net), rtol=0.0, atol=1e-15)
    assert torch.equal(held[1], free[1])
    assert float(free[0].sum(0).norm()) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_one_translation_is_removed_so_that_rotations_stay(kind: str) -> None:
    free, held = draw(kind, 6), draw(kind, 6, isolated=[True])
    removed = free - held
    torch.testing.assert_close(removed, removed[:1].expand(6, 3), rtol=0.0, atol=1e-16)
    positions = torch.randn(6, 3, dtype=torch.float64, generator=step_generator(1, 1))
    positions = positions - positions.mean(0)
    angular = torch.linalg.cross(positions, held).sum(0)
    torch.testing.assert_close(angular, torch.linalg.cross(positions, free).sum(0))
    assert float(angular.norm()) > 0.01


def test_a_lone_isolated_atom_stays_where_it_is() -> None:
    assert torch.equal(draw("ball", 1, isolated=[True]), torch.zeros(1, 3, dtype=torch.float64))


@given(n_atoms=st.integers(2, 12), seed=st.integers(0, 2**32))
def test_without_its_net_translation_no_atom_moves_twice_as_far(n_atoms: int, seed: int) -> None:
    held = draw("shell", n_atoms, seed=seed, isolated=[True])
    assert float(held.norm(dim=-1).max()) <= 2 * RADIUS * (n_atoms - 1) / n_atoms * (1 + 1e-12)


# how close atoms can come


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
    structures = Structures(
        positions=batch.positions,
        graph_index=batch.graph_index,
        n_graphs=2,
        isolated=torch.tensor([isolated, isolated]),
    )
    energy, forces = exact_forces(morse(batch.graph_index, 2), batch.positions)
    pair = draw_pair(settings, structures, energy, forces, step_generator(seed, 0))
    for displacement in pair:
        for number in range(2):
            here = batch.positions[batch.graph_index == number]
            there = here + displacement[batch.graph_index == number]
            change = (torch.cdist(there, there) - torch.cdist(here, here)).abs().max()
            assert float(change) <= settings.skin + 1e-12


def test_the_skin_is_reached_by_two_atoms_that_approach_along_a_cubes_diagonal() -> None:
    settings = PiwslSettings(displacement="cube", max_displacement=0.1)
    corner = 0.1 * torch.ones(3, dtype=torch.float64)
    assert settings.skin == pytest.approx(float((corner - -corner).norm()))


# fraction


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    fraction=st.floats(0.001, 0.999),
    kind=st.sampled_from(KINDS),
)
def test_the_nearest_number_of_atoms_to_the_fraction_moves_and_at_least_one(
    sizes: list[int], fraction: float, kind: str
) -> None:
    displacement = draw(kind, sizes, fraction=fraction)
    for size, part in zip(sizes, displacement.split(sizes), strict=True):
        moved = int((part != 0).any(dim=-1).sum())
        assert moved >= 1
        assert moved == 1 or abs(moved - fraction * size) <= 0.5 + 1e-5


@pytest.mark.parametrize(
    ("fraction", "moved"),
    [(0.01, [1, 1, 1]), (0.3, [1, 1, 3]), (0.5, [1, 2, 5]), (0.75, [1, 3, 8]), (0.99, [1, 4, 10])],
)
def test_a_fraction_of_each_graph_moves(fraction: float, moved: list[int]) -> None:
    sizes = [1, 4, 10]
    parts = draw("shell", sizes, fraction=fraction).split(sizes)
    assert [int((part != 0).any(dim=-1).sum()) for part in parts] == moved


def test_the_atoms_that_move_move_as_far_as_ever() -> None:
    lengths = draw("shell", 20, fraction=0.5).norm(dim=-1)
    moved = lengths[lengths > 0]
    torch.testing.assert_close(moved, torch.full_like(moved, RADIUS), rtol=1e-14, atol=0.0)


def test_every_atom_has_the_same_chance_to_move() -> None:
    n_draws, n_atoms = 600, 8
    moved = torch.zeros(n_atoms)
    for seed in range(n_draws):
        moved += (draw("ball", n_atoms, seed=seed, fraction=0.25) != 0).any(dim=-1)
    spread = math.sqrt(0.25 * 0.75 / n_draws)
    assert float((moved / n_draws - 0.25).abs().max()) < 4.0 * spread


def test_the_number_of_atoms_that_move_does_not_hang_on_the_default_dtype() -> None:
    usual = torch.get_default_dtype()
    counts = set()
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:  # 0.575 * 100 is 57.5 in single and 57.4999... in double precision
            counts.add(int((draw("ball", 100, fraction=0.575) != 0).any(dim=-1).sum()))
        finally:
            torch.set_default_dtype(usual)
    assert len(counts) == 1


def test_graphs_may_come_in_any_order() -> None:
    index = torch.tensor([1, 0, 1, 0, 1, 1])
    everything = torch.ones(6, 3, dtype=torch.float64)
    kept = keep_fraction(everything, index, 2, 0.5, step_generator(0, 0))
    moved = (kept != 0).any(dim=-1)
    assert int(moved[index == 0].sum()) == 1
    assert int(moved[index == 1].sum()) == 2


# random stream


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_step_and_rank_draw_the_same(kind: str) -> None:
    def at(seed: int, step: int, rank: int) -> Tensor:
        return draw_displacements(
            torch.zeros(4, 3),
            torch.zeros(4, dtype=torch.int64),
            1,
            kind=kind,
            max_displacement=RADIUS,
            generator=step_generator(seed, step, rank),
        )

    assert torch.equal(at(3, 5, 1), at(3, 5, 1))
    for other in ((4, 5, 1), (3, 6, 1), (3, 5, 0)):
        assert not torch.isclose(at(3, 5, 1), at(*other)).any()


NUMBERS = st.integers(0, 10**6)


@given(st.tuples(NUMBERS, NUMBERS, NUMBERS), st.tuples(NUMBERS, NUMBERS, NUMBERS))
def test_different_seeds_steps_or_ranks_have_different_streams(
    one: tuple[int, int, int], two: tuple[int, int, int]
) -> None:
    same = step_generator(*one).initial_seed() == step_generator(*two).initial_seed()
    assert same == (one == two)


def test_digits_do_not_wander_between_seed_step_and_rank() -> None:
    triples = [(1, 23, 4), (12, 3, 4), (1, 2, 34), (123, 4, 0), (1, 234, 0), (4, 23, 1)]
    seeds = {step_generator(*triple).initial_seed() for triple in triples}
    assert len(seeds) == len(triples)


def test_consecutive_steps_have_unrelated_displacements() -> None:
    draws = torch.stack([torch.randn(500, generator=step_generator(0, step)) for step in range(8)])
    correlations = torch.corrcoef(draws) - torch.eye(8)
    assert float(correlations.abs().max()) < 0.2


def test_the_largest_seed_is_as_good_as_any() -> None:
    assert step_generator(2**63, 2**40, 10**5).initial_seed() >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_hosts_random_streams_are_left_alone(kind: str) -> None:
    before, before_python = torch.get_rng_state(), random.getstate()
    draw(kind, [3, 5], fraction=0.5)
    draw(kind, [3, 5], isolated=[True, False])
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == before_python


@pytest.mark.parametrize("kind", KINDS)
def test_the_hosts_seed_does_not_change_the_displacements(kind: str) -> None:
    draws = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            draws.append(draw(kind, 4))
    assert torch.equal(*draws)


# dtype and device


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("device", [*DEVICES, "meta"])
def test_displacements_follow_the_positions_dtype_and_device(
    kind: str, dtype: torch.dtype, device: str
) -> None:
    positions = torch.zeros(4, 3, dtype=dtype, device=device, requires_grad=True)
    displacement = draw_displacements(
        positions,
        torch.zeros(4, dtype=torch.int64, device=device),
        1,
        kind=kind,
        max_displacement=RADIUS,
        generator=step_generator(0, 0),
    )
    assert (displacement.dtype, displacement.device.type) == (dtype, device)
    assert displacement.shape == positions.shape
    assert not displacement.requires_grad


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fraction", [0.4, 1.0])
def test_single_and_double_precision_displace_alike(kind: str, fraction: float) -> None:
    sizes = [5, 9]
    single = draw(kind, sizes, fraction=fraction, dtype=torch.float32)
    double = draw(kind, sizes, fraction=fraction, dtype=torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=1e-9)
    assert torch.equal(single == 0, double == 0)


@pytest.mark.parametrize("fraction", [0.4, 1.0])
@pytest.mark.parametrize("device", DEVICES)
def test_every_device_draws_the_same_displacements(fraction: float, device: str) -> None:
    sizes = [5, 9]
    displacement = draw_displacements(
        torch.zeros(14, 3, dtype=torch.float64, device=device),
        graph_index_of(sizes).to(device),
        2,
        kind="ball",
        max_displacement=RADIUS,
        generator=step_generator(0, 0),
        fraction=fraction,
        isolated=torch.tensor([True, False], device=device),
    )
    expected = draw("ball", sizes, fraction=fraction, isolated=[True, False])
    torch.testing.assert_close(displacement.cpu(), expected, rtol=0.0, atol=1e-15)


# adversarial


def forces_like(seed: int, n_atoms: int = 7) -> Tensor:
    return torch.randn(n_atoms, 3, dtype=torch.float64, generator=step_generator(seed, 0))


def assert_parallel(displacement: Tensor, direction: Tensor) -> None:
    expected = RADIUS * direction / direction.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(displacement, expected, rtol=1e-12, atol=1e-15)


def test_without_references_atoms_move_along_the_models_force() -> None:
    forces = forces_like(1)
    displacement = adversarial_displacements(
        forces, clusters().graph_index, max_displacement=RADIUS
    )
    assert_parallel(displacement, forces)


def test_only_graphs_with_reference_forces_follow_the_force_error() -> None:
    index, forces, reference = clusters().graph_index, forces_like(1), forces_like(2)
    reference[index == 0] = math.nan
    displacement = adversarial_displacements(
        forces,
        index,
        max_displacement=RADIUS,
        reference_forces=reference,
        has_forces=torch.tensor([False, True]),
        energy_error=torch.tensor([-3.0, 2.0], dtype=torch.float64),
    )
    assert_parallel(displacement[index == 0], forces[index == 0])
    assert_parallel(displacement[index == 1], (reference - forces)[index == 1])


@pytest.mark.parametrize(("error", "sign"), [(2.0, 1.0), (0.0, 1.0), (-2.0, -1.0)])
def test_the_sign_of_the_energy_error_gives_the_sign_of_the_displacement(
    error: float, sign: float
) -> None:
    forces, reference = forces_like(1), forces_like(2)
    displacement = adversarial_displacements(
        forces,
        clusters().graph_index,
        max_displacement=RADIUS,
        reference_forces=reference,
        has_forces=torch.tensor([True, True]),
        energy_error=torch.tensor([error, error], dtype=torch.float64),
    )
    assert_parallel(displacement, sign * (reference - forces))


@pytest.mark.parametrize("offset", [0.7, -0.7])
def test_an_adversarial_step_raises_the_energy_error_of_every_graph(offset: float) -> None:
    batch = clusters()
    model = morse(batch.graph_index, 2)
    truth = morse(batch.graph_index, 2, depth=4.0, steepness=2.0, length=1.1)
    zero = offset + (truth(batch.positions) - model(batch.positions))
    energy, forces = exact_forces(lambda r: model(r) + zero, batch.positions)
    reference, reference_forces = exact_forces(truth, batch.positions)
    displacement = adversarial_displacements(
        forces,
        batch.graph_index,
        max_displacement=0.01,
        reference_forces=reference_forces,
        has_forces=torch.tensor([True, True]),
        energy_error=energy - reference,
    )
    end = batch.positions + displacement
    before = energy - reference
    after = model(end) + zero - truth(end)
    assert (before * offset > 0).all()
    assert (after.abs() > before.abs()).all()


def test_atoms_without_a_direction_stay() -> None:
    forces = forces_like(1)
    forces[3] = 0.0
    displacement = adversarial_displacements(
        forces, clusters().graph_index, max_displacement=RADIUS
    )
    assert displacement[3].tolist() == [0.0, 0.0, 0.0]
    assert bool((displacement[torch.arange(7) != 3] != 0).any(dim=-1).all())


def test_adversarial_displacements_are_detached() -> None:
    forces, reference = forces_like(1).requires_grad_(), forces_like(2).requires_grad_()
    error = torch.ones(2, dtype=torch.float64, requires_grad=True)
    displacement = adversarial_displacements(
        forces,
        clusters().graph_index,
        max_displacement=RADIUS,
        reference_forces=reference,
        has_forces=torch.tensor([True, False]),
        energy_error=error,
    )
    assert not displacement.requires_grad


# the pair d, d'


def pair(
    settings: PiwslSettings, *, energy_label: bool = False, force_label: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """d, d' and the model's forces for the two clusters, labels of graph 0 being NaN."""
    batch = clusters()
    energy, forces = exact_forces(morse(batch.graph_index, 2), batch.positions)
    only_second = torch.tensor([False, True])
    reference = torch.zeros_like(forces)
    reference[batch.graph_index == 0] = math.nan
    structures = Structures(
        positions=batch.positions,
        graph_index=batch.graph_index,
        n_graphs=2,
        isolated=torch.tensor([True, True]),
        energy=torch.tensor([math.nan, 1e6], dtype=torch.float64) if energy_label else None,
        has_energy=only_second if energy_label else None,
        forces=reference if force_label else None,
        has_forces=only_second if force_label else None,
    )
    return *draw_pair(settings, structures, energy, forces, step_generator(0, 0)), forces


@pytest.mark.parametrize("kind", KINDS)
def test_d_and_the_other_d_are_drawn_independently(kind: str) -> None:
    first, second, _ = pair(PiwslSettings(displacement=kind))
    assert not torch.isclose(first, second).any()


@pytest.mark.parametrize("kind", KINDS)
def test_neither_displacement_translates_an_isolated_structure(kind: str) -> None:
    index = clusters().graph_index
    for displacement in pair(PiwslSettings(displacement=kind))[:2]:
        for number in range(2):
            net = displacement[index == number].sum(0)
            torch.testing.assert_close(net, torch.zeros_like(net), rtol=0.0, atol=1e-15)


def test_adversarial_steps_pair_with_a_random_one() -> None:
    settings = PiwslSettings(displacement="adversarial", max_displacement=RADIUS)
    first, second, forces = pair(settings)
    assert_parallel(first, forces)
    assert float(torch.nn.functional.cosine_similarity(first, second).abs().max()) < 1.0 - 1e-6


def test_adversarial_steps_take_labels_only_where_they_are() -> None:
    settings = PiwslSettings(displacement="adversarial", max_displacement=RADIUS)
    index = clusters().graph_index
    first, second, forces = pair(settings, energy_label=True, force_label=True)
    assert_parallel(first[index == 0], forces[index == 0])
    # the reference forces are zero and the energy lies far below its label: against the error
    assert_parallel(first[index == 1], forces[index == 1])
    assert torch.isfinite(second).all()
    without_energy, _, _ = pair(settings, force_label=True)
    assert_parallel(without_energy[index == 1], -forces[index == 1])


@pytest.mark.parametrize("kind", [*KINDS, "adversarial"])
def test_the_fraction_holds_for_both_displacements_of_every_kind(kind: str) -> None:
    first, second, _ = pair(PiwslSettings(displacement=kind, fraction=0.5))
    index = clusters().graph_index
    for displacement, number in itertools.product((first, second), range(2)):
        moved = (displacement[index == number] != 0).any(dim=-1)
        assert int(moved.sum()) == 2  # of three and of four
