"""Parts of a split: their sizes, and what stays together."""

from __future__ import annotations

import ase.build
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from molecules import as_frames, springs

from piwsl_plugins.data.frames import DataError, Frame
from piwsl_plugins.data.splits import NOWHERE, deal, molecule, part_size, partition


def test_a_size_with_a_point_is_a_fraction_and_one_without_a_number() -> None:
    assert part_size("train=0.8") == ("train", 0.8)
    assert isinstance(part_size("train=1.0")[1], float)
    assert isinstance(part_size("all-2=1")[1], int)


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=200),
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_units_stay_together_and_parts_of_single_frames_are_as_large_as_wanted(
    units: list[int], wanted: list[int], seed: int
) -> None:
    sizes = np.array(wanted)
    while sizes.sum() > len(units):
        sizes = np.maximum(sizes - 1, 0)
    parts = deal(np.array(units), sizes, np.random.default_rng(seed))
    assert set(parts.tolist()) <= {NOWHERE, *range(len(wanted))}
    for unit in set(units):
        assert len(set(parts[np.array(units) == unit])) == 1
    single = deal(np.arange(len(units)), sizes, np.random.default_rng(seed))
    found = np.bincount(single + 1, minlength=len(wanted) + 1)
    assert found.tolist() == [len(units) - sizes.sum(), *sizes]


def some_frames() -> list[Frame]:
    """Thirty geometries of one molecule, of which five are there twice, and an isolated atom."""
    atoms = [a for a, _, _ in springs()[:30]]
    return as_frames([*atoms, *atoms[:5], ase.Atoms("H")])


@pytest.mark.parametrize("by", ["frame", "farthest-point"])
def test_copies_stay_together_and_isolated_atoms_go_to_the_first_part(by: str) -> None:
    if by == "farthest-point":
        pytest.importorskip("dscribe")
    frames = some_frames()
    parts = partition(frames, {"train": 0.5, "test": 0.5}, by, 1)
    assert parts[:5].tolist() == parts[30:35].tolist()
    assert parts[-1] == 0
    assert np.bincount(parts[:-1]).tolist() == pytest.approx([18, 17], abs=1)
    assert parts.tolist() == partition(frames, {"train": 0.5, "test": 0.5}, by, 1).tolist()


@pytest.mark.parametrize("by", ["formula", "molecule"])
def test_formulas_and_molecules_stay_together(by: str) -> None:
    names = ["CH3CH2OH", "CH3OCH3", "H2O", "CH4", "CH3OH", "NH3"]
    atoms = [ase.build.molecule(name) for name in names for _ in range(4)]
    for i, one in enumerate(atoms):
        one.rattle(0.03, seed=i)
    frames = as_frames([one[:: 1 if i % 2 else -1] for i, one in enumerate(atoms)])
    parts = partition(frames, {"a": 0.5, "b": 0.5}, by, 0).reshape(6, 4)
    assert (parts == parts[:, :1]).all()
    assert (molecule(frames[0]) == molecule(frames[4])) is False
    if by == "formula":
        assert parts[0, 0] == parts[1, 0]


def test_farthest_points_cover_what_random_frames_miss() -> None:
    pytest.importorskip("dscribe")
    atoms = [ase.build.molecule("H2O") for _ in range(40)]
    for i, one in enumerate(atoms):
        one.rattle(0.005, seed=i)
    atoms += [ase.build.molecule("CH4"), ase.build.molecule("CO2")]
    frames = as_frames(atoms)
    parts = partition(frames, {"train": 3, "test": 10}, "farthest-point", 0)
    assert parts[-2:].tolist() == [0, 0]
    assert np.bincount(parts + 1).tolist() == [29, 3, 10]


@pytest.mark.parametrize(
    ("sizes", "by", "message"),
    [
        ({"a": 0.5, "b": 30}, "frame", "asks for 48 frames, but there are 35"),
        ({"a": 0.5, "b": 0.5}, "formula", "no frame is left for b of 35 frames in 1 units"),
    ],
)
def test_parts_that_cannot_be_filled_are_an_error(
    sizes: dict[str, int | float], by: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        partition(some_frames(), sizes, by, 0)
