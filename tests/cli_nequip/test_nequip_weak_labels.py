"""A checkpoint of NequIP as the cheap method of `piwsl weak label`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from nequip_commands import Trained

from piwsl_plugins import datasets
from piwsl_plugins.hosts.calculators import identify, load
from piwsl_plugins.weak.command import main


@pytest.mark.slow
def test_labels_are_those_of_the_checkpoint(short_run: Trained, tmp_path: Path) -> None:
    checkpoint, out = short_run.output / "best.ckpt", tmp_path / "out.xyz"
    test = datasets.path("formaldehyde_ccsdt_cbs/test.xyz")
    words = ["--method", str(checkpoint), "--processes", "1", "-o", str(out)]
    assert main(["label", str(test), *words]) == 0
    calculator = load(identify(checkpoint)).calculator
    for atoms in read(out, index=":")[::5]:
        atoms.calc = calculator
        assert atoms.info["weak_energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(atoms.arrays["weak_forces"], atoms.get_forces(), atol=1e-6)
