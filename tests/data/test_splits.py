"""Parts of a split: their sizes, and what stays together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.data.readers import DataError
from piwsl_plugins.data.splits import NOWHERE, check_parts, parse_sizes, split, targets


def test_a_size_with_a_point_is_a_fraction_and_one_without_a_number() -> None:
    assert parse_sizes(["train=0.8", "val=100", "all-2=1"]) == {
        "train": 0.8,
        "val": 100,
        "all-2": 1,
    }
    assert isinstance(parse_sizes(["train=1.0"])["train"], float)
    assert isinstance(parse_sizes(["train=1"])["train"], int)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "got 'train', expected a name and a fraction"),
        (["train=0"], "got 'train=0'"),
        (["train=0.0"], "got 'train=0.0'"),
        (["train=-1"], "got 'train=-1'"),
        (["train=1.5"], r"got 'train=1\.5'"),
        (["train=nan"], "got 'train=nan'"),
        (["train=1e-"], "got 'train=1e-'"),
        (["a/b=0.5"], "got 'a/b=0.5'"),
        (["train=0.5", "train=0.2"], "train is there twice"),
        (["train=0.8", "val=0.3"], r"0.8 \+ 0.3 add up to 1.1, expected at most 1"),
    ],
)
def test_a_size_that_makes_no_sense_is_an_error(words: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_sizes(words)


@given(st.integers(1, 6), st.integers(0, 10_000))
def test_fractions_of_one_in_all_leave_no_frame_out(parts: int, frames: int) -> None:
    wanted = targets({str(i): 1 / parts for i in range(parts)}, frames)
    assert wanted.sum() == frames
    assert wanted.max() - wanted.min() <= 1


def test_parts_larger_than_all_frames_are_an_error_with_the_numbers() -> None:
    with pytest.raises(DataError, match=r"train=0.5 \(5\), val=6 are 11 frames, but there are 10"):
        targets({"train": 0.5, "val": 6}, 10)


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=200),
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_every_frame_is_in_at_most_one_part_and_units_stay_together(
    units: list[int], wanted: list[int], seed: int
) -> None:
    sizes = np.array(wanted)
    while sizes.sum() > len(units):
        sizes = np.maximum(sizes - 1, 0)
    parts = split(np.array(units), sizes, np.random.default_rng(seed))
    assert len(parts) == len(units)
    assert set(parts.tolist()) <= {NOWHERE, *range(len(wanted))}
    for unit in set(units):
        assert len(set(parts[np.array(units) == unit])) == 1


@given(st.integers(1, 300), st.data())
def test_parts_of_single_frames_are_exactly_as_large_as_wanted(
    frames: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, frames))
    second = data.draw(st.integers(0, frames - first))
    parts = split(np.arange(frames), np.array([first, second]), np.random.default_rng(frames))
    assert np.bincount(parts + 1, minlength=3).tolist() == [frames - first - second, first, second]


def test_units_come_near_the_sizes_and_no_part_stays_empty_where_that_can_be() -> None:
    units = np.repeat([0, 1, 2], [90, 5, 5])
    for seed in range(20):
        parts = split(units, np.array([80, 10, 10]), np.random.default_rng(seed))
        assert sorted(np.bincount(parts, minlength=3).tolist()) == [5, 5, 90]


def test_the_seed_decides() -> None:
    one, same, other = (
        split(np.arange(100), np.array([50, 50]), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert (one == same).all()
    assert (one != other).any()


def test_an_empty_part_is_an_error_that_says_what_there_is() -> None:
    parts = np.array([0, 0, 0], dtype=np.int8)
    with pytest.raises(
        DataError, match=r"left for test: 3 frames of 1 formulas .* train=0.5, test"
    ):
        check_parts(parts, {"train": 0.5, "test": 0.5}, 1, "formulas")
