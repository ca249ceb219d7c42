"""A trained model of MACE as the cheap method of `piwsl weak label`."""

from __future__ import annotations

from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase.io import read, write
from small_mace import crystals, make_model, molecules

from piwsl_plugins.hosts.calculators import identify, load
from piwsl_plugins.weak.command import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    import mace.tools  # noqa: F401  before e3nn, whose constants load by a setting of MACE's

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.save(make_model(), tmp_path / "small.model")
    torch.set_default_dtype(before)
    return tmp_path / "small.model"


def label(model: Path, frames: list[ase.Atoms], out: Path) -> int:
    write(out.with_name("in.xyz"), frames, format="extxyz")
    words = ["--method", str(model), "--processes", "1", "-o", str(out)]
    return main(["label", str(out.with_name("in.xyz")), *words])


def test_labels_are_those_of_the_model(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.xyz"
    assert label(model, [*molecules(), *crystals()], out) == 0
    found = read(out, index=":")
    calculator = load(identify(model)).calculator
    for atoms in found:
        atoms.calc = calculator
        assert atoms.info["weak_energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(atoms.arrays["weak_forces"], atoms.get_forces(), atol=1e-9)
        if atoms.pbc.any():
            expected = atoms.get_stress(voigt=False).ravel()
            np.testing.assert_allclose(atoms.info["weak_stress"], expected, atol=1e-9)
    assert {"weak_stress" in atoms.info for atoms in found} == {True, False}
    capsys.readouterr()
    out.unlink()
    gold = ase.Atoms("HAu", [[0.0, 0.0, 0.0], [0.0, 0.0, 1.6]])
    assert label(model, [*molecules(), gold], out) == 2
    message = capsys.readouterr().err
    assert f"frame {len(molecules())}: the model" in message
    assert "found Au" in message
    assert not out.exists()
