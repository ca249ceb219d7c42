"""Files for a compiled LAMMPS are told from models that run here, and checkpoints from exports."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest

from piwsl_plugins.deploy.run import load_exported
from piwsl_plugins.hosts.calculators import identify

MLIAP_OF_MACE = b"cmace.calculators.lammps_mliap_mace\nLAMMPS_MLIAP_MACE\n."
MLIAP_OF_NEQUIP = b"cnequip.integrations.lammps_mliap.lmp_mliap_wrapper\nWrapper\n."
METADATA = "x/data/aotinductor/model/m.wrapper_metadata.json"


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def compiled(path: Path, outputs: str) -> Path:
    return archive(path, {METADATA: json.dumps({"nequip_aoti_outputs": outputs}).encode()})


@pytest.mark.parametrize(
    ("name", "members", "message"),
    [
        (
            "a.model-lammps.pt",
            {"x/code/__torch__/mace/calculators/lammps_mace.py": b""},
            "this file of MACE is for 'pair_style mace' of a compiled LAMMPS; give the file that",
        ),
        (
            "a.model-mliap_lammps.pt",
            {"x/data.pkl": MLIAP_OF_MACE},
            "this file of MACE is for 'pair_style mliap unified' of a compiled LAMMPS",
        ),
        (
            "a.nequip.lmp.pt",
            {"x/data.pkl": MLIAP_OF_NEQUIP},
            "this file of NequIP is for 'pair_style mliap unified' of a compiled LAMMPS",
        ),
    ],
)
def test_an_export_for_a_compiled_lammps_is_named(
    tmp_path: Path, name: str, members: dict[str, bytes], message: str
) -> None:
    with pytest.raises(ValueError, match="compiled LAMMPS") as raised:
        identify(archive(tmp_path / name, members))
    assert message in str(raised.value)


def test_a_model_compiled_for_another_program_says_for_which_to_compile_it(tmp_path: Path) -> None:
    fits = compiled(tmp_path / "a.nequip.pt2", "atomic_energy total_energy forces stress")
    assert identify(fits).kind == "compiled (AOTInductor)"
    other = compiled(tmp_path / "b.nequip.pt2", "atomic_energy forces virial")
    with pytest.raises(ValueError, match=r"it gives atomic_energy, forces, virial.*--target ase"):
        identify(other)


def test_a_checkpoint_is_refused_with_the_command_that_exports_it(tmp_path: Path) -> None:
    saved = {"pytorch-lightning_version": "2.6", "hyper_parameters": {"_target_": "nequip.train"}}
    path = archive(tmp_path / "best.ckpt", {"x/data.pkl": pickle.dumps(saved)})
    with pytest.raises(ValueError, match="checkpoint of a training") as raised:
        load_exported(path, "cuda", None)
    command = f"nequip-compile {path} NAME.nequip.pt2 --mode aotinductor --device cuda --target ase"
    assert command in str(raised.value)
