"""Labels are found where readers put them, and what cannot be used is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from piwsl_plugins.evaluation.frames import FrameSet, check_elements, read_frame_sets
from piwsl_plugins.evaluation.predict import reference_stress

ANY: dict[str, str | None] = {"energy": None, "forces": None, "stress": None}


def read(path: Path, config_type: str | None = None, **keys: str) -> FrameSet:
    (found,) = read_frame_sets({"test": path}, {**ANY, **keys}, config_type)
    return found


def written(folder: Path, text: str) -> Path:
    path = folder / "frames.xyz"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_usual_keys_are_found_in_their_order(tmp_path: Path) -> None:
    path = written(tmp_path, "1\nREF_energy=-1.0 config_type=cold\nH 0 0 0\n1\n\nHe 0 0 0\n")
    found = read(path)
    assert found.keys == {"energy": "REF_energy", "forces": "REF_forces", "stress": "REF_stress"}
    assert found.config_types == ["cold", None]
    assert found.symbols == ["H", "He"]
    assert len(found.sha256) == 64


def test_results_that_ase_attaches_are_labels_too(tmp_path: Path) -> None:
    atoms = bulk("Cu")
    stress = np.arange(6.0)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((1, 3)), stress=stress)
    write(tmp_path / "copper.xyz", atoms)
    found = read(tmp_path / "copper.xyz")
    assert found.keys == {"energy": "energy", "forces": "forces", "stress": "stress"}
    np.testing.assert_allclose(reference_stress(found.frames[0], "stress"), stress)


@pytest.mark.parametrize("shape", [(3, 3), (9,), (6,)])
def test_a_stress_may_have_any_of_three_shapes(shape: tuple[int, ...]) -> None:
    full = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])
    atoms = bulk("Cu")
    atoms.info["REF_stress"] = np.arange(1.0, 7.0) if shape == (6,) else full.reshape(shape)
    np.testing.assert_allclose(reference_stress(atoms, "REF_stress"), np.arange(1.0, 7.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("1\n\nH 0 0 0\n", "no frame has a label: looked for 'REF_energy', 'REF_forces'"),
        ("1\nmy_energy=-1\nH 0 0 0\n", "the frames have my_energy; name yours by --energy-key"),
        ("1\nREF_energy=inf\nH 0 0 0\n", "frame 0 .* 'REF_energy' is infinite"),
        ("1\nREF_energy=low\nH 0 0 0\n", "frame 0 .* 'REF_energy' is not a label of the energy"),
        (
            "1\nProperties=species:S:1:pos:R:3:REF_forces:R:2\nH 0 0 0 1 2\n",
            r"'REF_forces' has shape \(1, 2\), expected \(1, 3\)",
        ),
        ("1\nREF_energy=-1\nH nan 0 0\n", "frame 0 .* a position that is not a number"),
        (
            "1\nREF_stress='1 2'\nH 0 0 0\n",
            r"'REF_stress' has shape \(2,\), expected",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(written(tmp_path, text))


def test_a_missing_file_and_a_key_that_is_nowhere_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.xyz: there is no such file"):
        read(tmp_path / "nowhere.xyz")
    path = written(tmp_path, "1\nREF_energy=-1\nH 0 0 0\n")
    with pytest.raises(ValueError, match=r"no frame has 'E' \(--energy-key\); .* have REF_energy"):
        read(path, energy="E")
    with pytest.raises(ValueError, match=r"no frame has 'kind' \(--config-type-key\)"):
        read(path, "kind")


def test_a_label_that_is_nan_is_absent(tmp_path: Path) -> None:
    found = read(written(tmp_path, "1\nREF_energy=nan\nH 0 0 0\n1\nREF_energy=-1\nH 0 0 0\n"))
    assert len(found.frames) == 2


def test_an_element_that_a_model_does_not_know_is_named(tmp_path: Path) -> None:
    found = read(written(tmp_path, "1\nREF_energy=-1\nH 0 0 0\n1\nREF_energy=-1\nXe 0 0 0\n"))
    check_elements(found, frozenset({"H", "Xe"}), "good")
    with pytest.raises(ValueError, match=r"frame 1 .* holds Xe; the model 'mine' knows C, H alone"):
        check_elements(found, frozenset({"H", "C"}), "mine")
