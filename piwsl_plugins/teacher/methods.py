"""Cheap methods by name, each as one ASE calculator that any frame may be given to."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import ase
import numpy as np
import pydantic
from ase import units
from ase.calculators.calculator import CalculationFailed, Calculator, FileIOCalculator
from ase.calculators.genericfileio import GenericFileIOCalculator
from ase.data import chemical_symbols

from piwsl_plugins import models
from piwsl_plugins.fields import Settings, setting, unknown_name
from piwsl_plugins.teacher.state import State, state_of

if TYPE_CHECKING:
    from typing_extensions import Self

XTB = {"gfn1-xtb": "GFN1-xTB", "gfn2-xtb": "GFN2-xTB"}
SO3LR = "so3lr"
EXPECTED = (
    "gfn1-xtb or gfn2-xtb (by tblite); hf/BASIS, mp2/BASIS or FUNCTIONAL/BASIS (by PySCF), as "
    "pbe/def2-svp; so3lr (by so3krates-torch); the import path of an ASE calculator, as "
    "ase.calculators.emt.EMT; a model file of MACE or NequIP; or the file of a teacher"
)
MODEL_SUFFIXES = (".model", ".ckpt", ".zip", ".pt2", ".pth", ".pt", ".json")
HEAVIEST = 86  # the xTB methods end with radon
LANTHANIDES = range(57, 72)  # xTB keeps their f electrons in the core, and three outside
_PACKAGES = {"xtb": "tblite", "pyscf": "pyscf", SO3LR: "so3krates_torch"}


class Method(Settings):
    """A cheap method; it can be pickled, and makes its calculator where it is used."""

    method: str = setting("gfn2-xtb", EXPECTED)
    arguments: dict[str, Any] = setting(
        {},
        "keyword arguments of the ASE calculator or of tblite's, or attributes of PySCF's "
        "mean-field object",
    )
    charge: int | None = setting(
        None, "total charge of every frame; left out, what each frame states in any way, else 0"
    )
    multiplicity: int | None = setting(
        None, "2S + 1 of every frame; left out, what each frame states, else the lowest", ge=1
    )
    device: str = setting("cpu", "of a model: cpu, cuda or cuda:NUMBER")
    dtype: Literal["float32", "float64"] | None = setting(
        None, "number format of a model of MACE; left out, its own"
    )

    @pydantic.model_validator(mode="after")
    def _takes_what_it_is_given(self) -> Self:
        if not self.takes_state and (self.charge, self.multiplicity) != (None, None):
            where = "a calculator may take them in its arguments, a model from each frame's info"
            raise ValueError(f"charge and multiplicity: {self.method} is not told them; {where}")
        if self.arguments and self.kind == "model":
            raise ValueError(f"arguments: a model file takes none, and {self.method} is one")
        return self

    @property
    def kind(self) -> str:
        """xtb, so3lr, model, pyscf or ase."""
        path, lower = Path(self.method), self.method.lower()
        if lower in (*XTB, SO3LR):
            return "xtb" if lower in XTB else SO3LR
        if path.exists() or path.suffix in MODEL_SUFFIXES:
            return "model"
        if re.fullmatch(r"[^/\\]+/[^/\\]+", lower):
            return "pyscf"
        if "." not in lower or "/" in lower:
            what = unknown_name(self.method, (*XTB, SO3LR), "method")
            raise ValueError(f"{what}; expected {EXPECTED}")
        return "ase"

    @property
    def takes_state(self) -> bool:
        """Whether it is told charge and multiplicity of each frame."""
        return self.kind in _PACKAGES

    @property
    def runs_on(self) -> str:
        """The device, also where it is an argument of an ASE calculator."""
        return str(self.arguments.get("device", self.device))

    def state(self, atoms: ase.Atoms) -> State:
        """Charge and multiplicity that it is told of a frame; raises as :func:`state_of`."""
        electrons = None
        if self.kind == "xtb":
            electrons = int(np.where(np.isin(atoms.numbers, LANTHANIDES), 3, atoms.numbers).sum())
        return state_of(atoms, self.charge, self.multiplicity, electrons)

    def digest(self) -> str:
        """Digest of everything that its results depend on beside the frame."""
        told = json.dumps(self.model_dump(), sort_keys=True)
        if self.takes_state:
            told += importlib.metadata.version(_PACKAGES[self.kind])
        else:  # a file, or a module, which counts by its content
            module = self.kind == "ase" and importlib.util.find_spec(self.method.rpartition(".")[0])
            file = Path((module.origin or "") if module else self.method)
            told += hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        return hashlib.sha256(told.encode()).hexdigest()

    def calculator(self) -> MethodCalculator:
        """A new calculator for frames of any kind; raises as :meth:`make`."""
        self.make(0, 1)  # what is wrong is said once, not by each frame
        return MethodCalculator(self)

    def make(self, charge: int, multiplicity: int) -> tuple[Calculator, Sequence[str]]:
        """The method's own calculator, and the elements it knows, if it tells them.

        A ValueError says what is not installed or cannot be loaded.
        """
        package = _PACKAGES.get(self.kind)
        if package and importlib.util.find_spec(package) is None:
            raise ValueError(f"{self.method}: {package} is not installed; pip install {package}")
        if self.kind == "pyscf":
            name, basis = self.method.lower().split("/")
            return PyscfCalculator(name, basis, self.arguments, charge, multiplicity), ()
        if self.kind != "xtb":
            return _loaded(self.model_dump_json())
        from tblite.ase import TBLite

        known = set(TBLite.default_parameters) - {"method", "charge", "multiplicity", "verbosity"}
        for word in self.arguments.keys() - known:
            raise ValueError(f"arguments: {unknown_name(word, known, 'argument of tblite')}")
        state: dict[str, Any] = {"charge": charge, "multiplicity": multiplicity, **self.arguments}
        made = TBLite(method=XTB[self.method.lower()], verbosity=0, **state)
        return made, chemical_symbols[1 : HEAVIEST + 1]


class PyscfCalculator(Calculator):
    """Molecules by PySCF; each calculation starts from the density of the last.

    The method is ``hf``, ``mp2``, or a functional of libxc; arguments are attributes of PySCF's
    mean-field object. Above multiplicity 1 orbitals are unrestricted.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  as ASE declares it

    def __init__(
        self, method: str, basis: str, arguments: Mapping[str, Any], charge: int, multiplicity: int
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        from pyscf import dft

        self.method, self.basis, self.options, self.density = method, basis, arguments, None
        self.charge, self.spin = charge, multiplicity - 1
        try:
            dft.libxc.parse_xc(method.replace("mp2", "hf"))
        except (KeyError, ValueError) as error:
            what = f"{method}/{basis}: unknown method {method!r} (and no such file)"
            expected = "hf, mp2 or a functional of libxc, as pbe/def2-svp"
            raise ValueError(f"{what}; expected {expected}") from error

    def calculate(  # type: ignore[override]
        self, atoms: ase.Atoms, properties: Sequence[str] = (), *_: object
    ) -> None:
        """Energy, eV, and forces, eV/angstrom."""
        self.atoms = atoms.copy()
        from pyscf import dft, gto, mp, scf

        if atoms.pbc.any():
            raise ValueError(f"{self.method}/{self.basis} is for molecules; found a periodic cell")
        molecule = gto.M(
            atom=list(zip(atoms.symbols, atoms.positions.tolist(), strict=True)),
            basis=self.basis, charge=self.charge, spin=self.spin, unit="Angstrom", verbose=0,
        )  # fmt: skip
        is_functional = self.method not in ("hf", "mp2")
        field = dft.KS(molecule, self.method) if is_functional else scf.HF(molecule)
        field.__dict__.update(self.options)
        field.kernel(dm0=self.density)
        if not field.converged:
            raise CalculationFailed(f"SCF not converged in {field.max_cycle} cycles")
        self.density = field.make_rdm1()
        last = mp.MP2(field).run() if self.method == "mp2" else field
        gradient = np.asarray(last.nuc_grad_method().kernel())
        forces = -gradient * (units.Hartree / units.Bohr)
        self.results = {"energy": float(last.e_tot) * units.Hartree, "forces": forces}


class MethodCalculator(Calculator):
    """A cheap method; frames of the same atoms, charge and spin share one of its calculators."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012  as ASE declares it

    def __init__(self, method: Method) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.method = method
        self._made: dict[tuple[Any, ...], Calculator] = {}

    def calculate(  # type: ignore[override]
        self, atoms: ase.Atoms, properties: Sequence[str] = (), *_: object
    ) -> None:
        """Energy, eV, forces, eV/angstrom, and, where it is asked for, stress, eV/angstrom^3."""
        self.atoms, told = atoms.copy(), atoms.copy()
        told.set_constraint()
        inner = self.inner(told)
        wanted = sorted({"energy", "forces", *properties} & set(self.implemented_properties))
        found = {name: np.array(inner.get_property(name, told), dtype=float) for name in wanted}
        self.results = found | {"energy": float(found["energy"])}

    def inner(self, atoms: ase.Atoms) -> Calculator:
        """The method's own calculator for a frame, whose info then says charge and spin.

        A ValueError says why the method cannot treat the frame.
        """
        charge, multiplicity = 0, 1
        if self.method.takes_state:
            charge, multiplicity, *_ = self.method.state(atoms)
            atoms.info = {"charge": charge, "spin": multiplicity}
        key = (atoms.numbers.tobytes(), atoms.pbc.tobytes(), charge, multiplicity)
        if key not in self._made:
            made, elements = self.method.make(charge, multiplicity)
            if elements and (strange := sorted(set(atoms.symbols) - set(elements))):
                known, found = ", ".join(elements), ", ".join(strange)
                raise ValueError(f"{self.method.method} knows {known}; found {found}")
            if self.method.kind == "xtb" and atoms.pbc.any() and not atoms.pbc.all():
                along = " ".join("T" if periodic else "F" for periodic in atoms.pbc)
                what = f"tblite would take pbc = '{along}' as periodic in all three directions"
                remedy = "make it so, with enough vacuum in the cell, or leave pbc and cell out"
                raise ValueError(f"{what}; {remedy}")
            self._made[key] = made
        return self._made[key]


@functools.lru_cache(maxsize=4)
def _loaded(text: str) -> tuple[Calculator, Sequence[str]]:
    """A model or an ASE calculator, loaded once in a process, and the elements that it knows."""
    method = Method.model_validate_json(text)
    if method.kind == "model":
        path = models.identify(Path(method.method))
        model = models.load(path, dtype=method.dtype, device=method.device)
        return model.calculator, sorted(model.elements, key=chemical_symbols.index)
    if method.kind == SO3LR:  # 10.1021/jacs.5c09558; so3krates-torch ships its weights
        from so3krates_torch.calculator.so3 import SO3LRCalculator

        given = {"default_dtype": method.dtype or "float64", "compute_stress": True}
        made = SO3LRCalculator(device=method.device, **{**given, **method.arguments})
        return made, ("H", "C", "N", "O", "F", "P", "S", "Cl")
    made = models.named_calculator(f"{method.method}:{json.dumps(method.arguments)}", "--method")
    works_with_files = isinstance(made, (FileIOCalculator, GenericFileIOCalculator))
    if works_with_files and "directory" not in method.arguments:
        scratch = tempfile.TemporaryDirectory(prefix="piwsl-")  # each process has its own
        vars(made).update(scratch=scratch, directory=scratch.name)
    return made, ()
