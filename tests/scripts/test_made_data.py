"""The made data sets are what their potentials say, and read as they are."""

from __future__ import annotations

from pathlib import Path

import ase.io
import make_emt_alloy
import numpy as np
import pytest
from ase.calculators.emt import EMT

from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import DataSettings


@pytest.fixture(scope="module")
def alloys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("emt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_emt_alloy, "EQUILIBRATION", 20)
        patch.setattr(make_emt_alloy, "SNAPSHOTS", 2)
        words = ["-o", str(path), "--train", "3", "--test", "2", "--test-hot", "1"]
        assert make_emt_alloy.main(words) == 0
    return path


def test_alloys_have_the_labels_of_their_potential(alloys: Path) -> None:
    found = read(alloys / "train.xyz", DataSettings(energy="REF_energy", forces="REF_forces",
                                                    stress="REF_stress"))  # fmt: skip
    assert len(found.frames) == 3
    for frame in found.frames:
        assert frame.atoms.symbols.formula.count() == {"Cu": 16, "Au": 16}
        frame.atoms.calc = EMT()
        np.testing.assert_allclose(frame.labels["forces"], frame.atoms.get_forces(), atol=1e-6)
        expected = frame.atoms.get_stress(voigt=False)
        np.testing.assert_allclose(frame.labels["stress"], expected, atol=1e-6)
    hot = ase.io.read(alloys / "test_hot.xyz", index=0)
    assert hot.info["config_type"] == "1200K"
    with pytest.raises(SystemExit, match="--force overwrites them"):
        make_emt_alloy.main(["-o", str(alloys)])
