"""Writers of frames, without loss: extxyz and ASE databases."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import ase
import ase.db
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from ase.db.core import check, reserved_keys
from ase.io.extxyz import key_val_dict_to_str
from ase.stress import full_3x3_to_voigt_6_stress

from piwsl_plugins.data.blocks import ENERGIES, FORCES, LABELS, Block, Floats
from piwsl_plugins.data.readers.base import DataError

NAMES = {
    "energy": "REF_energy",
    "forces": "REF_forces",
    "stress": "REF_stress",
    "weak_forces": "weak_forces",
    "low_energy": "low_energy",
    "low_forces": "low_forces",
}
"""Names under which labels are written."""
GROUP = "group"
"""Name under which a frame keeps what its source calls its group."""
_RESULTS = ("energy", "forces", "stress")  # what ASE's databases keep as results of a calculator
_COMPUTED = ("charge", "mass", "volume")  # what they compute themselves, whatever was written


class Writer(ABC):
    """Writes blocks to a file.

    Args:
        path: the file, which is overwritten.
        names: name of each label in it.
    """

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        self.path = path
        self.names = names

    def __enter__(self) -> Writer:
        return self

    def write(self, block: Block) -> None:
        """Write the frames of a block.

        Raises:
            DataError: a frame with a value of its own under a label's name, or a label that is
                in part not a finite number.
        """
        for number in range(len(block)):
            labels = {
                self.names[label]: values
                for label in LABELS
                if (values := _label(block, label, number)) is not None
            }
            self._frame(block, number, labels, self._info(block, number))

    def _info(self, block: Block, number: int) -> dict[str, Any]:
        """What else is known of a frame; nothing is written for a value that is missing."""
        info = {key: values[number] for key, values in block.info.items()}
        if block.group and GROUP not in info:
            info[GROUP] = block.group
        taken = sorted(set(info) & {self.names[label] for label in block.labels})
        if taken:
            label = next(label for label, name in self.names.items() if name == taken[0])
            raise DataError(
                f"{block.name(number)}: has a value of its own named {taken[0]!r}, the name under "
                f"which its {label.replace('_', ' ')} is to be written; choose another one, e.g. "
                f"--write-as {label}=my_{label}"
            )
        return {key: _plain(value) for key, value in info.items() if not _is_missing(value)}

    @abstractmethod
    def _frame(
        self, block: Block, number: int, labels: dict[str, float | Floats], info: dict[str, Any]
    ) -> None:
        """Write one frame."""

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the file."""


class ExtxyzWriter(Writer):
    """Extended XYZ with 12 decimals for each atom, where ASE writes 8, and all digits elsewhere."""

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        super().__init__(path, names)
        self._file = path.open("w", encoding="utf-8")

    def _frame(
        self, block: Block, number: int, labels: dict[str, float | Floats], info: dict[str, Any]
    ) -> None:
        per_atom = {
            name: labels.pop(name) for label in FORCES if (name := self.names[label]) in labels
        }
        properties = "".join(f":{name}:R:3" for name in per_atom)
        header = f"Properties=species:S:1:pos:R:3{properties}"
        if block.cell is not None:
            lattice = " ".join(map(repr, block.cell[number].ravel().tolist()))
            header = f'Lattice="{lattice}" {header}'
        pbc = block.pbc[number] if block.pbc is not None else (False, False, False)
        flat = {
            key: value.ravel() if isinstance(value, np.ndarray) else value
            for key, value in labels.items()
        }
        header += " " + key_val_dict_to_str({**flat, **info})
        header += ' pbc="{} {} {}"'.format(*("T" if periodic else "F" for periodic in pbc))
        columns = np.column_stack([block.positions[number], *per_atom.values()])
        line = "%-2s" + " %17.12f" * columns.shape[1] + "\n"
        self._file.write(f"{len(block.numbers)}\n{header}\n")
        self._file.writelines(
            line % (chemical_symbols[element], *row)
            for element, row in zip(block.numbers.tolist(), columns.tolist(), strict=True)
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the file."""
        self._file.close()


class DatabaseWriter(Writer):
    """ASE's database in SQLite: scalars as key-value pairs, arrays in ``data``."""

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        super().__init__(path, names)
        for name in names.values():
            if name not in _RESULTS:
                _check_name(name)
        path.unlink(missing_ok=True)  # SQLite takes an empty file for a broken database
        self._database = ase.db.connect(path, type="db", use_lock_file=False)
        self._database.__enter__()  # one transaction, many times quicker than one a frame

    def _frame(
        self, block: Block, number: int, labels: dict[str, float | Floats], info: dict[str, Any]
    ) -> None:
        atoms = block.atoms(number)
        atoms.info = {}
        results = {name: labels.pop(name) for name in _RESULTS if name in labels}
        if "stress" in results:
            results["stress"] = full_3x3_to_voigt_6_stress(results["stress"])
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        pairs: dict[str, Any] = {}
        data: dict[str, Any] = {}
        for key, value in {**labels, **info}.items():
            (pairs if _is_pair(key, value) else data)[key] = value
        self._database.write(atoms, key_value_pairs=pairs, data=data)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit where all went well, and end the file."""
        self._database.__exit__(kind, error, trace)


WRITERS: dict[str, type[Writer]] = {
    ".xyz": ExtxyzWriter,
    ".extxyz": ExtxyzWriter,
    ".db": DatabaseWriter,
}
"""Writers by the file's suffix."""


def writer_of(path: Path) -> type[Writer]:
    """The writer for a file.

    Raises:
        DataError: an unknown suffix.
    """
    if path.suffix not in WRITERS:
        raise DataError(
            f"{path}: the suffix says the format, and must be one of {', '.join(WRITERS)}; got "
            f"{path.suffix or 'none'}"
        )
    return WRITERS[path.suffix]


def _label(block: Block, label: str, number: int) -> float | Floats | None:
    value = (block.scalar if label in ENERGIES else block.array)(label, number)
    if value is not None and not np.isfinite(value).all():
        raise DataError(
            f"{block.name(number)} (frames counted from 0): {label.replace('_', ' ')} is in part "
            "not a finite number; remove it, or the frame"
        )
    return value


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and bool(np.isnan(value)))


def _plain(value: object) -> object:
    """A value as both formats take it: no bytes, and nothing that would break a line."""
    if isinstance(value, (bytes, np.bytes_)):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return " ".join(value.split()) if any(c in value for c in "\n\r\t\v\f") else str(value)
    return value.item() if isinstance(value, np.generic) else value


def _check_name(name: str) -> None:
    if name in reserved_keys or name in _COMPUTED:
        raise DataError(
            f"{name!r} is a name that ASE's databases keep for themselves; choose another one "
            "with --write-as"
        )


def _is_pair(key: str, value: object) -> bool:
    """Whether a database takes a value as a key-value pair."""
    if not isinstance(value, (str, int, float)) or key in _COMPUTED:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check({key: value})
    except (ValueError, UserWarning):
        return False
    return True
