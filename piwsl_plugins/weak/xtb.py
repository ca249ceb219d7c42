"""GFN1-xTB and GFN2-xTB through tblite: what they can treat, and how they are asked."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from numpy.typing import NDArray

XTB = {"gfn1-xtb": "GFN1-xTB", "gfn2-xtb": "GFN2-xTB"}
"""What tblite calls the methods."""
HEAVIEST = 86  # both methods end with radon
# both methods put the f electrons of cerium to lutetium into the core, and leave three
_LANTHANIDES, _VALENCE = range(57, 72), 3
NOT_ARGUMENTS = {
    "method": "--method",
    "charge": "--charge",
    "multiplicity": "--multiplicity",
    "verbosity": "nothing",
}
"""Arguments of tblite's calculator that have an option, or are not the user's."""


def calculator(method: str, arguments: dict[str, Any], charge: int, spin: int) -> Calculator:
    """A calculator for one frame; an old one would start from the last frame's result.

    Args:
        method: ``gfn1-xtb`` or ``gfn2-xtb``.
        arguments: further arguments of ``tblite.ase.TBLite``.
        charge: of the frame, in elementary charges.
        spin: multiplicity of the frame, 2S + 1.
    """
    from tblite.ase import TBLite

    return TBLite(method=XTB[method], charge=charge, multiplicity=spin, verbosity=0, **arguments)


def electrons(numbers: NDArray[np.int64], charge: int) -> int:
    """Electrons of a frame, odd where those that the methods treat are odd."""
    lanthanides = np.isin(numbers, _LANTHANIDES)
    return int(np.where(lanthanides, _VALENCE, numbers).sum()) - charge


def unfit(
    method: str,
    numbers: NDArray[np.int64],
    pbc: NDArray[np.bool_],
    charge: int,
    spin: int | None,
) -> str:
    """Why a method cannot treat a frame; empty if it can.

    Args:
        method: ``gfn1-xtb`` or ``gfn2-xtb``.
        numbers: atomic numbers.
        pbc: along which cell vectors the frame is periodic, shape [3].
        charge: of the frame.
        spin: multiplicity of the frame, or None where nobody has said.
    """
    name = XTB[method]
    strange = sorted({int(z) for z in numbers if not 1 <= z <= HEAVIEST})
    if strange:
        named = ", ".join(f"{chemical_symbols[z]} (Z = {z})" for z in strange)
        return f"{name} knows the elements H to Rn (Z = 1 to {HEAVIEST}), found {named}"
    if pbc.any() and not pbc.all():
        along = " ".join("T" if periodic else "F" for periodic in pbc)
        return (
            f"tblite would take a frame with pbc = '{along}' as periodic in all three directions; "
            "make it so, with enough vacuum in the cell, or leave pbc and cell out"
        )
    count = electrons(numbers, charge)
    if spin is None:
        if count % 2:
            return (
                f"{count} electrons at charge {charge:+d}, an odd number: give --charge, "
                "--multiplicity (2 for a doublet), or charge and multiplicity of each frame in "
                "its info"
            )
    elif (count - (spin - 1)) % 2:
        return f"{count} electrons at charge {charge:+d} cannot have multiplicity {spin}"
    return ""
