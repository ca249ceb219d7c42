"""Total charge and spin multiplicity of a frame, in whichever way its file states them."""

from __future__ import annotations

from typing import Any, NamedTuple

import ase
import numpy as np

CHARGES = ("charge", "total_charge", "net_charge", "molecular_charge", "chrg")
UNPAIRED = ("uhf", "unpaired_electrons")
MULTIPLICITIES = ("multiplicity", "spin_multiplicity", "mult", "spin", "total_spin", *UNPAIRED)
"""2S + 1, except for numbers of unpaired electrons; so are ``total_spin`` (MACE) and ``spin``
(OMol25), whose value without spin is 1."""
ARRAYS = ("initial_charges", "initial_magmoms")
_WHOLE = 0.05  # a sum of rounded atomic charges this near to a whole number is one


class State(NamedTuple):
    """Total charge, multiplicity (2S + 1), and a sentence that says where they were found."""

    charge: int
    multiplicity: int
    said: str


def state_of(
    atoms: ase.Atoms,
    charge: int | None = None,
    multiplicity: int | None = None,
    electrons: int | None = None,
) -> State:
    """Charge and multiplicity of a frame, from its info, its arrays, or the user.

    Read are all keys above and the sums of ASE's initial charges and magnetic moments unless all
    are zero. Where nothing is stated, the charge is 0 and the multiplicity the lowest; statements
    that contradict, are no whole numbers or cannot be are a ValueError.

    ``charge`` and ``multiplicity`` are what the user said of all frames, or None; ``electrons`` is
    their number in the neutral frame as the method counts them, or None for all.
    """
    charges = _statements(atoms, "charge", charge, CHARGES, ARRAYS[0])
    spins = _statements(atoms, "multiplicity", multiplicity, MULTIPLICITIES, ARRAYS[1])
    total = next(iter(charges.values()), 0)
    count = (int(atoms.numbers.sum()) if electrons is None else electrons) - total
    spin = next(iter(spins.values()), 1 + count % 2)
    by, spin_by = (", ".join(found) or "nothing states it" for found in (charges, spins))
    if (count + spin) % 2 == 0:
        what = f"{count} electrons at charge {total:+d} ({by}) cannot have multiplicity {spin}"
        raise ValueError(f"{what} ({spin_by}); state the right charge or multiplicity")
    return State(total, spin, f"charge {total:+d} ({by}), multiplicity {spin} ({spin_by})")


def stated(atoms: ase.Atoms) -> dict[str, Any]:
    """Everything in a frame that states its charge or spin, as it stands there."""
    return {key: atoms.info[key] for key in (*CHARGES, *MULTIPLICITIES) if key in atoms.info} | {
        key: atoms.arrays[key] for key in ARRAYS if np.any(atoms.arrays.get(key, 0))
    }


def _statements(
    atoms: ase.Atoms, what: str, given: int | None, keys: tuple[str, ...], array: str
) -> dict[str, int]:
    """Each statement of a charge or a multiplicity by its name; they agree."""
    found = {} if given is None else {f"--{what}": given}
    for key in (key for key in keys if key in atoms.info):
        value, more = np.asarray(atoms.info[key]), int(key in UNPAIRED)
        whole = value.size == 1 and value.dtype.kind in "iuf" and float(value.item()).is_integer()
        if not whole or (what == "multiplicity" and value.item() + more < 1):
            spin = "a number of electrons, from 0" if more else "2S + 1, from 1"
            expected = "a whole number" if what == "charge" else spin
            raise ValueError(f"{key} is {atoms.info[key]!r}, expected {expected}")
        found[key + " + 1" * more] = int(value.item()) + more
    if np.any(values := atoms.arrays.get(array, 0)):
        total = float(np.sum(values))
        if abs(total - round(total)) < _WHOLE:
            spins = {f"sum of {array} + 1": abs(round(total)) + 1}
            found |= {f"sum of {array}": round(total)} if what == "charge" else spins
        elif not found:
            raise ValueError(f"{array} sum to {total:g}, expected a whole number; give --{what}")
    if len(set(found.values())) > 1:
        words = " and ".join(f"{key} is {value}" for key, value in found.items())
        raise ValueError(f"{what} is stated twice: {words}; remove the wrong one")
    return found
