"""`piwsl data` as a user meets it: what it prints, what it refuses, and what it leaves behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase
import ase.io
import h5py
import numpy as np
import pytest
from ase.build import molecule

from piwsl_plugins.cli import main
from piwsl_plugins.data.convert_command import label_names
from piwsl_plugins.data.readers import DataError
from piwsl_plugins.datasets import path as dataset

FORMALDEHYDE = "formaldehyde_ccsdt_cbs"


@pytest.fixture
def train() -> str:
    return str(dataset(f"{FORMALDEHYDE}/train.xyz"))


@pytest.fixture
def sparse() -> str:
    return str(dataset(f"{FORMALDEHYDE}/train_sparse_forces.xyz"))


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "piwsl_plugins", "data", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says when it refuses."""
    assert main(["data", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("piwsl data: error: ")
    assert "Traceback" not in printed.err
    return printed.err


def test_neither_torch_nor_a_host_is_imported_for_data(train: str) -> None:
    code = (
        "import sys; from piwsl_plugins.cli import main; "
        f"status = main(['data', 'inspect', {train!r}]); "
        "print(sorted({'torch', 'mace', 'nequip', 'dscribe'} & set(sys.modules))); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"


def test_inspect_prints_what_is_in_the_files_and_what_they_share(train: str, sparse: str) -> None:
    done = ran("inspect", train, sparse)
    assert (done.returncode, done.stderr) == (0, "")
    said = " ".join(done.stdout.split())
    assert "frames 201; periodic: none" in said
    assert "formulas (frames) CH2O (201)" in said
    assert "in the file: REF_energy 201 frames, missing in 0" in said
    assert "in the file: REF_forces 6 frames, missing in 195" in said
    assert "plausible units length_unit angstrom, energy_unit eV" in said
    assert "warning: 201 frames of" in said


def test_inspect_writes_json_and_nothing_else_to_standard_output(
    sparse: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "inspect", sparse, "--json", "-"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert found["keys"] == {"REF_energy": 201, "REF_forces": 6}
    assert found["labels"] == {"energy": 201, "forces": 6}
    assert found["elements"] == {"H": 201, "C": 201, "O": 201}
    assert found["formulas"] == {"CH2O": 201}
    assert found["shortest_distances"][0]["distance"] == pytest.approx(0.9888, abs=1e-3)
    assert {unit["setting"] for unit in found["units"]} == {
        "length_unit",
        "energy_unit",
    } | {unit["setting"] for unit in found["units"] if unit["setting"] == "forces_unit"}


def test_inspect_writes_a_json_file_only_once(
    train: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "found.json")
    assert main(["data", "inspect", train, "--json", out]) == 0
    assert json.loads(Path(out).read_text())["files"][0]["frames"] == 201
    assert "CH2O" in capsys.readouterr().out
    assert "there already" in refused(capsys, "inspect", train, "--json", out)
    assert main(["data", "inspect", train, "--json", out, "--force"]) == 0


def test_inspect_ends_with_1_where_it_finds_an_error(
    train: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "inspect", train, "--energy-unit", "hartree"]) == 1
    assert "looks like eV" in capsys.readouterr().out
    unusual = ["--energy_unit", "hartree", "--allow-unusual-units"]
    assert main(["data", "inspect", train, *unusual]) == 0


def test_inspect_takes_one_of_several_energies_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ani.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("H2O")
        group["atomic_numbers"] = molecule("H2O").numbers
        group["coordinates"] = molecule("H2O").positions + np.zeros((5, 1, 1))
        group["a(b)-c.energy"] = np.full(5, -76.0)
        group["d.energy"] = [-76.0, *[np.nan] * 4]
    assert main(["data", "inspect", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "2 energies are in the file and none was named" in said
    assert "of a(b)-c.energy; --energy-key chooses another" in said


def test_convert_says_what_it_wrote(
    sparse: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.db"
    assert main(["data", "convert", sparse, str(out), "--split", "a=150", "b=0.2"]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'out_a.db'}: 150 frames, 1 formulas; 150 energy" in said
    assert f"{tmp_path / 'out_b.db'}: 40 frames, 1 formulas; 40 energy" in said
    assert str(tmp_path / "out.db.manifest.json") in said


def test_convert_keeps_what_is_written_under_the_usual_names(
    sparse: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.xyz"
    assert main(["data", "convert", sparse, str(out), "--with", "forces"]) == 0
    frames = ase.io.read(out, ":")
    assert [frame.arrays["REF_forces"].shape for frame in frames] == [(4, 3)] * 6
    command = json.loads((tmp_path / "out.xyz.manifest.json").read_text())["command"]
    assert command == ["piwsl", "data", "convert", sparse, str(out), "--with", "forces"]
    assert capsys.readouterr().err == ""


def test_convert_tells_what_it_leaves_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atoms = molecule("H2O")
    atoms.info["REF_energy"] = -2080.0
    atoms.arrays["charges"] = np.zeros(3)
    ase.io.write(tmp_path / "in.xyz", atoms)
    assert main(["data", "convert", str(tmp_path / "in.xyz"), str(tmp_path / "out.xyz")]) == 0
    assert "no option names them as a label: charges (1 frames)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.xyz", "out.xyz"], "nothing.xyz: there is no such file"),
        (["{train}", "out.h5"], "out.h5: the suffix says the format, and must be one of .xyz"),
        (["{train}", "{train}", "--force"], "this is the file that is read"),
        (["{train}", "none/out.xyz"], "there is no folder none; make it first"),
        (["{train}", "out.xyz", "--energy-key", "energie"], "REF_energy"),
        (["{train}", "out.xyz", "--energy-unit", "Ha"], "unknown unit 'Ha'; expected one of"),
        (["{train}", "out.xyz", "--energy-unit", "hartree"], "looks like eV"),
        (["{train}", "out.xyz", "--elements", "Fe"], "201 have other elements than Fe"),
        (["{train}", "out.xyz", "--elements", "iron"], "'iron' is no element"),
        (["{train}", "out.xyz", "--with", "forces"], "name a label's with --forces-key"),
        (["{train}", "out.xyz", "--split", "a=0.9", "b=0.2"], "add up to 1.1, expected at most 1"),
        (["{train}", "out.xyz", "--split", "a=202"], "are 202 frames, but there are 201"),
        (
            ["{train}", "out.xyz", "--split", "a=0.5", "b=0.5", "--split-by", "formula"],
            "no frame is left for b: 201 frames of 1 formulas",
        ),
        (["{train}", "out.xyz", "--split-by", "formula"], "needs --split"),
        (["{train}", "out.xyz", "--seed", "-1"], "--seed: got -1"),
        (["{train}", "out.xyz", "--write-as", "energi=E"], "did you mean 'energy'"),
        (["{train}", "out.db", "--write-as", "energy=mass"], "keep for themselves"),
    ],
)
def test_convert_refuses_what_makes_no_sense_and_writes_nothing(
    train: str,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word.format(train=train) for word in arguments]
    assert message in refused(capsys, "convert", *words)
    assert list(tmp_path.iterdir()) == []


def test_convert_names_the_files_that_are_there(
    train: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out_b.xyz").write_text("mine")
    words = ["convert", train, str(tmp_path / "out.xyz"), "--split", "a=0.5", "b=0.5"]
    assert f"{tmp_path / 'out_b.xyz'}: there already" in refused(capsys, *words)
    assert (tmp_path / "out_b.xyz").read_text() == "mine"
    assert main(["data", *words, "--force"]) == 0
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["energy=a b"], "a name of letters, digits and underscores"),
        (["energy"], "a name of letters"),
        (["energy=E", "forces=E"], "two labels would have the name 'E'"),
        (["forces=REF_energy"], "two labels would have the name 'REF_energy'"),
    ],
)
def test_names_of_labels_that_make_no_sense_are_errors(words: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        label_names(words)


@pytest.mark.parametrize("suffix", [".xyz", ".db"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_conversion_leaves_nothing(
    tmp_path: Path, suffix: str, number: signal.Signals
) -> None:
    path = tmp_path / "ani.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("H2O")
        frames = 400_000  # some ten seconds of writing
        random = np.random.default_rng(0)
        group["atomic_numbers"] = molecule("H2O").numbers
        group["coordinates"] = molecule("H2O").positions + random.normal(0, 0.03, (frames, 3, 3))
        group["some.energy"] = random.normal(-76.0, 0.001, frames)
    out = tmp_path / f"out{suffix}"
    command = [sys.executable, "-m", "piwsl_plugins", "data", "convert", str(path), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (written := list(tmp_path.glob(".out.*"))) or not any(
        part.exists() and part.stat().st_size > 10_000 for part in written
    ):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert said.splitlines()[-1].endswith("piwsl data: interrupted; nothing was written")
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == [path]
