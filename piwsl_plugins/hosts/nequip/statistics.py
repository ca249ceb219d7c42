"""Statistics of training data for the model, where forces are absent or partly so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from nequip.data import AtomicDataDict, NumNeighbors
from nequip.data.stats import Mean, RootMeanSquare, StandardDeviation
from nequip.data.stats_manager import DataStatisticsManager
from nequip.utils import RankedLogger
from torch import Tensor

from piwsl_plugins.data.atomic_energies import atomic_energies as energies_of_atoms
from piwsl_plugins.hosts.nequip.dataset import FrameDataset, types_of
from piwsl_plugins.settings import WEAK_FORCES

KEY = "data.stats_manager.atomic_energies"
INTERACTION = "per_atom_interaction_energy"
_log = RankedLogger(__name__, rank_zero_only=True)


class EnergyStatisticsManager(DataStatisticsManager):  # type: ignore[misc]
    """NequIP's ``DataStatisticsManager`` for energies, and forces that frames may lack.

    Missing labels (NaN) are left out. The statistics, for ``${training_data_stats:...}``:
    ``num_neighbors_mean`` and ``per_type_num_neighbors_mean``; ``atomic_energies``, those of the
    free atoms; ``per_type_energy_shifts``, these and the mean of what is left per atom, eV;
    ``per_atom_interaction_energy_std``, the spread of what is left, eV per atom; with ``forces``,
    ``forces_rms`` and ``per_type_forces_rms``, and with ``weak_forces`` the same of these,
    eV/angstrom.

    Args:
        type_names: the atom types.
        atomic_energies: energies of the free atoms by type, eV; or where to take them from, as
            :func:`piwsl_plugins.data.atomic_energies.atomic_energies` has it: ``fit``,
            ``isolated``. Left out, none are subtracted, which is right for data of one composition.
        forces: add the statistics of the force labels, where frames have them.
        weak_forces: add those of the weak forces.
        dataloader_kwargs: as in NequIP.
    """

    def __init__(
        self,
        type_names: Sequence[str],
        atomic_energies: Mapping[str, float] | str | None = None,
        forces: bool = False,
        weak_forces: bool = False,
        dataloader_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        choice = dict.fromkeys(type_names, 0.0) if atomic_energies is None else atomic_energies
        if isinstance(choice, Mapping) and set(choice) != set(type_names):
            raise ValueError(
                f"{KEY}: got {sorted(choice)}, expected one energy for each of the types "
                f"{list(type_names)}"
            )
        wanted: list[tuple[str, Any, Any]] = [("num_neighbors_mean", NumNeighbors(), Mean())]
        for field in [AtomicDataDict.FORCE_KEY] * forces + [WEAK_FORCES] * weak_forces:
            wanted.append((f"{field}_rms", field, RootMeanSquare()))
        metrics: list[dict[str, Any]] = [
            {"name": kind + name, "field": field, "metric": m.clone(), "per_type": bool(kind)}
            for name, field, m in wanted
            for kind in ("", "per_type_")
        ]
        for name, m in (("mean", Mean()), ("std", StandardDeviation())):
            field = self._interaction_energy
            metrics.append({"name": f"{INTERACTION}_{name}", "field": field, "metric": m})
        metrics = [{**metric, "ignore_nan": True} for metric in metrics]
        super().__init__(metrics, dict(dataloader_kwargs or {}), list(type_names))
        self.choice = choice

    def get_statistics(self, data_source: Any) -> dict[str, Any]:
        """NequIP's own, with the free atoms' energies and the shift of each type."""
        energies = self._energies(data_source.dataset)
        free = [energies[t] for t in self.type_names]
        self.free = torch.tensor(free, dtype=torch.float64, device="cpu")
        try:
            found: dict[str, Any] = super().get_statistics(data_source)
        except KeyError as error:
            raise ValueError(
                f"data.stats_manager: the training data have no {error}; leave out what asks for "
                "it, or name the label's key in data.labels"
            ) from error
        mean = found[f"{INTERACTION}_mean"]
        if not math.isfinite(mean):
            raise ValueError("data.stats_manager: none of the training frames has an energy")
        found["atomic_energies"] = energies
        found["per_type_energy_shifts"] = {name: e + mean for name, e in energies.items()}
        return found

    def _interaction_energy(self, data: dict[str, Tensor]) -> Tensor:
        """(E - sum of the free atoms' energies) / N of each structure, shape [n_graphs, 1], eV."""
        energy = data[AtomicDataDict.TOTAL_ENERGY_KEY].view(-1)
        types, owner = data[AtomicDataDict.ATOM_TYPE_KEY], data[AtomicDataDict.BATCH_KEY]
        free = torch.zeros_like(energy).index_add(0, owner, self.free[types.view(-1)])
        return (energy - free).div(data[AtomicDataDict.NUM_NODES_KEY]).view(-1, 1)

    def _energies(self, training: Any) -> dict[str, float]:
        if isinstance(self.choice, Mapping):
            return {name: float(energy) for name, energy in self.choice.items()}
        if not isinstance(training, FrameDataset):
            raise ValueError(f"{KEY}: {self.choice!r} needs the frames of files; give a mapping")
        types = types_of(training.transforms)
        if sorted(types.values()) != sorted(self.type_names):
            raise ValueError(
                f"{KEY}: elements have the types {types}, expected one element for each of "
                f"{self.type_names}; give the energies of the types as a mapping"
            )
        found = energies_of_atoms(
            self.choice,
            training.frames,
            training.isolated,
            types,
            tell=_log.warning,
        )
        elements = {name: number for number, name in types.items()}
        energies = {name: float(found[elements[name]]) for name in self.type_names}
        listed = ", ".join(f"{name} {energy:.6f}" for name, energy in energies.items())
        _log.info(f"reference energies of the atoms (E0s, eV), {self.choice}: {listed}")
        return energies
