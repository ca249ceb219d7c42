"""One data module for all files, built on NequIP's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hydra.utils import instantiate
from nequip.data.datamodule import NequIPDataModule
from nequip.utils import RankedLogger

from piwsl_plugins.data.checks import check_no_overlap
from piwsl_plugins.data.frames import DataError, Frame
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.targets import check_differences
from piwsl_plugins.hosts.nequip import dataset as datasets
from piwsl_plugins.hosts.nequip import geometry, seams
from piwsl_plugins.hosts.nequip.extension import WEAK_FORCES_WEIGHTS
from piwsl_plugins.settings import WEAK_FORCES
from piwsl_plugins.teacher.settings import TeacherSettings
from piwsl_plugins.teacher.teach import teach

_log = RankedLogger(__name__, rank_zero_only=True)


class PiwslDataModule(NequIPDataModule):  # type: ignore[misc]
    """NequIP's data module for any file of energies, with the interface of its ``ASEDataModule``.

    Everything comes in eV and angstrom, and frames may lack labels. Isolated atoms are left out;
    ``atomic_energies: isolated`` of ``EnergyStatisticsManager`` reads them. Test frames that are
    trained on are an error, validation frames a warning. Datasets of NequIP's own (HDF5, its LMDB)
    are given as in its data module, and are not checked.

    Args:
        seed: as in NequIP.
        split_dataset: one mapping or several with ``file_path`` and the parts ``train``, ``val``,
            ``test`` and ``predict`` as counts, which may leave frames over, or fractions.
        transforms: NequIP's.
        labels: keys and units of the labels by the names of :class:`DataSettings`: ``energy``,
            ``forces``, ``weak_forces``, ``energy_unit`` and so on; left out, what the file says.
            With ``low_energy`` the model learns the difference to the cheaper method.
        teacher: settings of the loss's term ``teacher``, by the names of :class:`TeacherSettings`;
            given, even empty, it is the teacher that learns that difference.
        allow_overlap: train although test frames are among the training frames.
        kwargs: ``train_file_path``, ``val_file_path``, ``test_file_path``, ``predict_file_path``:
            one path or several, of what :func:`piwsl_plugins.data.reading.read` reads, of which
            an LMDB database (.aselmdb) is read frame by frame; and those of NequIP's data module.
    """

    def __init__(
        self,
        seed: int,
        split_dataset: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
        transforms: Sequence[Any] = (),
        labels: Mapping[str, Any] | None = None,
        teacher: Mapping[str, Any] | None = None,
        allow_overlap: bool = False,
        **kwargs: Any,
    ) -> None:
        seams.check_version()
        if "key_mapping" in kwargs:
            raise ValueError("data.key_mapping: write labels: {energy: KEY, forces: KEY, ...}")
        settings = DataSettings.from_mapping(dict(labels or {}), datasets.LABELS_BLOCK)
        check_differences(settings, datasets.SPELLING)
        self.piwsl_teacher = TeacherSettings.from_mapping(dict(teacher or {}), "data.teacher")
        self.piwsl_allow_overlap = allow_overlap
        self.piwsl_counts: geometry.Counts | None = None  # of the batch of a training step
        self.piwsl_test: list[Any] | None = None  # the test data, once they were compared
        common = {
            "_target_": f"{datasets.__name__}.{datasets.file_dataset.__name__}",
            "labels": settings.changed(),
            "subtract": teacher is None,
            "transforms": list(transforms),
        }
        splits = [dict(parts) for parts in _listed(split_dataset)]
        kwargs["split_dataset"] = [parts for parts in splits if "file_path" not in parts]
        for stage in ("train", "val", "test", "predict"):
            given = [{"file_path": p} for p in _listed(kwargs.pop(f"{stage}_file_path", ()))]
            for split in (split for split in splits if "file_path" in split and stage in split):
                place = {"file_path": split["file_path"], "part": stage, "seed": seed}
                sizes = {name: size for name, size in split.items() if name != "file_path"}
                given.append({**place, "split": sizes})
            hosts = _listed(kwargs.get(f"{stage}_dataset", ()))
            kwargs[f"{stage}_dataset"] = [*({**common, **own} for own in given), *hosts]
        super().__init__(seed=seed, **kwargs)

    def setup(self, stage: str) -> None:
        """Make the datasets of a stage; those of training are compared with the others once."""
        super().setup(stage)
        if stage != "fit" or self.piwsl_test is not None:
            return
        loader, total = self.train_dataloader_config, len(self.train_dataset[0])
        if loader.get("drop_last") and loader.get("batch_size", 1) > total:
            raise DataError(
                f"data.train_dataloader: batch_size {loader['batch_size']} with drop_last leaves "
                f"no batch of the {total} training frames; make it smaller"
            )
        self.piwsl_test = list(instantiate(self.test_dataset_config))
        for name, others in (("validation", self.val_dataset), ("test", self.piwsl_test)):
            try:
                check_no_overlap(_frames(self.train_dataset), _frames(others), ("training", name))
            except DataError as error:
                if name == "test" and not self.piwsl_allow_overlap:
                    raise DataError(f"{error}; or set data.allow_overlap: true") from None
                _log.warning(f"{error}")

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Count atoms and pairs while the batch is on the CPU, where nothing waits for a device."""
        self.piwsl_counts = geometry.counts_of(batch) if self.trainer.training else None
        return super().on_before_batch_transfer(batch, dataloader_idx)

    def teach(self) -> None:
        """Have the teacher, fitted to the training energies, label the training frames."""
        training = self.train_dataset[0]
        if not isinstance(training, datasets.FrameDataset):
            raise DataError(
                "the term 'teacher' labels the frames of a file, and the training data are a "
                f"{type(training).__name__}; name the file by data.train_file_path"
            )
        if training.count(WEAK_FORCES):
            raise DataError("data.labels.weak_forces contradicts the term 'teacher'; leave it out")
        taught = teach(training.frames, self.piwsl_teacher, _log.info)
        if taught is not None:
            training.frames, known = taught, np.array([WEAK_FORCES in f.labels for f in taught])
            training.has |= {WEAK_FORCES: known, WEAK_FORCES_WEIGHTS: known}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the random streams of a checkpoint: NequIP has made its own before."""
        super().load_state_dict(state_dict)
        for name in ("train_generator", "generator"):
            if hasattr(self, name):
                getattr(self, name).set_state(getattr(self, f"{name}_state"))


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, str | Mapping) else list(given)


def _frames(parts: Sequence[Any]) -> list[Frame]:
    return [f for part in parts if isinstance(part, datasets.FrameDataset) for f in part.frames]
