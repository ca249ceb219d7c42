"""The reading benchmark reads the same by both ways, and writes what it measured."""

from __future__ import annotations

import csv
from pathlib import Path

import ase.build
import ase.io
import benchmark_reading
import h5py
import make_large_hdf5
import numpy as np
import pytest


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("large")
    assert make_large_hdf5.main(["-o", str(folder), "-n", "300"]) == 0
    return [folder / "ani.h5", folder / "spice.h5"]


def test_what_is_measured_goes_to_the_screen_and_into_a_table_that_is_kept(
    files: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmark_reading, "TARGET", 0.0)  # which no reader reaches
    out = tmp_path / "new" / "reading.csv"
    words = [str(files[0]), "--rounds", "2", "-o", str(out)]
    assert benchmark_reading.main(words) == 1
    text = capsys.readouterr().out
    with out.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["file"], row["frames"], row["rounds"]) == ("ani.h5", "300", "2")
    assert float(row["ratio"]) > 0.0
    assert 0.0 <= float(row["ours_peak_mb"]) < 100.0
    assert f"ratio {row['ratio']} (target: at most 0.0)" in text
    before = out.read_bytes()
    with pytest.raises(SystemExit):
        benchmark_reading.main(words)
    assert "--force overwrites it" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_both_ways_read_all_frames(files: list[Path]) -> None:
    for path in files:
        assert benchmark_reading.plain(path) == benchmark_reading.ours(path) == 300


def test_the_smaller_file_has_a_tenth_of_each_group(files: list[Path], tmp_path: Path) -> None:
    for path in files:
        part = tmp_path / path.name
        benchmark_reading.write_tenth(path, part)
        assert benchmark_reading.ours(part) == 30 - (5 if path.name == "ani.h5" else 0)
        with h5py.File(path) as whole, h5py.File(part) as tenth:
            name = next(iter(whole))
            numbers = tenth[name]["atomic_numbers"][()]
            np.testing.assert_array_equal(numbers, whole[name]["atomic_numbers"][()])


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "water.xyz"
    ase.io.write(path, ase.build.molecule("H2O"))
    with pytest.raises(SystemExit, match="expected a file of ANI's or SPICE's layout"):
        benchmark_reading.main([str(path), "-o", str(tmp_path / "out.csv")])
