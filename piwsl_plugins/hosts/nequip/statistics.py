"""Statistics of training data for the model, where forces are absent or partly so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from nequip.data import AtomicDataDict, BaseModifier, NumNeighbors
from nequip.data.stats import Mean, RootMeanSquare, StandardDeviation
from nequip.data.stats_manager import DataStatisticsManager
from torch import Tensor

from piwsl_plugins.hosts.nequip import atomic_energies as energies_of_atoms
from piwsl_plugins.hosts.nequip import seams
from piwsl_plugins.settings import WEAK_FORCES

INTERACTION = "per_atom_interaction_energy"


class InteractionEnergy(BaseModifier):  # type: ignore[misc]
    """(E - sum of the free atoms' energies) / N of each structure, shape [n_graphs, 1], eV.

    Args:
        atomic_energies: energy of the free atom of each type, in the order of the types, eV.
    """

    def __init__(self, atomic_energies: Sequence[float]) -> None:
        super().__init__(AtomicDataDict.TOTAL_ENERGY_KEY)
        self.atomic_energies = torch.tensor(atomic_energies, dtype=torch.float64)

    def _func(self, data: dict[str, Tensor]) -> Tensor:
        energy = data[AtomicDataDict.TOTAL_ENERGY_KEY]
        types, counts = data[AtomicDataDict.ATOM_TYPE_KEY], data[AtomicDataDict.NUM_NODES_KEY]
        free = torch.zeros(len(counts), dtype=torch.float64).index_add(
            0, data[AtomicDataDict.BATCH_KEY], self.atomic_energies[types.view(-1)]
        )
        return (energy.view(-1) - free).div(counts).view(-1, 1)

    def __str__(self) -> str:
        return INTERACTION


class _EnergyStatistics(DataStatisticsManager):  # type: ignore[misc]
    """Adds the free atoms' energies and the shift of each type to the statistics."""

    interaction: InteractionEnergy
    energies: dict[str, float] | str

    def get_statistics(self, data_source: Any) -> dict[str, Any]:
        """Statistics of a data loader; where they are to be found in the data, E0s first."""
        with seams.plain_errors():
            if isinstance(self.energies, str):
                self.energies = energies_of_atoms.of_dataset(
                    self.energies, data_source.dataset, self.type_names
                )
                values = [self.energies[name] for name in self.type_names]
                self.interaction.atomic_energies = torch.tensor(values, dtype=torch.float64)
        found: dict[str, Any] = super().get_statistics(data_source)
        return found

    def compute(self) -> dict[str, Any]:
        statistics: dict[str, Any] = super().compute()
        for name in (f"{INTERACTION}_mean", "forces_rms", f"{WEAK_FORCES}_rms"):
            with seams.plain_errors():
                if not math.isfinite(statistics.get(name, 0.0)):
                    raise ValueError(
                        f"data.stats_manager: {name} is {statistics[name]}, for no training frame "
                        "has that label; leave out what asks for it, or name the label's key in "
                        "the data module"
                    )
        mean = statistics[f"{INTERACTION}_mean"]
        energies = dict(self.energies) if isinstance(self.energies, Mapping) else {}
        statistics["atomic_energies"] = energies
        statistics["per_type_energy_shifts"] = {
            name: energy + mean for name, energy in energies.items()
        }
        return statistics


def EnergyStatisticsManager(  # noqa: N802  NequIP's own factories are written like classes
    type_names: Sequence[str],
    atomic_energies: Mapping[str, float] | str | None = None,
    forces: bool = False,
    weak_forces: bool = False,
    dataloader_kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """NequIP's ``DataStatisticsManager`` for energies, and forces that frames may lack.

    Missing labels (NaN) are left out. The statistics, for ``${training_data_stats:...}``:
    ``num_neighbors_mean`` and ``per_type_num_neighbors_mean``; ``atomic_energies``, those of the
    free atoms; ``per_type_energy_shifts``, these and the mean of what is left per atom (eV, for
    ``per_type_energy_shifts``); ``per_atom_interaction_energy_std``, the spread of what is left
    (eV per atom, for ``per_type_energy_scales``); with ``forces``, ``forces_rms`` and
    ``per_type_forces_rms``, and with ``weak_forces`` the same of these (eV/angstrom).

    Args:
        type_names: the atom types.
        atomic_energies: energies of the free atoms by type, eV; or where to take them from:
            ``fit``, a least-squares fit of the training energies to the composition,
            ``isolated``, the isolated atoms in the training file, or the name of a table in
            :data:`piwsl_plugins.data.atomic_energies.TABLES`. Left out, none are subtracted,
            which is right for data of one composition alone.
        forces: add the statistics of the force labels, where frames have them.
        weak_forces: add those of the weak forces.
        dataloader_kwargs: as in NequIP.

    Returns:
        The manager.

    Raises:
        ValueError: a type without a free-atom energy, or an unknown name.
    """
    with seams.plain_errors():
        if isinstance(atomic_energies, str):
            energies_of_atoms.check_name(atomic_energies)
        given = atomic_energies if atomic_energies is not None else dict.fromkeys(type_names, 0.0)
        energies = given if isinstance(given, str) else dict(given)
        if not isinstance(energies, str) and set(energies) != set(type_names):
            raise ValueError(
                f"data.stats_manager.atomic_energies: got {sorted(energies)}, expected one energy "
                f"for each of the types {list(type_names)}"
            )
    known = dict.fromkeys(type_names, 0.0) if isinstance(energies, str) else energies
    interaction = InteractionEnergy([known[name] for name in type_names])
    metrics: list[dict[str, Any]] = [
        {"name": "num_neighbors_mean", "field": NumNeighbors(), "metric": Mean()},
        {
            "name": "per_type_num_neighbors_mean",
            "field": NumNeighbors(),
            "metric": Mean(),
            "per_type": True,
        },
        {"field": interaction, "metric": Mean(), "ignore_nan": True},
        {"field": interaction, "metric": StandardDeviation(), "ignore_nan": True},
    ]
    fields = [AtomicDataDict.FORCE_KEY] * forces + [WEAK_FORCES] * weak_forces
    metrics += [
        {
            "name": f"{prefix}{field}_rms",
            "field": field,
            "metric": RootMeanSquare(),
            "per_type": bool(prefix),
            "ignore_nan": True,
        }
        for field in fields
        for prefix in ("", "per_type_")
    ]
    manager = _EnergyStatistics(metrics, dict(dataloader_kwargs or {}), list(type_names))
    manager.interaction, manager.energies = interaction, energies
    return manager
