"""What a method is told of a frame: its geometry and, for some, its charge and multiplicity."""

from __future__ import annotations

import dataclasses

import numpy as np
from ase import Atoms

from piwsl_plugins.weak.frames import Frame
from piwsl_plugins.weak.tasks import Task


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Names under which labels are written."""

    energy: str = "weak_energy"
    forces: str = "weak_forces"
    stress: str = "weak_stress"


def check_names(frame: Frame, keys: Keys) -> None:
    """Refuse a frame that has something under the name of a new label.

    Raises:
        ValueError: it has.
    """
    for key in (keys.energy, keys.forces, keys.stress):
        if key in frame.keys:
            raise ValueError(
                f"{frame.name} has {key} already; name the new labels otherwise by "
                "--weak-energy-key, --weak-forces-key and --weak-stress-key, or label the file "
                "without the old ones"
            )


def task_of(
    name: str, atoms: Atoms, takes_state: bool, charge: int | None, spin: int | None
) -> Task:
    """What a method is told of a frame.

    Args:
        name: how messages call it.
        atoms: the frame, with its ``info``.
        takes_state: whether the method is told charge and multiplicity.
        charge: of all frames, or None for that in the frame's ``info``, or 0.
        spin: multiplicity of all frames, or None for that in the frame's ``info``, if any.

    Raises:
        ValueError: the frame has other values than all frames shall have, or impossible ones.
    """
    if takes_state:
        charge = _state(name, atoms, ("charge",), charge, "--charge") or 0
        spin = _state(name, atoms, ("multiplicity", "spin"), spin, "--multiplicity")
    return Task(
        name=name,
        numbers=np.array(atoms.numbers, dtype=np.int64),
        positions=np.array(atoms.positions, dtype=np.float64),
        cell=atoms.cell.array.copy() if atoms.pbc.any() else None,
        pbc=atoms.pbc.copy(),
        charge=charge if takes_state else None,
        spin=spin if takes_state else None,
    )


def is_charged_or_open(frame: Frame) -> bool:
    """Whether a frame's info says that it is no neutral singlet."""
    info = frame.atoms.info
    usual = {"charge": 0, "multiplicity": 1, "spin": 1}
    return any(name in info and info[name] != value for name, value in usual.items())


def _state(
    frame: str, atoms: Atoms, names: tuple[str, ...], given: int | None, option: str
) -> int | None:
    """Charge or multiplicity, of the command line or of the frame's info; None if of neither."""
    said = {} if given is None else {option: given}
    for name in names:
        if name not in atoms.info:
            continue
        value = atoms.info[name]
        number = np.asarray(value)
        whole = number.shape == () and number.dtype.kind in "iuf" and float(number).is_integer()
        if not whole or (option == "--multiplicity" and number < 1):
            expected = "a whole number" if option == "--charge" else "2S + 1, a whole number from 1"
            raise ValueError(f"{frame}: {name} in its info is {value!r}, expected {expected}")
        said[f"{name} in its info"] = int(number)
    if len(set(said.values())) > 1:
        words = " and ".join(f"{name} is {value}" for name, value in said.items())
        raise ValueError(f"{frame}: {words}; remove one of them")
    return next(iter(said.values()), None)
