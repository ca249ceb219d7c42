"""NequIP's data modules with what training without forces needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nequip.data.datamodule import ASEDataModule, NequIPDataModule
from nequip.data.dataset import ASEDataset

from piwsl_plugins.data.readers import Source
from piwsl_plugins.hosts.nequip import labels, seams
from piwsl_plugins.hosts.nequip.sources import check_overlaps, point_out_units, source_of
from piwsl_plugins.settings import RunSettings

TRAINING_BLOCK = "training_module.piwsl"
BLOCK = f"{TRAINING_BLOCK} or data.piwsl"
"""How an error calls the settings: the one is made to be the other's by reference."""
WIDENED = ("NeighborListTransform", "NeighborListPruneTransform")
"""Ends of the names of NequIP's transforms that make or prune a neighbour list."""


class PartialLabelsASEDataset(ASEDataset):  # type: ignore[misc]
    """NequIP's ``ASEDataset`` in which frames may lack labels.

    A label that some frames of the file have and others lack is NaN in those, as NequIP's
    ``ignore_nan`` expects. Molecules have no cell, rather than one without volume, in which stress
    would be NaN.

    Args:
        kwargs: those of ``ASEDataset``.

    Raises:
        ValueError: energies that are NaN or infinite, or other labels that are so in part; the
            message names the file and the frame.
    """

    def __init__(self, **kwargs: Any) -> None:
        with seams.plain_errors():
            try:
                super().__init__(**kwargs)
            except FileNotFoundError as error:
                raise ValueError(f"data: there is no file {kwargs['file_path']}") from error
            labels.check_frames(self.data_list, str(self.file_path))
            self.piwsl_masks = labels.masks_of(self.data_list)
            labels.complete(self.data_list)
            labels.drop_empty_cells(self.data_list)


class PiwslDataModule(NequIPDataModule):  # type: ignore[misc]
    """NequIP's data module for any of its datasets, with a skin for the training data.

    The neighbour list of the training data reaches as much farther than its ``r_max`` (and than
    each cutoff of ``per_edge_type_cutoff``) as two atoms of a displaced geometry can come closer;
    r_max itself stays the model's cutoff. Data statistics are those without the skin, and
    validation and test data have none.

    Args:
        piwsl: the settings of the losses, the very block of the training module:
            ``${training_module.piwsl}``; ``false`` for no skin, which is right for a loss without
            a term that displaces atoms.
        allow_overlap: train although test frames are among the training frames, where a data
            module looks for that.
        kwargs: those of NequIP's data module.

    Raises:
        ValueError: unknown settings, no neighbour list to widen, or bad labels.
    """

    train_dataset_config: Any
    train_dataset: list[Any]
    val_dataset: list[Any]

    def __init__(
        self,
        piwsl: Mapping[str, Any] | bool | None = None,
        allow_overlap: bool = False,
        **kwargs: Any,
    ) -> None:
        with seams.plain_errors():
            seams.check_version()
            if piwsl is True:
                raise ValueError(f"data.piwsl: got true, expected ${{{TRAINING_BLOCK}}} or false")
            self.piwsl_settings = RunSettings.from_mapping(piwsl or {}, BLOCK)
            self.piwsl_skin = 0.0 if piwsl is False else self.piwsl_settings.skin
        super().__init__(**kwargs)
        self.piwsl_counts: Counter[str] | None = None
        self.piwsl_allow_overlap = allow_overlap
        self._piwsl_statistics = False

    def setup(self, stage: str) -> None:
        """Make the datasets of a stage, those of training with the skin, and check their labels."""
        if stage != "fit":
            super().setup(stage)
            return
        self._set_up_training()
        if self.piwsl_counts is None:
            with seams.plain_errors():
                self.piwsl_counts = sum(
                    (labels.count(dataset) for dataset in self.train_dataset), Counter()
                )
                self._compare()

    def _compare(self) -> None:
        """Compare the training data with the other data; nothing where files may be of any kind."""

    def _sources(self) -> dict[str, list[Source]]:
        """Frames of the ``training``, ``validation`` and ``test`` data."""
        parts = {"training": self.train_dataset, "validation": self.val_dataset}
        parts["test"] = self._instantiated("test")
        return {name: [source_of(one) for one in part] for name, part in parts.items()}

    def _instantiated(self, stage: str) -> list[Any]:
        from hydra.utils import instantiate

        return list(instantiate(getattr(self, f"{stage}_dataset_config")))

    def _set_up_training(self) -> None:
        if self._piwsl_statistics or not self.piwsl_skin:
            super().setup("fit")
            return
        plain = self.train_dataset_config
        with seams.plain_errors():
            self.train_dataset_config, found = widened(plain, self.piwsl_skin)
            if plain and not found:
                raise ValueError(
                    "the training data have no neighbour list that could get a skin; add "
                    "nequip.data.transforms.NeighborListTransform with r_max to their transforms"
                )
        try:
            super().setup("fit")
        finally:
            self.train_dataset_config = plain

    def piwsl_masks(self, stage: str) -> list[tuple[labels.Masks, int] | None]:
        """Which frames of a stage's datasets have which label, and how many frames there are.

        Args:
            stage: ``train``, ``val`` or ``test``.

        Returns:
            One entry a dataset, None for those that are not ours; empty where there are no
            datasets yet.
        """
        found: list[tuple[labels.Masks, int] | None] = []
        for dataset in getattr(self, f"{stage}_dataset", ()):
            masks = labels.dataset_masks(dataset)
            found.append(None if masks is None else (masks, len(dataset)))
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the random streams of a checkpoint, e.g. with the order of its next epoch.

        Lightning calls this after :meth:`setup`, in which NequIP has made its generators of the
        state at the start of the run.
        """
        super().load_state_dict(state_dict)
        for name in ("train_generator", "generator"):
            if hasattr(self, name):
                getattr(self, name).set_state(getattr(self, f"{name}_state"))

    def get_statistics(self, dataset: str = "train", dataset_idx: int = 0) -> Any:
        """Statistics for the model, of lists without the skin."""
        target = str((self.stats_manager_cfg or {}).get("_target_", ""))
        self._piwsl_statistics = True
        try:
            return super().get_statistics(dataset, dataset_idx)
        except KeyError as error:
            with seams.plain_errors():
                raise ValueError(
                    f"data.stats_manager {target.rpartition('.')[2]} needs {error}, which the "
                    f"{dataset} data do not have; without forces use "
                    "piwsl_plugins.hosts.nequip.EnergyStatisticsManager"
                ) from error
        finally:
            self._piwsl_statistics = False


class PiwslASEDataModule(PiwslDataModule, ASEDataModule):  # type: ignore[misc]
    """The same for files that ASE reads; frames may lack labels.

    Before the first step the training frames are sought among the validation frames, with a
    warning, and among the test frames, which is an error; numbers that look as if they were not in
    eV and angstrom are warned of.

    Args:
        piwsl: as for :class:`PiwslDataModule`.
        allow_overlap: train although test frames are among the training frames.
        kwargs: those of NequIP's ``ASEDataModule``.
    """

    def __init__(
        self,
        piwsl: Mapping[str, Any] | bool | None = None,
        allow_overlap: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(piwsl=piwsl, allow_overlap=allow_overlap, **kwargs)
        for stage in ("train", "val", "test", "predict"):
            name = f"{stage}_dataset_config"
            setattr(self, name, _partial_labels(getattr(self, name)))

    def _compare(self) -> None:
        sources = self._sources()
        point_out_units(sources["training"])
        check_overlaps(sources, allow_overlap=self.piwsl_allow_overlap)


def widened(config: Any, skin: float) -> tuple[Any, bool]:
    """A config of datasets whose neighbour lists have a skin.

    Args:
        config: mappings, sequences and values of a NequIP config.
        skin: angstrom.

    Returns:
        The config, and whether it makes a neighbour list.
    """
    if isinstance(config, Mapping):
        if str(config.get("_target_", "")).endswith(WIDENED):
            wide = dict(config)
            wide["r_max"] = config["r_max"] + skin
            if wide.get("per_edge_type_cutoff") is not None:
                wide["per_edge_type_cutoff"] = _longer(wide["per_edge_type_cutoff"], skin)
            return wide, True
        parts = {key: widened(value, skin) for key, value in config.items()}
        return {key: part for key, (part, _) in parts.items()}, any(f for _, f in parts.values())
    if isinstance(config, Sequence) and not isinstance(config, str):
        items = [widened(value, skin) for value in config]
        return [part for part, _ in items], any(found for _, found in items)
    return config, False


def _longer(cutoffs: Any, skin: float) -> Any:
    if isinstance(cutoffs, Mapping):
        return {name: _longer(value, skin) for name, value in cutoffs.items()}
    return cutoffs + skin


def _partial_labels(config: Any) -> Any:
    if isinstance(config, Mapping):
        changed = {key: _partial_labels(value) for key, value in config.items()}
        if changed.get("_target_") == f"nequip.data.dataset.{ASEDataset.__name__}":
            changed["_target_"] = f"{__name__}.{PartialLabelsASEDataset.__name__}"
        return changed
    if isinstance(config, list):
        return [_partial_labels(value) for value in config]
    return config
