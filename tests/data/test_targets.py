"""What a model is to learn from a file, and which of the keys that were asked for it has."""

from __future__ import annotations

import logging
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest
from memory_sources import block

from piwsl_plugins.data.readers import DataError
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.targets import check_differences, open_labelled, targets

WATER = ase.build.molecule("H2O")


def test_a_difference_is_missing_where_one_of_the_two_is() -> None:
    found = targets(
        block(
            [WATER] * 3,
            energy=[1.0, None, 3.0],
            low_energy=[0.25, 0.5, None],
            forces=[np.ones((3, 3)), np.ones((3, 3)), None],
            low_forces=[np.full((3, 3), 0.5), None, None],
        )
    )
    assert set(found.labels) == {"energy", "forces"}
    np.testing.assert_equal(found.labels["energy"], [0.75, np.nan, np.nan])
    assert found.has("forces").tolist() == [True, False, False]
    assert found.labels["forces"][0].ravel() == pytest.approx(0.5)


def test_without_a_cheaper_method_the_labels_are_what_they_are() -> None:
    given = block([WATER], energy=[1.0], weak_forces=[np.ones((3, 3))])
    assert targets(given) is given
    alone = targets(block([WATER], energy=[1.0], low_energy=[0.5], forces=[np.ones((3, 3))]))
    assert set(alone.labels) == {"energy"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (DataSettings(low_forces="f"), r"low_forces 'f' without low_energy"),
        (DataSettings(low_energy="e", weak_forces="f"), r"weak_forces 'f' contradicts low_energy"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(settings: DataSettings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_differences(settings)


def test_only_the_energy_must_be_in_every_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    atoms = WATER.copy()
    atoms.info["e_high"] = -1.0
    ase.io.write(tmp_path / "a.xyz", atoms)
    with caplog.at_level(logging.WARNING):
        source = open_labelled(tmp_path / "a.xyz", DataSettings(energy="e_high", forces="f_high"))
    assert "a.xyz: there are no forces 'f_high'; the keys in the file are e_high" in caplog.text
    assert source.settings.forces is None
    (found,) = source.blocks()
    assert found.labels["energy"].tolist() == [-1.0]
    with pytest.raises(DataError, match=r"(?s)a\.xyz: .*energy 'e_low'.*e_high"):
        open_labelled(tmp_path / "a.xyz", DataSettings(energy="e_low"))


def test_a_file_to_judge_by_may_lack_energies_but_not_have_others(tmp_path: Path) -> None:
    atoms = WATER.copy()
    atoms.arrays["f_high"] = np.ones((3, 3))
    ase.io.write(tmp_path / "forces.xyz", atoms)
    settings = DataSettings(energy="e_high", forces="f_high")
    source = open_labelled(tmp_path / "forces.xyz", settings, must_have_energies=False)
    (found,) = source.blocks()
    assert found.has("forces").all()
    assert not found.has("energy").any()
    atoms.info["energy_pbe"] = -1.0  # a reader without a key would take it
    ase.io.write(tmp_path / "other.xyz", atoms)
    with pytest.raises(DataError, match=r"other\.xyz: .*--energy_key 'e_high'; .*energy_pbe"):
        open_labelled(tmp_path / "other.xyz", settings, "--{}_key".format, must_have_energies=False)


def test_a_key_by_default_stands_for_whatever_there_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    atoms = WATER.copy()
    atoms.info["e_total_energy"] = -2.0
    ase.io.write(tmp_path / "a.xyz", atoms)
    defaults = {"energy": "REF_energy", "forces": "REF_forces"}
    with caplog.at_level(logging.WARNING):
        source = open_labelled(tmp_path / "a.xyz", DataSettings(**defaults), defaults=defaults)
    assert not caplog.text
    (found,) = source.blocks()
    assert found.labels["energy"].tolist() == [-2.0]
