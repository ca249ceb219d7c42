"""NequIP's data module for files of energies, with the interface of its ``ASEDataModule``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nequip.data.datamodule import ASEDataModule
from nequip.data.dataset import ASEDataset, RandomSplitAndIndexDataset

from piwsl_plugins.data.duplicates import check_duplicates
from piwsl_plugins.data.readers import DataError, Source
from piwsl_plugins.data.targets import is_there, names_in
from piwsl_plugins.hosts.nequip import files, labels, seams
from piwsl_plugins.hosts.nequip.data import PiwslDataModule
from piwsl_plugins.hosts.nequip.scan import LABELS_BLOCK, NAMES
from piwsl_plugins.hosts.nequip.sources import Chosen, check_overlaps

_ASE_ARGUMENTS = ("ase_args", "include_keys", "exclude_keys", "key_mapping")
STAGES = ("train", "val", "test", "predict")


class PiwslFilesDataModule(PiwslDataModule, ASEDataModule):  # type: ignore[misc]
    """NequIP's ``ASEDataModule`` for ANI's and SPICE's HDF5, databases, tables and ASE's files.

    Everything comes in eV and angstrom, whatever the units of the file, and frames may lack
    labels. HDF5, databases and tables are read frame by frame; of these, frames without any label
    are left out. Isolated atoms are left out of all data, as NequIP gives an atom without
    neighbours the energy of its type whatever the weights; ``atomic_energies: isolated`` of
    ``EnergyStatisticsManager`` reads them. Before the first step the training frames are checked
    for copies with other energies, and for copies among the validation and test frames.

    Args:
        labels: keys and units of the labels by the names of
            :class:`piwsl_plugins.data.settings.DataSettings`: ``energy``, ``forces``, ``stress``,
            ``weak_forces``, ``low_energy``, ``low_forces`` (keys or sums of keys),
            ``energy_unit``, ``length_unit`` and so on; left out, what the format says.
        isolated_atoms: keep isolated atoms among the frames.
        allow_overlap: train although test frames are among the training frames.
        piwsl: as for :class:`PiwslDataModule`.
        kwargs: those of ``ASEDataModule`` but for what is ASE's alone (``key_mapping`` and the
            like): ``seed``, paths, ``split_dataset``, ``transforms``, data loaders,
            ``stats_manager``. Counts in ``split_dataset`` may leave frames over.

    Raises:
        ValueError: unknown or contradictory settings; later, bad data.
    """

    def __init__(
        self,
        labels: Mapping[str, Any] | None = None,
        isolated_atoms: bool = False,
        allow_overlap: bool = False,
        piwsl: Mapping[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> None:
        with seams.plain_errors():
            files.label_settings(labels)
            _refuse_ase_arguments(kwargs)
        super().__init__(piwsl=piwsl, allow_overlap=allow_overlap, **kwargs)
        self.piwsl_labels = dict(labels or {})
        options = {
            "labels": self.piwsl_labels,
            "isolated_atoms": isolated_atoms,
            "cutoff": self.piwsl_skin,
        }
        for stage in STAGES:
            name = f"{stage}_dataset_config"
            own = options | {"everything": stage == "predict"}
            setattr(self, name, _of_files(getattr(self, name), own))

    def piwsl_masks(self, stage: str) -> list[Any]:
        """As for all our data modules; of the test data already before they are needed."""
        if stage == "test" and not hasattr(self, "test_dataset"):
            datasets = self._instantiated("test")
            return [(labels.dataset_masks(dataset), len(dataset)) for dataset in datasets]
        return super().piwsl_masks(stage)

    def _compare(self) -> None:
        """Compare the training data with the other data, and look for keys that no file has."""
        sources = self._sources()
        _check_keys(self.piwsl_labels, [source for part in sources.values() for source in part])
        check_duplicates(sources["training"])
        check_overlaps(sources, allow_overlap=self.piwsl_allow_overlap)


def _check_keys(given: Mapping[str, Any], sources: Sequence[Source]) -> None:
    opened = [source.file for source in sources if isinstance(source, Chosen)]
    names = {str(file.path): names_in(file) for file in opened}
    for label in ("forces", "stress", "weak_forces", "low_forces"):
        key = given.get(label)
        if key is None or any(is_there(key, known) for known in names.values()):
            continue
        listed = "; ".join(
            f"{Path(path).name}: {', '.join(sorted(known)) or 'none'}"
            for path, known in names.items()
        )
        raise DataError(
            f"{LABELS_BLOCK}.{label}: {key!r} is in none of the data files, whose keys are: "
            f"{listed}"
        )


def _refuse_ase_arguments(arguments: Mapping[str, Any]) -> None:
    for name in _ASE_ARGUMENTS:
        if not arguments.get(name):
            continue
        instead = "leave it out"
        if name == "key_mapping":
            own = {nequips: label for label, nequips in NAMES.items()}
            keys = {own.get(value, value): key for key, value in arguments[name].items()}
            instead = f"write labels: {{{', '.join(f'{a}: {b}' for a, b in keys.items())}}}"
        raise ValueError(
            f"data.{name} is for PiwslASEDataModule; with PiwslFilesDataModule {instead}"
        )


def _of_files(config: Any, options: Mapping[str, Any]) -> Any:
    """A config of datasets whose files are read by us."""
    if isinstance(config, list):
        return [_of_files(value, options) for value in config]
    if not isinstance(config, Mapping):
        return config
    target = str(config.get("_target_", ""))
    if target == f"nequip.data.dataset.{ASEDataset.__name__}":
        return {
            "_target_": f"{files.__name__}.{files.FileDataset.__name__}",
            "file_path": config["file_path"],
            "transforms": config["transforms"],
            **options,
        }
    changed = {key: _of_files(value, options) for key, value in config.items()}
    if target == f"nequip.data.dataset.{RandomSplitAndIndexDataset.__name__}":
        changed["_target_"] = f"{files.__name__}.{files.split.__name__}"
    return changed
