"""Statistics of training data for the model, where forces are absent or partly so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from nequip.data import AtomicDataDict, BaseModifier, NumNeighbors
from nequip.data.stats import Mean, RootMeanSquare, StandardDeviation
from nequip.data.stats_manager import DataStatisticsManager
from torch import Tensor

from piwsl_plugins.hosts.nequip import seams


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
        return "per_atom_interaction_energy"


class _EnergyStatistics(DataStatisticsManager):  # type: ignore[misc]
    """Adds the shift of each type to the statistics."""

    atomic_energies: dict[str, float]

    def compute(self) -> dict[str, Any]:
        statistics: dict[str, Any] = super().compute()
        mean = statistics["per_atom_interaction_energy_mean"]
        statistics["per_type_energy_shifts"] = {
            name: energy + mean for name, energy in self.atomic_energies.items()
        }
        return statistics


def EnergyStatisticsManager(  # noqa: N802  NequIP's own factories are written like classes
    type_names: Sequence[str],
    atomic_energies: Mapping[str, float] | None = None,
    forces: bool = False,
    dataloader_kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """NequIP's ``DataStatisticsManager`` for energies, and forces that frames may lack.

    Missing labels (NaN) are left out. The statistics, for ``${training_data_stats:...}``:
    ``num_neighbors_mean`` and ``per_type_num_neighbors_mean``; ``per_type_energy_shifts``, the
    free atoms' energies and the mean of what is left per atom (eV, for
    ``per_type_energy_shifts``); ``per_atom_interaction_energy_std``, the spread of what is left
    (eV per atom, for ``per_type_energy_scales``); with ``forces``, ``forces_rms`` and
    ``per_type_forces_rms`` (eV/angstrom).

    Args:
        type_names: the atom types.
        atomic_energies: energies of the free atoms by type, eV; left out, none are subtracted,
            which is right for data of one composition alone.
        forces: add the statistics of the force labels, where frames have them.
        dataloader_kwargs: as in NequIP.

    Returns:
        The manager.

    Raises:
        ValueError: a type without a free-atom energy.
    """
    energies = dict(atomic_energies or dict.fromkeys(type_names, 0.0))
    with seams.plain_errors():
        if set(energies) != set(type_names):
            raise ValueError(
                f"data.stats_manager.atomic_energies: got {sorted(energies)}, expected one energy "
                f"for each of the types {list(type_names)}"
            )
    interaction = InteractionEnergy([energies[name] for name in type_names])
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
    if forces:
        metrics += [
            {
                "name": f"{prefix}forces_rms",
                "field": AtomicDataDict.FORCE_KEY,
                "metric": RootMeanSquare(),
                "per_type": bool(prefix),
                "ignore_nan": True,
            }
            for prefix in ("", "per_type_")
        ]
    manager = _EnergyStatistics(metrics, dict(dataloader_kwargs or {}), list(type_names))
    manager.atomic_energies = energies
    return manager
