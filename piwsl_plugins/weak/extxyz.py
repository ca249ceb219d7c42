"""Extended xyz that loses no digit: ASE's own writer keeps eight decimals of an array."""

from __future__ import annotations

import io
import re

import ase
import ase.io
import numpy as np
from ase.io.extxyz import REV_PROPERTY_NAME_MAP
from numpy.typing import NDArray

_PROPERTIES = re.compile(r"Properties=(\S+)")


def exact_text(atoms: ase.Atoms) -> str:
    """A frame as extended xyz, each number as short as it can be written without losing a bit.

    Args:
        atoms: the frame; what stands in its ``info``, its arrays and the results of its calculator
            goes along under its own name.

    Returns:
        The lines of the frame.
    """
    frame = atoms.copy()
    frame.calc = atoms.calc
    frame.set_constraint()
    text = io.StringIO()
    ase.io.write(text, frame, format="extxyz")
    count, comment = text.getvalue().split("\n", 2)[:2]
    found = _PROPERTIES.search(comment)
    assert found is not None, comment
    results = frame.calc.results if frame.calc is not None else {}
    columns = []
    for name in found[1].split(":")[::3]:
        key = REV_PROPERTY_NAME_MAP.get(name, name)
        if key == "symbols":
            columns.append([f"{symbol:<2}" for symbol in frame.symbols])
        else:
            array = frame.arrays[key] if key in frame.arrays else results[key]
            columns.append([_words(row) for row in np.asarray(array).reshape(len(frame), -1)])
    rows = (" ".join(words) for words in zip(*columns, strict=True))
    return "\n".join([count, comment, *rows, ""])


def _words(row: NDArray[np.generic]) -> str:
    """One atom's share of an array."""
    kind = row.dtype.kind
    if kind == "f":
        return " ".join(f"{float(value)!r:>14}" for value in row)
    if kind == "b":
        return " ".join("T" if value else "F" for value in row)
    return " ".join(str(value) for value in row)
