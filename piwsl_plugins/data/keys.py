"""Which of a file's numbers is which label: what the user named, or the file's one total energy."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from piwsl_plugins.data.expressions import Expression, ExpressionError, parse
from piwsl_plugins.data.frames import DataError, RawFrame
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.units import IN_NAMES

ENERGIES = ("energy", "low_energy")
KEYS = ("energy", "forces", "stress", "virials", "weak_forces", "low_energy", "low_forces")
REFERENCE = "REF_energy"  # taken before all other names of total energies
PER_ATOM = re.compile(r"(?i)(per_?|/)atom|_pa$")
WHOLE_NAMES = ("e", "etot", "e_tot", "e_total", "toten", "totenergy", "totalenergy", "energies")
"""Names of total energies without the word energy in them."""
METHODS = frozenset(
    """ref reference target label total tot scf potential free dft ks qm ai hf rhf uhf rohf mp2 mp3
    mp4 ccsd ccsd(t) ccsdt cc casscf caspt2 mrci fci rpa dlpno lda pw91 pbe pbe0 pbesol rpbe revpbe
    scan rscan r2scan hse hse06 blyp b3lyp bp86 tpss m06 m062x wb97 wb97x wb97m vasp orca cp2k
    gaussian psi4 pyscf espresso aims castep gpaw siesta turbomole molpro nwchem qchem""".split()  # noqa: SIM905
)
"""Words that may stand beside ``energy`` in the name of a total energy."""
DETAILS = frozenset(
    """cbs d3 d4 d3bj bj d v sz dz tz qz 5z dzp tzp svp tzvp tzvpp def2 pno lno 2x extrapolated
    final single point sp force consistent""".split()  # noqa: SIM905
)
"""Words that may stand beside these, and no others, such as kinetic, atom, gap, zero or corr."""


@dataclasses.dataclass(slots=True)
class Contents:
    """What a whole file holds.

    Attributes:
        keys: frames that have a value, not NaN throughout, under each name.
        totals: values by frame under each name of a total energy.
        foreign: as in :class:`RawFrame`, and so are ``texts``.
    """

    frames: int = 0
    keys: Counter[str] = dataclasses.field(default_factory=Counter)
    totals: dict[str, dict[int, float]] = dataclasses.field(default_factory=dict)
    foreign: set[str] = dataclasses.field(default_factory=set)
    texts: dict[str, object] = dataclasses.field(default_factory=dict)

    def add(self, raw: RawFrame) -> None:
        """Count a frame."""
        self.foreign |= raw.foreign
        self.texts |= raw.texts
        for key, value in raw.values.items():
            if not np.isnan(value).all():
                self.keys[key] += 1
                if not value.ndim and is_total(key) and key not in raw.foreign:
                    self.totals.setdefault(key, {})[self.frames] = float(value)
        self.frames += 1

    def __str__(self) -> str:
        names = [f"{key} ({number} frames)" for key, number in sorted(self.keys.items())]
        text = f"the keys in the file are {', '.join(names) or 'none'}"
        if "comment" not in self.texts:
            return text
        line = f"the comment lines are free text, such as {self.texts['comment']!r}"
        return f"{text}; {line}: write them as energy=NUMBER to have them read"


@functools.lru_cache(1024)
def is_total(name: str) -> bool:
    """Whether a name is that of a total energy, by the lists above."""
    lower = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name).lower()
    words = {word for word in re.split(r"[\s_.:/\-]+", lower) if word} - IN_NAMES.keys()
    others = words - {"energy"}
    named = not others or bool(others & METHODS)
    return lower in WHOLE_NAMES or ("energy" in words and named and others <= METHODS | DETAILS)


def choose(
    path: object,
    contents: Contents,
    settings: DataSettings,
    default_keys: Mapping[str, str | Sequence[str]],
    spelling: Mapping[str, str],
    needs_energies: bool,
) -> tuple[dict[str, Expression], list[str]]:
    """Find the columns that make each of :data:`KEYS`, and say what was left out.

    An energy that the user named and that is not there is refused; other labels are left out, as
    one block of settings serves several files. ``default_keys`` are taken where they are there, but
    not from a structure file beside a table.
    """
    known = contents.keys.keys()
    may_have = needs_energies or any("energy" in name.lower() or is_total(name) for name in known)
    expressions: dict[str, Expression] = {}
    remarks = []
    for label in KEYS:
        asked, usual = getattr(settings, label), default_keys.get(label, ())
        option = spelling.get(label, label)
        if asked is None:
            names = [usual] if isinstance(usual, str) else usual
            there = [name for name in names if name in known - contents.foreign]
            if label == "energy" and not there and may_have:
                there = [_only_energy(path, contents, option)]
            expressions |= {label: parse(name, known) for name in there[:1]}  # noqa: B035
            continue
        if label == "energy" and PER_ATOM.search(asked) and not settings.per_atom_energy:
            multiply = spelling.get("per_atom_energy", "per_atom_energy")
            why = f"per atom by its name; set {multiply} to multiply it by the number of atoms"
            raise DataError(f"{path}: {option} {asked!r} is {why}")
        try:
            expressions[label] = parse(asked, known | contents.texts.keys())
        except ExpressionError as error:
            why = f"{option} {error}; {contents}"
            if label in ENERGIES and may_have:
                raise DataError(f"{path}: {why}") from None
            remarks.append(why)
    if settings.stress and settings.virials:
        both = " and ".join(spelling.get(name, name) for name in ("stress", "virials"))
        raise DataError(f"{path}: {both} both give the stress; leave one out")
    if "stress" in expressions and "virials" in expressions:
        del expressions["stress" if settings.virials else "virials"]
    return expressions, remarks


def _only_energy(path: object, contents: Contents, option: str) -> str:
    """The key of the one total energy, where the user named none."""
    totals = contents.totals
    if not totals:
        none = f"no key is surely a total energy, such as {REFERENCE}"
        raise DataError(f"{path}: {none}; {contents}. Name the key of the total energy by {option}")
    first = next((key for key in (REFERENCE, "energy") if key in totals), min(totals))
    values = [other.items() <= totals[first].items() for other in totals.values()]
    if first == REFERENCE or all(values):
        return first
    several = f"several keys may be the energy: {', '.join(sorted(totals))}"
    raise DataError(f"{path}: {several}; say which one is meant, e.g. {option} {first}")
