"""A spoilt ANI or SPICE file is an error that names file, group, what was found and expected."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hdf5_files import KEYS, LAYOUTS, SIZES, change, write

from piwsl_plugins.data.readers import DataError, open_source
from piwsl_plugins.data.settings import DataSettings

POSITIONS = {"ani": "coordinates", "spice": "conformations"}
FORCES = {"ani": "wb97x_dz.forces", "spice": "dft_total_gradient"}


def read(path: Path, layout: str, **keys: Any) -> int:
    source = open_source(path, DataSettings(**{**KEYS[layout], **keys}))
    return sum(len(block) for block in source.blocks())


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path, layout: str) -> Path:
    write(tmp_path / "file.h5", layout)
    return tmp_path / "file.h5"


def with_value(layout: str, name: str, place: tuple[int, ...], value: float) -> np.ndarray:
    """A dataset of the group H2O1 (7 frames of 3 atoms) of which one number is another."""
    values = np.zeros((7,) if name == KEYS[layout]["energy"] else (7, 3, 3))
    values[place] = value
    return values


def test_a_missing_key_lists_the_columns_that_are_there(path: Path, layout: str) -> None:
    with pytest.raises(DataError, match=r"there is no column 'wb97x_dz\.enrgy'") as error:
        read(path, layout, energy="wb97x_dz.enrgy")
    text = str(error.value)
    assert str(path) in text
    assert KEYS[layout]["energy"] in text
    if layout == "ani":
        assert "did you mean 'wb97x_dz.energy'" in text
    else:
        assert "also there: smiles (object of shape (1,))" in text


def test_forces_cannot_stand_for_energies_nor_energies_for_forces(path: Path, layout: str) -> None:
    energy, forces = KEYS[layout]["energy"], FORCES[layout]
    with pytest.raises(DataError, match="not of the right kind, expected energies, one number"):
        read(path, layout, energy=forces)
    with pytest.raises(DataError, match="not of the right kind, expected a vector for each atom"):
        read(path, layout, weak_forces=energy)
    with pytest.raises(DataError, match="not of the right kind"):
        read(path, layout, energy=f"{energy} + {forces}")


def test_a_stress_is_refused(path: Path, layout: str) -> None:
    with pytest.raises(DataError, match="stress 'virial' was asked for, but molecules"):
        read(path, layout, stress="virial")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_positions_that_are_no_numbers_name_the_frame(
    path: Path, layout: str, value: float
) -> None:
    name = POSITIONS[layout]
    change(path, "H2O1", name, with_value(layout, name, (2, 1, 0), value))
    with pytest.raises(DataError, match=f"group H2O1: positions .* '{name}' .* frames 7 "):
        read(path, layout)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_an_infinite_energy_names_the_frame(path: Path, layout: str, value: float) -> None:
    name = KEYS[layout]["energy"]
    change(path, "H2O1", name, with_value(layout, name, (6,), value))
    with pytest.raises(DataError, match=r"group H2O1: infinite energies in .* frames 11 \("):
        read(path, layout)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_forces_of_which_some_are_missing_name_the_frame(
    path: Path, layout: str, value: float
) -> None:
    change(path, "H2O1", FORCES[layout], with_value(layout, FORCES[layout], (0, 2, 2), value))
    with pytest.raises(DataError, match=r"group H2O1: vectors that are not finite .* frames 5 \("):
        read(path, layout)
    assert open_source(path).keys[FORCES[layout]] == 13  # what is in a file can always be listed


def test_at_most_ten_frames_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ani"
    write(path, "ani", sizes={"H2O1": (3, 30)})
    change(path, "H2O1", "coordinates", np.full((30, 3, 3), np.nan))
    with pytest.raises(DataError, match=r"frames 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 20 more \("):
        read(path, "ani")


def test_infinities_are_found_before_they_cancel(tmp_path: Path) -> None:
    path = tmp_path / "ani"
    write(path, "ani")
    change(path, "H3N1", "hf_qz.energy", [np.inf])
    with pytest.raises(DataError, match=r"infinite energies in 'hf_qz\.energy'"):
        read(path, "ani", energy="hf_qz.energy - hf_qz.energy")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("positions", np.zeros((7, 4, 3)), r"of shape \(7, 4, 3\), expected \(Nc, 3, 3\)"),
        ("positions", np.zeros((7, 3)), r"of shape \(7, 3\), expected \(Nc, 3, 3\)"),
        ("positions", np.zeros((6, 3, 3)), r"of shape \(7,( 3, 3)?\), expected floating"),
        ("positions", np.zeros((7, 3, 3), int), "is int64 of shape .* expected floating"),
        ("positions", None, "no dataset 'co.*'; there are atomic_numbers, "),
        ("energy", np.zeros(6), r"is float64 of shape \(6,\), expected floating.* \(7,\)"),
        ("energy", np.zeros(7, int), "is int64 of shape .* expected floating"),
        ("energy", np.zeros((7, 1)), r"is float64 of shape \(7, 1\), expected"),
        ("energy", [b"text"] * 7, "expected floating-point numbers"),
        ("forces", np.zeros((7, 2, 3)), r"of shape \(7, 2, 3\), expected .* \(7, 3, 3\)"),
        ("forces", np.zeros((7, 9)), r"of shape \(7, 9\), expected .* \(7, 3, 3\)"),
        ("atomic_numbers", [1, 1], r"of shape \(7, 3, 3\), expected \(Nc, 2, 3\)"),
        ("atomic_numbers", [1, 0, 8], "atomic_numbers has 0, expected 1 to 118"),
        ("atomic_numbers", [1, 119, 8], "atomic_numbers has 119, expected 1 to 118"),
        ("atomic_numbers", [1.0, 1.0, 8.0], "atomic_numbers is float64 of shape .* integers"),
        ("atomic_numbers", [[1, 1, 8]] * 7, r"atomic_numbers is int64 of shape \(7, 3\)"),
        ("atomic_numbers", None, "no dataset 'atomic_numbers'; there are "),
    ],
)
def test_datasets_that_do_not_fit_each_other_are_named(
    path: Path, layout: str, name: str, values: Any, message: str
) -> None:
    names = {"positions": POSITIONS, "forces": FORCES}.get(name, {layout: name})[layout]
    names = KEYS[layout]["energy"] if name == "energy" else names
    change(path, "H2O1", names, values)
    with pytest.raises(DataError, match=message) as error:
        read(path, layout)
    assert f"{path}, group H2O1: " in str(error.value)


def test_a_label_of_another_kind_in_the_whole_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ani"
    write(path, "ani")
    for name, (_, n_frames) in SIZES.items():
        change(path, name, "hf_qz.energy", np.zeros((n_frames, 1)))
    with pytest.raises(DataError, match=r"also there: hf_qz.energy \(float64 of shape \(5, 1\)\)"):
        read(path, "ani", energy="hf_qz.energy")


def test_a_dataset_that_was_never_written_is_no_column_of_zeros(path: Path, layout: str) -> None:
    name = KEYS[layout]["energy"]
    with h5py.File(path, "a") as file:
        del file["H2O1"][name]
        file["H2O1"].create_dataset(name, (7,), "f8")
    with pytest.raises(DataError, match=r"parts of .* were never written, HDF5 would give 0\.0"):
        read(path, layout)
    with h5py.File(path, "a") as file:
        del file["H2O1"][name]
        chunked = file["H2O1"].create_dataset(name, (7,), "f8", chunks=(4,))
        chunked[:4] = 1.0
    with pytest.raises(DataError, match=f"group H2O1: parts of '.*{name[-6:]}' were never written"):
        read(path, layout)


def test_labels_that_were_never_written_are_missing_where_nan_fills_them(tmp_path: Path) -> None:
    path = tmp_path / "ani"
    write(path, "ani")
    with h5py.File(path, "a") as file:
        del file["H2O1"]["hf_qz.energy"]
        file["H2O1"].create_dataset("hf_qz.energy", (7,), "f8", fillvalue=np.nan)
    source = open_source(path, DataSettings(energy="hf_qz.energy"))
    assert source.keys["hf_qz.energy"] == 6
    assert source.frame(6).scalar("energy", 0) is None


def test_groups_without_frames_or_atoms_are_skipped_with_a_warning(
    path: Path, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    with h5py.File(path, "a") as file:
        file.create_group("A_void")
        group = file.create_group("B_no_frames")
        group["atomic_numbers"] = [1, 1]
        group[POSITIONS[layout]] = np.zeros((0, 2, 3))
        group = file.create_group("Z_no_atoms")
        group["atomic_numbers"] = np.zeros(0, int)
        group[POSITIONS[layout]] = np.zeros((2, 0, 3))
    with caplog.at_level(logging.WARNING):
        assert read(path, layout) == 13
    assert (
        "3 groups without atoms or frames, skipped: A_void, B_no_frames, Z_no_atoms" in caplog.text
    )


def test_a_group_with_two_names_does_not_count_twice(path: Path, layout: str) -> None:
    with h5py.File(path, "a") as file:
        file["Z"] = file["H2O1"]
    with pytest.raises(DataError, match="group Z: the same group as 'H2O1', so that its frames"):
        read(path, layout)


def test_a_file_of_empty_groups_is_an_error(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "file"
    with h5py.File(path, "w") as file:
        file["H2/atomic_numbers"] = [1, 1]
        file["H2/" + POSITIONS[layout]] = np.zeros((0, 2, 3))
    with pytest.raises(DataError, match="no frames in it, expected groups with atomic_numbers"):
        read(path, layout)


def test_a_file_without_energies_says_what_it_has(path: Path, layout: str) -> None:
    with h5py.File(path, "a") as file:
        for group in file.values():
            for name in set(group) - {"atomic_numbers", POSITIONS[layout], "smiles"}:
                del group[name]
    with pytest.raises(DataError, match="no energies in it, expected a dataset"):
        open_source(path).frame(0)


def test_a_file_that_cannot_be_opened_is_an_error(
    path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(path, DataSettings(**KEYS[layout]))
    path.unlink()
    with pytest.raises(DataError, match=r"file\.h5: cannot be opened: .*No such file"):
        source.frame(0)


def test_a_damaged_chunk_is_an_error_only_where_it_is_read(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "file"
    write(path, layout, chunks=True, fletcher32=True)
    with h5py.File(path) as file:
        chunk = file["H2O1"][POSITIONS[layout]].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset] ^= 1
    path.write_bytes(content)
    source = open_source(path, DataSettings(**KEYS[layout]))
    assert len(source) == 13
    assert source.frame(0).group == "C1H4"
    with pytest.raises(DataError, match="group H2O1: a truncated or corrupt HDF5 file, found: "):
        source.frame(5)
    with pytest.raises(DataError, match="copy or download it again"):
        read(path, layout)
