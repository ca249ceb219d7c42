"""Names of models and data on the command line, where other Pythons are, and labelled frames."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.io import write
from stand_in import labelled, rattled

from piwsl_plugins.data.frames import FrameSet
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.evaluation.inputs import environments, named_files, read_sets


def read(path: Path, **settings: object) -> FrameSet:
    return read_sets({"test": path}, DataSettings(**settings))["test"]


def written(folder: Path, energy: str = "REF_energy", forces: str = "REF_forces") -> Path:
    """Methane and water with the energies and forces of EMT."""
    structures = rattled("CH4", "H2O", "CH4")
    for frame in (made := labelled(structures, EMT())):
        frame.atoms.info[energy] = frame.labels["energy"]
        frame.atoms.arrays[forces] = frame.labels["forces"]
    write(folder / "t.xyz", [frame.atoms for frame in made])
    return folder / "t.xyz"


def test_forces_are_found_under_either_usual_name_without_being_asked_for(tmp_path: Path) -> None:
    found = read(written(tmp_path))
    assert (found.count("energy"), found.count("forces")) == (3, 3)


def test_keys_units_and_differences_are_those_of_training(tmp_path: Path) -> None:
    path = written(tmp_path, "high_energy", "f")
    plain = read(path, energy="high_energy", forces="f", allow_unusual_units=True)
    options = {"energy_unit": "kcal/mol", "forces_unit": "kcal/mol/angstrom"}
    kcal = read(path, energy="high_energy", forces="f", allow_unusual_units=True, **options)
    for label in ("energy", "forces"):
        ratio = kcal.frames[0].labels[label] / plain.frames[0].labels[label]
        np.testing.assert_allclose(ratio, 0.0433641, rtol=1e-6)
    settings = {"energy": "high_energy", "low_energy": "high_energy", "allow_unusual_units": True}
    assert [frame.labels["energy"] for frame in read(path, **settings).frames] == [0.0] * 3


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(ValueError, match=r"nowhere.xyz: there is no such file"):
        read(tmp_path / "nowhere.xyz")
    with pytest.raises(ValueError, match=r"--energy-key.*'E'"):
        read(path, energy="E")
    assert "--forces-key" in " ".join(read(path, forces="F").remarks)
    (tmp_path / "bare.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.8\n")
    with pytest.raises(ValueError, match=r"no frame has an energy.* --energy-key, --forces-key"):
        read(tmp_path / "bare.xyz")


def test_a_file_is_called_by_its_stem_or_by_the_name_it_was_given(tmp_path: Path) -> None:
    (odd := tmp_path / "lr=1.ckpt").touch()
    words = ["a/mine.model", "other=b/best.ckpt", "c/out.nequip.zip", str(odd), "d/x.pt", "e/x.pt"]
    names = ["mine", "other", "out", "lr=1", "d/x", "e/x"]
    assert list(named_files(words, "models")) == names
    with pytest.raises(ValueError, match="two models are called 'a': x and y; give them names"):
        named_files(["a=x", "a=y"], "models")
    with pytest.raises(ValueError, match="expected FILE or NAME=FILE"):
        named_files(["=x"], "models")


def test_an_environment_is_a_folder_or_a_python(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)  # and stays a link: that is how a virtual environment is told
    assert environments([f"mace={tmp_path}"]) == {"MACE": str(python)}
    assert environments([f"nequip={python}"]) == {"NequIP": str(python)}


@pytest.mark.parametrize("word", ["mace", "mace=", "vasp=/usr", "mace=/no/such/place"])
def test_an_environment_that_is_none_is_named(word: str) -> None:
    with pytest.raises(ValueError, match=f"--environment {word}: "):
        environments([word])
