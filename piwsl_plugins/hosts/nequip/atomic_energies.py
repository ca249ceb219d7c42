"""Reference energies of the atoms for NequIP's types, from the training data where asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase.data import atomic_numbers
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper
from nequip.utils import RankedLogger

from piwsl_plugins.data.atomic_energies import FIT, ISOLATED, TABLES, atomic_energies
from piwsl_plugins.fields import unknown_name
from piwsl_plugins.hosts.nequip import labels
from piwsl_plugins.hosts.nequip.sources import source_of

KEY = "data.stats_manager.atomic_energies"
_log = RankedLogger(__name__, rank_zero_only=True)


def check_name(name: str) -> None:
    """Check the name of a way to find the energies.

    Raises:
        ValueError: an unknown one, with the nearest known.
    """
    known = (FIT, ISOLATED, *TABLES)
    if name not in known:
        raise ValueError(
            f"{KEY}: {unknown_name(name, known, 'value')}; or give a mapping, one energy (eV) for "
            "each type"
        )


def of_dataset(spec: str, dataset: Any, type_names: Sequence[str]) -> dict[str, float]:
    """Energies of the free atoms, as both hosts take them.

    Args:
        spec: ``fit``, ``isolated`` or the name of a table.
        dataset: the training frames, one of ours or of NequIP's, or a part of one; isolated atoms
            are sought in the whole file.
        type_names: NequIP's types.

    Returns:
        Energy by type, eV.

    Raises:
        ValueError: a type whose element has no energy.
    """
    elements = elements_of(dataset, type_names)
    # in data of NequIP's own, isolated atoms are only known once the whole file was read
    ours = hasattr(labels.unwrapped(dataset)[0], "piwsl_scan")
    source = source_of(dataset, isolated_atoms=ours or spec == ISOLATED)
    found = atomic_energies(spec, source, elements.values())
    for warning in found.warnings:
        _log.warning(warning)
    values = {name: found.values[number] for name, number in elements.items()}
    listed = ", ".join(f"{name} {value:.6f}" for name, value in values.items())
    _log.info(f"reference energies of the atoms (E0s, eV), of {found.origin}: {listed}")
    return values


def elements_of(dataset: Any, type_names: Sequence[str]) -> dict[str, int]:
    """Atomic number of each type, by the transform that maps elements to types.

    Raises:
        ValueError: a type that stands for no element or for several.
    """
    base, _ = labels.unwrapped(dataset)
    for transform in getattr(base, "transforms", ()):
        if isinstance(transform, ChemicalSpeciesToAtomTypeMapper):
            names, table = list(transform.model_type_names), transform.lookup_table
            known = {name: (table == names.index(name)).nonzero().view(-1) for name in names}
            found = {name: known[name].tolist() for name in type_names if name in known}
            break
    else:
        found = {name: [atomic_numbers[name]] for name in type_names if name in atomic_numbers}
    for name in type_names:
        if len(found.get(name, ())) != 1:
            raise ValueError(
                f"{KEY}: the type {name!r} stands for {len(found.get(name, ()))} elements, "
                "expected one; give the energies of the types as a mapping"
            )
    return {name: int(found[name][0]) for name in type_names}
