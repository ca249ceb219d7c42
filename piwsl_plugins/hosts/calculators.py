"""Trained models of either host as ASE calculators; a host is imported when its model is loaded."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import json
import math
import pickletools
import warnings
import zipfile
import zlib
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase.data import chemical_symbols

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

HOSTS = ("MACE", "NequIP")
MODULES = {"MACE": "mace", "NequIP": "nequip"}
DISTRIBUTIONS = {"MACE": "mace-torch", "NequIP": "nequip"}
#: Chemical symbols, for what knows elements in another way.
ELEMENTS = frozenset(chemical_symbols[1:])
#: NequIP tells its own files apart by their names.
NEQUIP_SUFFIXES = {
    "package": ".nequip.zip",
    "compiled (AOTInductor)": ".nequip.pt2",
    "compiled (TorchScript)": ".nequip.pth",
}
_EXPECTED = (
    "expected NAME.model or NAME_compiled.model of MACE, "
    "or a {}package (.nequip.zip) or compiled model (.nequip.pt2) of NequIP"
)
EXPECTED, EXPORTED = _EXPECTED.format("checkpoint (.ckpt), "), _EXPECTED.format("")
#: Kind of a file (.json) that names a cheap method and models of the difference from a better one.
DELTA = "delta model"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file with a trained model, told apart by what it holds.

    Attributes:
        path: The file.
        host: MACE or NequIP (Allegro's models are NequIP's too).
        kind: What sort of file it is, for people.
    """

    path: Path
    host: str
    kind: str


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to be asked.

    Attributes:
        calculator: Energies, eV, forces, eV/angstrom, and stress, eV/angstrom^3.
        dtype: Number format of the model, as its host calls it, or None where it does not say.
        elements: Chemical symbols that the model knows.
        cutoff: Distance within which atoms are neighbours, angstrom.
    """

    calculator: Calculator
    dtype: str | None
    elements: frozenset[str]
    cutoff: float


def is_importable(host: str) -> bool:
    """Whether a host is installed where this runs; nothing is imported."""
    return importlib.util.find_spec(MODULES[host]) is not None


def versions(host: str) -> dict[str, str]:
    """Versions of a host and of what it computes with, by distribution."""
    names = (DISTRIBUTIONS[host], "torch", "ase", "numpy", "piwsl-plugins")
    return {name: importlib.metadata.version(name) for name in names}


def identify(path: Path, *, expected: str = EXPECTED) -> ModelFile:
    """Tell whose model a file holds, without its host and without running anything from it.

    Args:
        path: File of MACE or NequIP.
        expected: What errors say is expected.

    Raises:
        ValueError: There is no such file, or no model of either host in it; the message says what
            was found.
    """
    if not path.is_file():
        what = "is a folder, not a model" if path.is_dir() else "there is no such file"
        raise ValueError(f"{path}: {what}; {expected}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty; {expected}")
    if path.suffix == ".json":
        from piwsl_plugins.weak.delta_calculator import read_delta

        return ModelFile(path, read_delta(path).host, DELTA)
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: this is not a file of PyTorch; {expected}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickles = [name for name in names if name.endswith("data.pkl") and name.count("/") == 1]
            texts = _texts(archive.read(pickles[0])) if pickles else set()
            compiled = [name for name in names if name.endswith("_metadata.json")]
            outputs = _outputs(archive.read(compiled[0])) if compiled else None
    except (zipfile.BadZipFile, zlib.error, ValueError) as error:
        raise ValueError(f"{path}: the file is damaged: {error}") from error
    if (style := _pair_style(names, texts, outputs)) is not None:
        raise ValueError(f"{path}: {style}")
    found = _kind(names, texts)
    if found is None:
        raise ValueError(f"{path}: {_not_a_model(path, texts, expected)}")
    host, kind = found
    suffix = NEQUIP_SUFFIXES.get(kind) if host == "NequIP" else None
    if suffix is not None and not path.name.endswith(suffix):
        raise ValueError(
            f"{path}: this is a {kind} model of NequIP, which asks for a name that ends in {suffix}"
        )
    return ModelFile(path, host, kind)


def _texts(pickled: bytes) -> set[str]:
    """Strings and names of classes in a pickle, read without unpickling it."""
    return {arg for _, arg, _ in pickletools.genops(pickled) if isinstance(arg, str)}


def _outputs(metadata: bytes) -> set[str] | None:
    """What a model compiled by nequip-compile gives, or None where it does not say."""
    named = json.loads(metadata).get("nequip_aoti_outputs")
    return None if named is None else set(named.split())


def _pair_style(names: list[str], texts: set[str], outputs: set[str] | None) -> str | None:
    """The pair style of a compiled LAMMPS that an archive was exported for, in words, or None."""
    made = "is for 'pair_style {}' of a compiled LAMMPS; give the file that it was exported from"
    if any("/code/__torch__/mace/calculators/lammps_mace" in name for name in names):
        return f"this file of MACE {made.format('mace')}"
    if any(text.startswith("mace.calculators.lammps_mliap") for text in texts):
        return f"this file of MACE {made.format('mliap unified')}"
    if any(text.startswith("nequip.integrations.lammps_mliap") for text in texts):
        return f"this file of NequIP {made.format('mliap unified')}"
    if outputs is not None and not {"total_energy", "forces", "stress"} <= outputs:
        return (
            "this model of NequIP was compiled for another --target of nequip-compile "
            f"(it gives {', '.join(sorted(outputs))}); compile it with --target ase"
        )
    return None


def _kind(names: list[str], texts: set[str]) -> tuple[str, str] | None:
    """Host and kind of an archive with these members and, in its pickle, these strings."""
    if any("/code/__torch__/mace/" in name for name in names):
        return "MACE", "TorchScript"
    if any("/code/__torch__/nequip/" in name for name in names):
        return "NequIP", "compiled (TorchScript)"
    if any("data/aotinductor/" in name for name in names):
        return "NequIP", "compiled (AOTInductor)"
    if any(name.endswith(".data/extern_modules") for name in names):
        return "NequIP", "package"
    if any(text.startswith("mace.modules") for text in texts):
        return "MACE", "model"
    if "pytorch-lightning_version" in texts and any("nequip" in text for text in texts):
        return "NequIP", "checkpoint"
    return None


def _not_a_model(path: Path, texts: set[str], expected: str) -> str:
    if {"model", "optimizer"} <= texts:
        name = path.stem.split("_run-")[0]
        return (
            "this is a checkpoint of MACE, which holds weights without the model; "
            f"give the file {name}.model that MACE writes into the folder of the run when it ends"
        )
    if "pytorch-lightning_version" in texts:
        return f"this is a Lightning checkpoint, but not one of NequIP's; {expected}"
    return f"the file holds neither a model of MACE nor one of NequIP; {expected}"


def load(model: ModelFile, *, dtype: str | None = None, device: str = "cpu") -> LoadedModel:
    """Load a model, without what its host prints on the way.

    A model that NequIP trained without computing forces (``do_derivatives: false``) gives them all
    the same, unless it was compiled.

    Args:
        model: The file, as `identify` found it.
        dtype: float32 or float64, read for MACE only; None for the model's own.
        device: cpu or cuda.

    Raises:
        ValueError: The host is not installed here, or cannot load the file, or there is no such
            device.
    """
    if model.kind != DELTA and not is_importable(model.host):
        extra = MODULES[model.host]
        raise ValueError(
            f"{model.path}: this is a {model.kind} file of {model.host}, and {model.host} is not "
            f"installed here: pip install 'piwsl-plugins[{extra}]'"
        )
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # How hosts read their own files, and what they miss, is not the user's doing.
        warnings.simplefilter("ignore")
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"device '{device}': PyTorch finds no CUDA device here; use cpu")
        read = _mace if model.host == "MACE" else _nequip
        if model.kind == DELTA:
            read = _delta
        try:
            return read(model, dtype, device)
        except Exception as error:  # whatever a host raises about a file that it cannot read
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise ValueError(f"{model.path}: {model.host} cannot load it: {reason[0]}") from error


def _delta(model: ModelFile, dtype: str | None, device: str) -> LoadedModel:
    """Cheap method and models of the difference; elements are left to them where there is none."""
    from piwsl_plugins.weak.delta_calculator import read_delta

    delta = read_delta(model.path)
    parts = [load(identify(path), dtype=dtype, device=device) for path in delta.models]
    known = frozenset.intersection(*(part.elements for part in parts)) if parts else ELEMENTS
    cutoff = max((part.cutoff for part in parts), default=math.inf)
    calculator = delta.calculator([part.calculator for part in parts])
    return LoadedModel(calculator, parts[0].dtype if parts else None, known, cutoff)


def _mace(model: ModelFile, dtype: str | None, device: str) -> LoadedModel:
    import logging

    import torch
    from ase.data import chemical_symbols

    where: dict[str, Any] = {"model_paths": str(model.path)}
    if model.kind == "TorchScript":
        where = {"models": [torch.jit.load(str(model.path), map_location=device)]}  # type: ignore[no-untyped-call]
    before = logging.root.manager.disable
    # that cuequivariance is not there, and that the dtype was the model's own or was converted
    logging.disable(logging.WARNING)
    try:
        from mace.calculators import MACECalculator

        calculator = MACECalculator(**where, device=device, default_dtype=dtype or "")
    finally:
        logging.disable(before)
    known = frozenset(chemical_symbols[number] for number in calculator.z_table.zs)
    return LoadedModel(calculator, calculator.default_dtype, known, calculator.r_max)


def _nequip(model: ModelFile, _: str | None, device: str) -> LoadedModel:
    from piwsl_plugins.hosts.nequip import seams

    if model.kind.startswith("compiled"):
        from nequip.integrations.ase import NequIPCalculator

        calculator = NequIPCalculator.from_compiled_model(
            str(model.path), device=device, chemical_species_to_atom_type_map=True
        )
    else:
        calculator = seams.calculator_of_saved_model(str(model.path), device)
    dtype, elements = seams.number_format_and_elements(calculator)
    cutoffs = [float(made.r_max) for made in calculator.transforms if hasattr(made, "r_max")]
    return LoadedModel(calculator, dtype, elements, max(cutoffs))
