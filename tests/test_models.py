"""A model's host is told from what its file holds, without that host; calculators by names."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.lj import LennardJones
from ase.io import write

from piwsl_plugins import models
from piwsl_plugins.cli import main
from piwsl_plugins.models import identify, load, named_calculator

MACE = pytest.mark.mace
LIGHTNING = {"pytorch-lightning_version": "2.6", "hyper_parameters": {"_target_": "nequip.train"}}
WHOLE_MACE = b"cmace.modules.models\nScaleShiftMACE\n."


def archive(path: Path, pickled: Any = None, *members: str, outputs: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        if pickled is not None:
            content = pickled if isinstance(pickled, bytes) else pickle.dumps(pickled)
            file.writestr("x/data.pkl", content)
        for member in members:
            file.writestr(member, "")
        if outputs:
            file.writestr("x/m_metadata.json", json.dumps({"nequip_aoti_outputs": outputs}))
    return path


@pytest.mark.parametrize(
    ("name", "pickled", "member", "host", "kind"),
    [
        ("a.model", WHOLE_MACE, "y", "MACE", "model"),
        ("b_compiled.model", {}, "x/code/__torch__/mace/models.py", "MACE", "TorchScript"),
        ("c.ckpt", LIGHTNING, "y", "NequIP", "checkpoint"),
        ("d.nequip.zip", None, "x/.data/extern_modules", "NequIP", "package"),
        ("e.nequip.pt2", None, "x/data/aotinductor/m", "NequIP", "compiled (AOTInductor)"),
        ("f.nequip.pth", {}, "x/code/__torch__/nequip/m", "NequIP", "compiled (TorchScript)"),
    ],
)
def test_each_kind_of_file_is_known(
    tmp_path: Path, name: str, pickled: Any, member: str, host: str, kind: str
) -> None:
    found = identify(archive(tmp_path / name, pickled, member))
    assert (found.host, found.kind) == (host, kind)


@pytest.mark.parametrize(
    ("name", "pickled", "member", "outputs", "message"),
    [
        ("m_run-1_epoch-9.pt", {"model": 1, "optimizer": 2}, "y", "", "give the file m.model"),
        ("a.zip", {"a": "b"}, "y", "", "neither a model of MACE nor one of NequIP"),
        ("a.pt", {}, "x/code/__torch__/mace/calculators/lammps_mace.py", "", "'pair_style mace'"),
        ("a.pt", b"cmace.calculators.lammps_mliap_mace\nL\n.", "y", "", "'pair_style mliap unifi"),
        ("a.nequip.pt2", None, "x/data/aotinductor/m", "atomic_energy forces", "--target ase"),
    ],
)
def test_another_archive_is_named_for_what_it_is(
    tmp_path: Path, name: str, pickled: Any, member: str, outputs: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        identify(archive(tmp_path / name, pickled, member, outputs=outputs))


def test_a_teacher_is_known_by_its_first_key(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"piwsl": "teacher"}', encoding="utf-8")
    assert identify(tmp_path / "t.json").host == models.TEACHER


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.model", None, r"there is no such file; expected NAME\.model"),
        ("a.model", b"", "not a file of PyTorch"),
        ("a.model", b"PK, but not really", "not a file of PyTorch"),
        ("a.json", b"[1]", "not a teacher"),
    ],
)
def test_what_is_no_archive_is_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        identify(tmp_path / name)


def test_a_host_that_is_not_here_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "is_importable", lambda host: False)
    model = identify(archive(tmp_path / "c.ckpt", LIGHTNING))
    with pytest.raises(ValueError, match=r"NequIP is not installed here: pip install .*\[nequip\]"):
        load(model)


def test_a_calculator_is_made_with_its_arguments() -> None:
    found = named_calculator('ase.calculators.lj.LennardJones:{"sigma": 2.5}', "--method")
    assert isinstance(found, LennardJones)
    assert found.parameters["sigma"] == 2.5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no such file.model", "ModuleNotFoundError: .*; expected a model file, or the import pa"),
        ("ase.calculators.emt.Nothing", "AttributeError"),
        ("ase.calculators.emt.EMT:{1}", "JSONDecodeError"),
        ("ase.Atoms", "expected an ASE calculator, got Atoms"),
        ("os.getcwd", "expected an ASE calculator, got '"),
    ],
)
def test_what_is_no_calculator_is_named(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        named_calculator(spec, "--reference")


def mace(path: Path) -> None:
    """A small model of MACE with random weights, whole and compiled, in double precision."""
    import mace.tools  # noqa: F401  before e3nn, whose constants load by a setting of MACE's
    import torch
    from e3nn import o3
    from e3nn.util import jit
    from mace.modules import ScaleShiftMACE, interaction_classes

    block = interaction_classes["RealAgnosticResidualInteractionBlock"]
    sizes = {"num_bessel": 4, "num_polynomial_cutoff": 5, "max_ell": 1, "num_interactions": 1}
    model = ScaleShiftMACE(
        **sizes,
        r_max=3.0,
        interaction_cls=block,
        interaction_cls_first=block,
        num_elements=3,
        hidden_irreps=o3.Irreps("4x0e"),
        MLP_irreps=o3.Irreps("4x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(3),
        avg_num_neighbors=3.0,
        atomic_numbers=[1, 6, 8],
        correlation=2,
        atomic_inter_scale=5.0,
        atomic_inter_shift=0.0,
    )
    torch.save(model, path / "m.model")
    torch.jit.save(jit.compile(model), path / "m_compiled.model")


def nequip(path: Path) -> None:
    """A checkpoint of a small model of NequIP with random weights, in double precision."""
    import lightning
    import torch
    from nequip.train import NequIPLightningModule
    from nequip.utils import get_current_code_versions
    from nequip.utils.global_state import set_global_state

    set_global_state()
    target = "nequip.train.NequIPLightningModule"
    sizes = {"r_max": 3.0, "num_layers": 1, "l_max": 1, "num_features": 4}
    module = NequIPLightningModule(
        model={
            "_target_": "nequip.model.NequIPGNNModel",
            "seed": 1,
            "model_dtype": "float64",
            "type_names": ["H", "C", "O"],
            "avg_num_neighbors": 3.0,
            "per_type_energy_scales": 5.0,
            "per_type_energy_shifts": 0.0,
            "do_derivatives": False,
            **sizes,
        },
        num_datasets={"train": 1, "val": 0, "test": 0, "predict": 0},
        info_dict={
            "versions": get_current_code_versions(verbose=False),
            "training_module": {"_target_": target},
        },
    )
    content = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    content |= {"pytorch-lightning_version": lightning.__version__, "epoch": 0, "global_step": 0}
    torch.save(content, path / "m.ckpt")


@pytest.mark.filterwarnings("ignore")  # what hosts warn about as they build and save a model
@pytest.mark.parametrize(
    ("make", "names", "kinds"),
    [
        pytest.param(mace, ["m.model", "m_compiled.model"], ["model", "TorchScript"], marks=MACE),
        pytest.param(nequip, ["m.ckpt"], ["checkpoint"], marks=pytest.mark.nequip),
    ],
)
def test_the_command_measures_a_real_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
    names: list[str],
    kinds: list[str],
) -> None:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    make(tmp_path)
    torch.set_default_dtype(before)
    loaded = load(identify(tmp_path / names[0]))
    assert (loaded.dtype, loaded.elements, loaded.cutoff) == ("float64", {"H", "C", "O"}, 3.0)
    frames = [molecule("CH3OH"), molecule("H2CO"), molecule("CH3OH")]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=number)
        atoms.calc = loaded.calculator
        atoms.info["REF_energy"] = atoms.get_potential_energy() + 0.001
        atoms.arrays["REF_forces"] = 2.0 * atoms.get_forces()
        atoms.calc = None
    write(tmp_path / "test.xyz", frames)
    monkeypatch.chdir(tmp_path)
    words = ["--data", "test.xyz", "--probes", "1", "--nve-steps", "3", "--allow-unusual-units"]
    assert main(["evaluate", *names, *words]) == 0
    text = (tmp_path / "piwsl-evaluation" / "evaluation.json").read_text(encoding="utf-8")
    measured = json.loads(text)["models"].values()
    assert [model["kind"] for model in measured] == kinds
    for model in measured:
        errors = model["test_sets"]["test"]
        assert errors["energy_mev"]["rmse"] == pytest.approx(1.0, rel=1e-4)
        assert errors["force_slope"]["slope"] == pytest.approx(0.5, rel=1e-4)
        assert model["work"]["ratio"] < 1e-3
