"""Files of MACE, of NequIP (Allegro's too) and of teachers, which become ASE calculators here."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import io
import json
import logging
import pickletools
import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, cast

from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols

HOSTS = ("MACE", "NequIP")
TEACHER = "piwsl"  # what stands for a host in the description of a teacher's file, which needs none
MODULES = {"MACE": "mace", "NequIP": "nequip", TEACHER: "piwsl_plugins"}
DISTRIBUTIONS = {"MACE": "mace-torch", "NequIP": "nequip", TEACHER: "piwsl-plugins"}
EXPECTED = "expected NAME.model or NAME_compiled.model of MACE, or a checkpoint (.ckpt), "
EXPECTED += "package (.nequip.zip) or compiled model (.nequip.pt2) of NequIP"
_MARKS = (
    ("/mace/calculators/lammps_mace", "MACE", "pair_style mace"),
    ("mace.calculators.lammps_mliap", "MACE", "pair_style mliap unified"),
    ("nequip.integrations.lammps_mliap", "NequIP", "pair_style mliap unified"),
    ("/code/__torch__/mace/", "MACE", "TorchScript"),
    ("/code/__torch__/nequip/", "NequIP", "compiled (TorchScript)"),
    ("data/aotinductor/", "NequIP", "compiled (AOTInductor)"),
    (".data/extern_modules", "NequIP", "package"),
    ("mace.modules", "MACE", "model"),
)
"""What tells a file: part of a member's name or of a string in its pickle; the first counts."""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelFile:
    """A file with a trained model: whose it is (a host or :data:`TEACHER`), and of what kind."""

    path: Path
    host: str
    kind: str


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to be asked.

    Attributes:
        calculator: gives energies (eV), forces (eV/angstrom) and stress (eV/angstrom^3).
        dtype: number format of the model, as its host calls it, or None where it does not say.
        elements: chemical symbols that the model knows.
        cutoff: distance within which atoms are neighbours, angstrom.
    """

    calculator: Calculator
    dtype: str | None
    elements: frozenset[str]
    cutoff: float


def is_importable(host: str) -> bool:
    """Whether a host is installed where this runs; nothing is imported."""
    return importlib.util.find_spec(MODULES[host]) is not None


def identify(path: Path) -> ModelFile:
    """Tell whose model a file holds, without its host and without running anything from it."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; {EXPECTED}")
    if path.suffix == ".json":
        with contextlib.suppress(ValueError, AttributeError):
            if json.loads(path.read_text(encoding="utf-8")).get("piwsl") == "teacher":
                return ModelFile(path, TEACHER, "teacher")
        raise ValueError(f"{path}: this JSON file is not a teacher of piwsl train; {EXPECTED}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: this is not a file of PyTorch; {EXPECTED}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickles = [name for name in names if re.fullmatch("[^/]+/data.pkl", name)]
            # strings and names of classes, read without unpickling them
            operations = pickletools.genops(archive.read(pickles[0])) if pickles else ()
            texts = {argument for _, argument, _ in operations if isinstance(argument, str)}
            metadata = [name for name in names if name.endswith("_metadata.json")]
            compiled = json.loads(archive.read(metadata[0])) if metadata else {}
    except (zipfile.BadZipFile, zlib.error, ValueError) as error:
        raise ValueError(f"{path}: the file is damaged: {error}") from error
    marks = {*names, *texts}
    kinds = [mark[1:] for mark in _MARKS if any(mark[0] in text for text in marks)]
    if "pytorch-lightning_version" in marks and any("nequip" in text for text in marks):
        kinds.append(("NequIP", "checkpoint"))
    host, kind = kinds[0] if kinds else ("", "")
    outputs = compiled.get("nequip_aoti_outputs", "total_energy")
    if kind.startswith("pair_style"):
        problem = (
            f"this file is for '{kind}' of a compiled LAMMPS; give the file it was exported from"
        )
    elif "total_energy" not in outputs.split():
        problem = f"NequIP compiled this model for {outputs}; compile it with --target ase"
    elif host:
        return ModelFile(path, host, kind)
    elif {"model", "optimizer"} <= texts:
        problem = "this is a checkpoint of MACE, which holds weights without the model; give the "
        problem += f"file {path.stem.split('_run-')[0]}.model that MACE writes where the run ends"
    else:
        problem = f"the file holds neither a model of MACE nor one of NequIP; {EXPECTED}"
    raise ValueError(f"{path}: {problem}")


def load(model: ModelFile, *, dtype: str | None = None, device: str = "cpu") -> LoadedModel:
    """Load a model; dtype (None: the model's own) is read for MACE only, device is as torch's.

    A ValueError says that the host is missing here, or cannot load the file or use the device.
    """
    if not is_importable(model.host):
        host, remedy = model.host, f"pip install 'piwsl-plugins[{MODULES[model.host]}]'"
        what = f"this is a {model.kind} file of {host}, and {host} is not installed here"
        raise ValueError(f"{model.path}: {what}: {remedy}")
    before = logging.root.manager.disable
    try:  # without what hosts say as they read their own files, which is not the user's doing
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            if model.host == TEACHER:  # by name, because it is built upon this module
                module = importlib.import_module("piwsl_plugins.teacher.calculator")
                return cast("LoadedModel", module.load(model.path, device))
            return _mace(model, dtype, device) if model.host == "MACE" else _nequip(model, device)
    except Exception as error:  # whatever a host raises about a file that it cannot read
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        what = f"{model.host} cannot load it on '{device}': {reason}"
        raise ValueError(f"{model.path}: {what}") from error
    finally:
        logging.disable(before)


def _mace(model: ModelFile, dtype: str | None, device: str) -> LoadedModel:
    import torch
    from mace.calculators import MACECalculator

    where: dict[str, Any] = {"model_paths": str(model.path)}
    if model.kind == "TorchScript":
        where = {"models": [torch.jit.load(str(model.path), map_location=device)]}  # type: ignore[no-untyped-call]
    calculator = MACECalculator(**where, device=device, default_dtype=dtype or "")
    known = frozenset(chemical_symbols[number] for number in calculator.z_table.zs)
    return LoadedModel(calculator, calculator.default_dtype, known, float(calculator.r_max))


def _nequip(model: ModelFile, device: str) -> LoadedModel:
    from nequip.integrations.ase import NequIPCalculator
    from nequip.nn.graph_model import MODEL_DTYPE_KEY

    compiled = model.kind.startswith("compiled")
    # NequIP's only way to a calculator without compiling, private in 0.19
    make = NequIPCalculator.from_compiled_model if compiled else NequIPCalculator._from_saved_model
    calculator = make(str(model.path), device=device, chemical_species_to_atom_type_map=True)
    for module in calculator.model.modules():  # by name: a package brings classes of its own
        if type(module).__name__ == "ForceStressOutput":
            module.do_derivatives = True
    program = getattr(calculator.model, "model", None)  # which AOTInductor has made, if any
    made_of = getattr(program, "get_metadata", dict)
    metadata = dict(getattr(calculator.model, "metadata", None) or made_of())
    cutoffs = [float(made.r_max) for made in calculator.transforms if hasattr(made, "r_max")]
    names = frozenset(str(name) for name in calculator.transforms[0].model_type_names)
    return LoadedModel(calculator, metadata.get(MODEL_DTYPE_KEY), names, max(cutoffs))


def named_calculator(spec: str, option: str) -> Calculator:
    """Make an ASE calculator from ``module.Class`` or ``module.Class:{"argument": value}``.

    A ValueError names the ``option`` that it was written after, and says why it cannot be made.
    """
    path, _, arguments = spec.partition(":")
    module, _, name = path.rpartition(".")
    try:
        made = getattr(importlib.import_module(module), name)(**json.loads(arguments or "{}"))
    except Exception as error:  # whatever a module, or a calculator, raises when it is made
        raise ValueError(
            f"{option} {spec}: {type(error).__name__}: {error}; expected a model file, or the "
            'import path of an ASE calculator, as ase.calculators.emt.EMT or module.Class:{"name": '
            "value}"
        ) from error
    if not hasattr(made, "get_property"):
        raise ValueError(f"{option} {spec}: expected an ASE calculator, got {made!r}")
    return cast("Calculator", made)
