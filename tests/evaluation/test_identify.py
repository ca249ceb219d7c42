"""A model's host is told from what its file holds, without that host."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from piwsl_plugins.hosts import calculators
from piwsl_plugins.hosts.calculators import identify, load


def archive(path: Path, pickled: Any = None, *members: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        if pickled is not None:
            file.writestr(
                "x/data.pkl", pickled if isinstance(pickled, bytes) else pickle.dumps(pickled)
            )
        for member in members:
            file.writestr(member, "")
    return path


LIGHTNING = {"pytorch-lightning_version": "2.6", "hyper_parameters": {"_target_": "nequip.train"}}
WHOLE_MACE = b"cmace.modules.models\nScaleShiftMACE\n."


@pytest.mark.parametrize(
    ("name", "pickled", "members", "host", "kind"),
    [
        ("a.model", WHOLE_MACE, (), "MACE", "model"),
        ("b_compiled.model", {}, ("x/code/__torch__/mace/models.py",), "MACE", "TorchScript"),
        ("c.ckpt", LIGHTNING, (), "NequIP", "checkpoint"),
        ("d.nequip.zip", None, ("x/.data/extern_modules",), "NequIP", "package"),
        ("e.nequip.pt2", None, ("x/data/aotinductor/m",), "NequIP", "compiled (AOTInductor)"),
        ("f.nequip.pth", {}, ("x/code/__torch__/nequip/m.py",), "NequIP", "compiled (TorchScript)"),
    ],
)
def test_each_kind_of_file_is_known(
    tmp_path: Path, name: str, pickled: Any, members: tuple[str, ...], host: str, kind: str
) -> None:
    found = identify(archive(tmp_path / name, pickled, *members))
    assert (found.host, found.kind) == (host, kind)


@pytest.mark.parametrize(
    ("name", "pickled", "members", "message"),
    [
        ("m_run-1_epoch-9.pt", {"model": 1, "optimizer": 2}, (), "give the file m.model"),
        ("a.ckpt", {"pytorch-lightning_version": "2"}, (), "not one of NequIP's; expected NAME"),
        ("a.zip", {"something": "else"}, (), "neither a model of MACE nor one of NequIP"),
        ("a.zip", None, ("x/.data/extern_modules",), "a name that ends in .nequip.zip"),
    ],
)
def test_another_archive_is_named_for_what_it_is(
    tmp_path: Path, name: str, pickled: Any, members: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        identify(archive(tmp_path / name, pickled, *members))


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.model"
    with pytest.raises(ValueError, match=r"there is no such file; expected NAME\.model"):
        identify(path)
    with pytest.raises(ValueError, match="a folder, not a model"):
        identify(tmp_path)
    path.touch()
    with pytest.raises(ValueError, match="the file is empty"):
        identify(path)
    path.write_bytes(b"PK, but not really")
    with pytest.raises(ValueError, match="not a file of PyTorch"):
        identify(path)


def test_a_host_that_is_not_here_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calculators, "is_importable", lambda host: False)
    model = identify(archive(tmp_path / "c.ckpt", LIGHTNING))
    with pytest.raises(ValueError, match=r"NequIP is not installed here: pip install .*\[nequip\]"):
        load(model)
