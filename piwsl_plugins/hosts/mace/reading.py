"""MACE's loading of a head's data: every file through this package's one reading."""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import BoundArguments
from pathlib import Path
from typing import Any

import h5py
from ase.data import chemical_symbols

from piwsl_plugins.data.atomic_energies import (
    FITS,
    ISOLATED,
    atomic_energies,
    parse_energies,
)
from piwsl_plugins.data.checks import check_displacement, check_no_overlap, find_overlaps, listed
from piwsl_plugins.data.frames import TARGETS, DataError, Frame
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.targets import check_differences, differences, split_isolated
from piwsl_plugins.hosts.mace import flags, run
from piwsl_plugins.hosts.mace.geometry import WEAK, WEAK_WEIGHTS
from piwsl_plugins.hosts.mace.run import Run
from piwsl_plugins.settings import WEAK_FORCES
from piwsl_plugins.teacher.settings import TeacherSettings
from piwsl_plugins.teacher.teach import teach

HDF5 = (".h5", ".hdf5")
FROM_MODEL = ("foundation", "estimated")
"""Choices of E0s that MACE takes from a foundation model."""


def wrap_check(_: Run, wrapped: Callable[..., Any], call: BoundArguments) -> Any:
    """Let MACE treat the files that this package reads as it treats extxyz."""
    path = call.arguments["filename"]
    if path is None:
        return wrapped(path)
    with run.plain_errors():
        # MACE joins several LMDB files by colons
        if not Path(path).exists() and not all(Path(p).exists() for p in str(path).split(":")):
            raise DataError(f"--train_file, --valid_file or --test_file {path}: no such file")
        if Path(path).suffix in HDF5 and Path(path).is_file():
            with h5py.File(path, "r") as file:  # MACE's own, or of ANI's or SPICE's layout
                return not any(name.startswith("config_batch_") for name in file)
        return wrapped(path)


def wrap_get(active: Run, wrapped: Callable[..., Any], call: BoundArguments) -> Any:
    """Read a head's files; MACE's replay data are left to MACE."""
    if call.arguments["no_data_ok"] or call.arguments["head_name"] == "pt_head":
        return wrapped(*call.args, **call.kwargs)
    with run.plain_errors():
        return _Head(active, call.arguments).load()


def check_distances(active: Run, frames: Iterable[Frame]) -> None:
    """Refuse displacements beyond half the shortest interatomic distance."""
    if active.terms and not active.settings.allow_large_displacement:
        check_displacement(
            frames,
            active.settings.longest_displacement,
            "--piwsl_max_displacement",
            "--piwsl_allow_large_displacement",
        )


def _point_out(train: Sequence[Frame], valid: Sequence[Frame], test: Sequence[Frame]) -> None:
    """Warn of errors that will look better or worse than they are."""
    shared = [f"{frame.name} is {first.name}" for frame, first in find_overlaps(train, valid)]
    if shared:
        logging.warning(
            f"PIWSL: {len(shared)} of {len(valid)} validation frames are training frames as well, "
            f"so that the validation loss is too good (frames counted from 0):{listed(shared)}"
        )
    if not all("energy" in frame.labels for frame in (*train, *valid, *test)):
        logging.warning(
            "PIWSL: some frames have no energy: MACE's errors per atom count them as if it were "
            "0 eV; --error_table TotalRMSE leaves them out"
        )


class _Head:
    """One of MACE's heads and the reading of its files, by the arguments of MACE's own function."""

    def __init__(self, active: Run, call: Mapping[str, Any]) -> None:
        self._run, self._call = active, call
        self._options = active.head(call["head_name"])
        self._settings = flags.data_settings(active.args, self._options, call["key_specification"])
        if not active.teaches:
            check_differences(self._settings, flags.SPELLING)
        self._choice = choice = str(self._options["E0s"] or "").strip()
        # energies of the free atoms that the user gave, for the check of units
        known = parse_energies(choice) if ":" in choice else None
        self._known_energies = None if self._settings.low_energy else known

    def load(self) -> tuple[Any, dict[int, float] | None]:
        """MACE's configurations of all sets, and the energies of the atoms."""
        from mace.data import test_config_types
        from mace.tools.scripts_utils import SubsetCollection

        whole = self._read("train_path")
        isolated, rest = split_isolated(whole)
        keeps = bool(self._call["keep_isolated_atoms"])
        train, valid = self._split(self._labelled(whole if keeps else rest, training=True))
        test = self._labelled(self._read("test_path"))
        elements = self._elements(train, valid, test)
        check_no_overlap(train, test)
        _point_out(train, valid, test)
        check_distances(self._run, train)
        # its energies are those of the training frames: none of the validation's enters
        energies = self._atomic_energies(isolated, split_isolated(train)[1], elements)
        if self._run.teaches:
            settings = flags.settings_of(self._run.args, TeacherSettings)
            taught = teach(train, settings, lambda text: logging.info(f"PIWSL: {text}"))
            self._run.has_weak_forces |= taught is not None
            train = taught or train
        for frame in train:
            self._run.counts.update(["frames", *frame.labels])
        if not self._run.args.multiheads_finetuning:  # MACE's replay data have forces
            self._run.choose_defaults(*flags.LEARNS)
        self._check_batch_size()
        collections = SubsetCollection(
            train=[self._configuration(frame, training=True) for frame in train],
            valid=[self._configuration(frame) for frame in valid],
            tests=test_config_types([self._configuration(frame) for frame in test]),
        )
        return collections, energies

    def _read(self, which: str) -> list[Frame]:
        """All frames of the files of one set, with what the model is to learn."""
        frames: list[Frame] = []
        paths = self._call[which] or []
        for path in [paths] if isinstance(paths, str) else paths:
            found = read(
                path,
                self._settings,
                spelling=flags.SPELLING,
                default_keys=flags.default_keys(self._run.args),
                needs_energies=which == "train_path",
                atomic_energies=self._known_energies,
            )
            logging.info(f"PIWSL: {found.summary}")
            for remark in found.remarks:
                logging.warning(f"PIWSL: {remark}")
            self._run.keys.update(found.keys)
            frames += found.frames
        learns_differences = self._settings.low_energy and not self._run.teaches
        return differences(frames) if learns_differences else frames

    def _labelled(self, frames: Sequence[Frame], *, training: bool = False) -> list[Frame]:
        """The frames with labels, and those that were given for the terms or the teacher."""
        targets = {name for name in TARGETS if training or name != WEAK_FORCES}
        acts = training and bool(self._run.terms or self._run.teaches)
        kept = [
            frame
            for frame in frames
            if targets & frame.labels.keys() or (acts and not frame.source.endswith(HDF5))
        ]
        if len(kept) < len(frames):
            logging.info(
                f"PIWSL: {len(frames) - len(kept)} of {len(frames)} frames of {frames[0].source} "
                "have none of the labels that are read, and are left out"
            )
        return kept

    def _split(self, frames: list[Frame]) -> tuple[list[Frame], list[Frame]]:
        """Training and validation frames, by file or by MACE's own random split."""
        from mace.data import random_train_valid_split

        call, fraction, valid = self._call, self._call["valid_fraction"], []
        if call["valid_path"]:
            valid = self._read("valid_path")
        elif fraction is None or not 0.0 < fraction < 1.0:
            raise ValueError(
                f"--valid_fraction: got {fraction}, expected a number between 0 and 1, or "
                "--valid_file"
            )
        elif len(frames) > 1:
            frames, valid = random_train_valid_split(
                frames, fraction, call["seed"], call["work_dir"], call["prefix"]
            )
        valid = self._labelled(valid)
        if not frames or not valid:
            which = "validation" if frames else "training"
            raise DataError(
                f"there are no {which} frames with a label that is read; give more frames, or "
                "--valid_file"
            )
        return frames, valid

    def _elements(
        self, train: Sequence[Frame], valid: Sequence[Frame], test: Sequence[Frame]
    ) -> set[int]:
        """Atomic numbers that the model is to know; a frame with another one is refused."""
        given = self._options["atomic_numbers"]
        known = set(ast.literal_eval(given) if isinstance(given, str) else given or ())
        why = f"--atomic_numbers {given} does not list"
        if not known:
            known = {int(z) for frame in (*train, *valid) for z in frame.atoms.numbers}
            why = "no training or validation frame has: the model will not know it"
        if self._options["statistics_file"] or self._run.args.foundation_model:
            return known  # whose elements MACE adds
        for frame in (*train, *valid, *test):
            missing = sorted({int(z) for z in frame.atoms.numbers} - known)
            if missing:
                raise DataError(
                    f"{frame.name} has {', '.join(chemical_symbols[z] for z in missing)}, which "
                    f"{why}; remove such frames"
                )
        return known

    def _atomic_energies(
        self, isolated: Sequence[Frame], train: Sequence[Frame], elements: set[int]
    ) -> dict[int, float] | None:
        """The energies of the atoms, or None where MACE takes them from elsewhere."""
        named = self._choice.lower()
        choice: Any = named if named in (ISOLATED, *FITS) else self._choice
        marked = any(f.atoms.info.get("config_type") == "IsolatedAtom" for f in isolated)
        if marked or (not named and isolated):
            choice = ISOLATED  # which MACE takes before --E0s
        elif self._options["statistics_file"] or named in FROM_MODEL:
            return None
        elif not named:
            raise DataError(
                "no reference energies of atoms (E0s): the training files have no isolated atoms, "
                "and --E0s is not given; give '{H: -13.6, O: -2041.8}' (eV), or 'average', "
                "a least-squares fit"
            )
        elif named.endswith(".json"):
            choice = json.loads(Path(choice).read_text(encoding="utf-8"))
        logging.info(f"PIWSL: reference energies of atoms (E0s): {choice}")
        return atomic_energies(
            choice,
            train,
            isolated,
            elements,
            tell=lambda text: logging.warning(f"PIWSL: {text}"),
        )

    def _check_batch_size(self) -> None:
        """Refuse batches that the frames of all heads do not fill once: MACE leaves them out."""
        args, total = self._run.args, self._run.counts["frames"]
        heads = [*(args.heads or {})]
        is_whole = heads[-1:] in ([], [self._call["head_name"]]) and "pt_head" not in heads
        if is_whole and total < args.batch_size and not args.distributed:
            raise DataError(
                f"--batch_size {args.batch_size} is more than the {total} training frames: no "
                f"batch could be made; use --batch_size {total} or less"
            )

    def _configuration(self, frame: Frame, *, training: bool = False) -> Any:
        """A frame as MACE's ``Configuration``."""
        from mace.data import config_from_atoms

        keys, atoms, labels = self._call["key_specification"], frame.atoms.copy(), frame.labels
        for name in labels.keys() & {"energy", "stress"}:
            atoms.info[keys.info_keys[name]] = labels[name]
        if "stress" in labels and self._run.settings.base_loss == "virials":
            atoms.info[keys.info_keys["virials"]] = -atoms.get_volume() * labels["stress"]
        if "forces" in labels:
            atoms.arrays[keys.arrays_keys["forces"]] = labels["forces"]
        config = config_from_atoms(
            atoms,
            key_specification=keys,
            config_type_weights=self._call["config_type_weights"],
            head_name=self._call["head_name"],
        )
        config.piwsl_training = training
        if training and WEAK_FORCES in labels:
            config.properties[WEAK] = labels[WEAK_FORCES]
            config.properties[WEAK_WEIGHTS] = labels.get("weak_forces_weights")
        return config
