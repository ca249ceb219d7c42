"""Cheap methods by the name that a user gives them: GFN-xTB, ASE calculators, trained models."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator, FileIOCalculator
from ase.calculators.genericfileio import GenericFileIOCalculator
from ase.data import chemical_symbols

from piwsl_plugins.evaluation.reference import named_calculator
from piwsl_plugins.hosts.calculators import DISTRIBUTIONS, identify, load
from piwsl_plugins.weak import xtb
from piwsl_plugins.weak.tasks import Task

MODEL_SUFFIXES = (".model", ".ckpt", ".zip", ".pt2", ".pth", ".pt")


class Method(ABC):
    """A cheap method; it can be pickled, and makes its calculator where it is used.

    Attributes:
        name: what messages call it.
        takes_state: whether it is told charge and multiplicity of a frame.
    """

    name: str
    takes_state = False

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What the labels depend on, beside the frame."""

    @abstractmethod
    def calculators(self) -> Callable[[Task], Calculator]:
        """Load what is needed, once a process; then a calculator for each frame.

        Raises:
            ValueError: something is not installed, or cannot be loaded.
        """

    def unfit(self, task: Task) -> str:
        """Why it cannot treat a frame, as far as is known beforehand; empty if it can."""
        return ""

    def digest(self) -> str:
        """Short name of the identity."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class XtbMethod(Method):
    """GFN1-xTB or GFN2-xTB through tblite.

    Attributes:
        name: ``gfn1-xtb`` or ``gfn2-xtb``.
        arguments: further arguments of ``tblite.ase.TBLite``.
    """

    name: str
    arguments: dict[str, Any]
    takes_state = True

    def identity(self) -> dict[str, Any]:
        """Method, arguments and the version of tblite."""
        version = importlib.metadata.version("tblite")
        return {"method": self.name, "arguments": self.arguments, "tblite": version}

    def unfit(self, task: Task) -> str:
        """Why it cannot treat a frame; empty if it can."""
        return xtb.unfit(self.name, task.numbers, task.pbc, task.charge or 0, task.spin)

    def calculators(self) -> Callable[[Task], Calculator]:
        """A new calculator for each frame.

        Raises:
            ValueError: tblite is not installed, or does not know an argument.
        """
        if importlib.util.find_spec("tblite") is None:
            raise ValueError(
                f"--method {self.name}: tblite is not installed; pip install 'piwsl-plugins[weak]'"
            )
        from tblite.ase import TBLite

        for name in self.arguments:
            if name in xtb.NOT_ARGUMENTS:
                raise ValueError(
                    f"--arguments: {name} is not given here: {xtb.NOT_ARGUMENTS[name]}"
                )
            if name not in TBLite.default_parameters:
                known = sorted(set(TBLite.default_parameters) - set(xtb.NOT_ARGUMENTS))
                raise ValueError(
                    f"--arguments: tblite knows no {name!r}; expected some of {', '.join(known)}"
                )
        return lambda task: xtb.calculator(
            self.name, self.arguments, task.charge or 0, task.spin or 1
        )


@dataclasses.dataclass(frozen=True, slots=True)
class AseMethod(Method):
    """Any ASE calculator.

    Attributes:
        name: import path of the class, or of a function that returns a calculator.
        arguments: its keyword arguments.
        scratch: folder in which calculators that work with files may do so.
    """

    name: str
    arguments: dict[str, Any]
    scratch: str = ""

    def identity(self) -> dict[str, Any]:
        """Import path, arguments, and version of the distribution or digest of the module."""
        return {"method": self.name, "arguments": self.arguments, "version": _version(self.name)}

    def calculators(self) -> Callable[[Task], Calculator]:
        """One calculator for all frames.

        Raises:
            ValueError: there is none of this name, or it does not take the arguments.
        """
        calculator = named_calculator(f"{self.name}:{json.dumps(self.arguments)}", "--method")
        works_with_files = isinstance(calculator, (FileIOCalculator, GenericFileIOCalculator))
        if works_with_files and "directory" not in self.arguments and self.scratch:
            # processes side by side must not write into each other's files
            calculator.directory = tempfile.mkdtemp(dir=self.scratch)
        return lambda task: calculator


@dataclasses.dataclass(frozen=True, slots=True)
class ModelMethod(Method):
    """A trained model of MACE or NequIP.

    Attributes:
        name: path of the file.
        device: cpu or cuda.
        dtype: float32 or float64, for MACE; None for the model's own.
        elements: chemical symbols that it knows.
    """

    name: str
    device: str
    dtype: str | None
    elements: frozenset[str]

    def identity(self) -> dict[str, Any]:
        """Digest of the file, versions of its host and of torch, number format and device."""
        model = identify(Path(self.name))
        names = (DISTRIBUTIONS[model.host], "torch")
        return {
            "sha256": hashlib.sha256(model.path.read_bytes()).hexdigest(),
            "versions": {name: importlib.metadata.version(name) for name in names},
            "device": self.device,
            "dtype": self.dtype,
        }

    def unfit(self, task: Task) -> str:
        """Which elements of a frame it does not know; empty if none."""
        strange = sorted({chemical_symbols[z] for z in task.elements} - self.elements)
        if not strange:
            return ""
        known = ", ".join(sorted(self.elements))
        return f"the model {self.name} knows {known} alone, found {', '.join(strange)}"

    def calculators(self) -> Callable[[Task], Calculator]:
        """One calculator for all frames.

        Raises:
            ValueError: the model's host is not installed here, or cannot load it.
        """
        loaded = load(identify(Path(self.name)), dtype=self.dtype, device=self.device)
        return lambda task: loaded.calculator


def method_of(
    name: str, arguments: str | None, scratch: str, device: str = "cpu", dtype: str | None = None
) -> Method:
    """The method that a user names.

    Args:
        name: ``gfn1-xtb``, ``gfn2-xtb``, a model file, or the import path of an ASE calculator.
        arguments: JSON object of keyword arguments, or None.
        scratch: folder for calculators that work with files.
        device: for model files, cpu or cuda.
        dtype: for models of MACE, float32 or float64; None for the model's own.

    Raises:
        ValueError: there is no such method, or it is not installed, or cannot be made.
    """
    given = _arguments(arguments)
    path = Path(name)
    made: Method
    if name.lower() in xtb.XTB:
        made = XtbMethod(name.lower(), given)
    elif path.exists() or path.suffix in MODEL_SUFFIXES or "/" in name:
        if given:
            raise ValueError(f"--arguments: a model file takes none, and {name} is one")
        elements = load(identify(path), dtype=dtype, device=device).elements
        return ModelMethod(str(path.resolve()), device, dtype, elements)
    elif "." not in name:
        raise ValueError(
            f"--method: unknown method {name!r}; expected {', '.join(sorted(xtb.XTB))}, keys, a "
            "model file of MACE or NequIP, or the import path of an ASE calculator, as "
            "ase.calculators.emt.EMT"
        )
    else:
        made = AseMethod(name, given, scratch)
    made.calculators()  # what is wrong with it is said here, not by each process
    return made


def _arguments(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--arguments: this is no JSON: {error}: {text}") from error
    if not isinstance(found, dict):
        raise ValueError(f'--arguments: expected a JSON object as {{"name": value}}, got {text}')
    return found


def _version(name: str) -> str:
    """Version of the distribution that a module comes from, or a digest of the module's file."""
    module = name.rpartition(".")[0]
    found = importlib.metadata.packages_distributions().get(module.partition(".")[0])
    if found:
        return " ".join(f"{dist} {importlib.metadata.version(dist)}" for dist in sorted(set(found)))
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return "unknown"
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
