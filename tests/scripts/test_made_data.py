"""The made data sets are what their potentials say, and read as they are."""

from __future__ import annotations

from pathlib import Path

import ase.build
import ase.io
import make_emt_alloy
import make_large_hdf5
import numpy as np
import pytest
import reading
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


@pytest.mark.parametrize("name", ["H2CO", "C6H6"])
def test_forces_of_the_bonds_are_the_slope_of_their_energy(name: str) -> None:
    atoms, rng = ase.build.molecule(name), np.random.default_rng(3)
    positions = atoms.positions + 0.04 * rng.normal(size=(2, len(atoms), 3))
    way = 1e-4 * rng.normal(size=positions.shape)
    ahead, _ = make_large_hdf5.bond_energies(atoms, positions + way)
    behind, _ = make_large_hdf5.bond_energies(atoms, positions - way)
    _, forces = make_large_hdf5.bond_energies(atoms, positions)
    np.testing.assert_allclose(ahead - behind, -2.0 * (forces * way).sum((1, 2)), rtol=1e-4)


def test_both_layouts_are_read_and_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_large_hdf5.main(["-o", str(tmp_path), "-n", "103"]) == 0
    files = [tmp_path / "ani.h5", tmp_path / "spice.h5"]
    capsys.readouterr()
    assert reading.main([*map(str, files), "--rounds", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [["| ani.h5", "103"], ["| spice.h5", "103"]]
    costly = read(files[0], DataSettings(energy="ccsd(t)_cbs.energy"), needs_energies=False)
    assert 0 < costly.count("energy") < 30
