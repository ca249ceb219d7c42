"""MACE's loading of the data of each head: files of every format, splits, copies."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from piwsl_plugins.data.duplicates import list_copies
from piwsl_plugins.data.readers import DataError
from piwsl_plugins.data.targets import TARGETS
from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.atomic_energies import check_isolated
from piwsl_plugins.hosts.mace.frames import Frames, LazyDataset, Translation
from piwsl_plugins.hosts.mace.reading import Head, check_options, frames_of, open_checked, read_file
from piwsl_plugins.hosts.mace.sources import is_lazy

FILES = ("train_file", "valid_file", "test_file")


def wrap_dict_head_to_dataclass(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Remember MACE's options of a head, and check that its files are there."""
    config = wrapped(*args, **kwargs)
    active = run.active()
    if active is None:
        return config
    call = inspect.signature(wrapped).bind(*args, **kwargs).arguments
    head = active.head(config.head_name)
    head.options, head.config = call["head"], config
    with run.plain_errors():
        check_options(head)
        if head.name != "pt_head":
            for option in FILES:
                for path in _paths(getattr(config, option)):
                    if not Path(path).exists():
                        raise ValueError(f"--{option} {path}: there is no such file")
    return config


def wrap_check_path_ase_read(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Let MACE treat the files that our readers read as it treats extxyz."""
    active = run.active()
    path = args[0] if args else kwargs["filename"]
    if active is not None and path is not None:
        with run.plain_errors():
            if is_lazy(str(path)):
                return True
    return wrapped(*args, **kwargs)


def wrap_get_dataset_from_xyz(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Read a head's files, lazily where there is one of a format that is read so."""
    active = run.active()
    bound = inspect.signature(wrapped).bind(*args, **kwargs)
    bound.apply_defaults()
    call = bound.arguments
    if active is None or call["no_data_ok"]:
        return wrapped(*args, **kwargs)
    head = active.head(call["head_name"])
    options = ("train_path", "valid_path", "test_path")
    paths = [path for name in options for path in _paths(call[name])]
    with run.plain_errors():
        lazy = any(is_lazy(path) for path in paths)
        if not call["valid_path"]:
            _check_fraction(call["valid_fraction"])
    collections, energies = _assemble(head, call) if lazy else wrapped(*args, **kwargs)
    with run.plain_errors():
        energies = _finish(head, collections, energies)
    return collections, energies


def wrap_load_dataset_for_path(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Make MACE's items of lazily read frames when they are asked for."""
    active = run.active()
    bound = inspect.signature(wrapped).bind(*args, **kwargs)
    bound.apply_defaults()
    call = bound.arguments
    frames, config = call["collection"], call["head_config"]
    path = call["file_path"]
    if active is None:
        return wrapped(*args, **kwargs)
    if frames is None and isinstance(path, str) and is_lazy(path):
        # a validation file of ours beside training files that MACE reads in its own way
        with run.plain_errors():
            frames = _read_lazily(active.head(config.head_name), path, config, training=False)
    if not isinstance(frames, Frames):
        return wrapped(*args, **kwargs)
    training = config.collections is not None and frames is config.collections.train
    return LazyDataset(
        frames,
        training=training,
        z_table=call["z_table"],
        cutoff=call["r_max"],
        heads=call["heads"],
    )


def _paths(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(path) for path in value] if isinstance(value, (list, tuple)) else [str(value)]


def _check_fraction(fraction: float | None) -> None:
    if fraction is None or not 0.0 < fraction < 1.0:
        raise ValueError(
            f"--valid_fraction: got {fraction}, expected a number between 0 and 1, or --valid_file"
        )


def _read_lazily(head: Head, path: str, config: Any, *, training: bool) -> Frames:
    from mace.tools.scripts_utils import get_config_type_weights

    weights = get_config_type_weights(config.config_type_weights)
    translation = Translation(config.key_specification, weights, head.name)
    source = open_checked(head, path, config.key_specification, training=training)
    return read_file(head, source, translation, training=training, keep_isolated=not training)


def _assemble(head: Head, call: dict[str, Any]) -> Any:
    """What MACE's function does, with frames instead of lists of configurations."""
    from mace import data
    from mace.tools.scripts_utils import SubsetCollection

    translation = Translation(
        deepcopy(call["key_specification"]), call["config_type_weights"], head.name
    )

    def read(path: str, what: str) -> Frames:
        training = what == "training"
        keep = call["keep_isolated_atoms"] if training else True
        if is_lazy(path):
            with run.plain_errors():
                source = open_checked(head, path, call["key_specification"], training=training)
                return read_file(head, source, translation, training=training, keep_isolated=keep)
        _, configs = data.load_from_xyz(
            file_path=path,
            config_type_weights=call["config_type_weights"],
            key_specification=call["key_specification"],
            extract_atomic_energies=training,
            keep_isolated_atoms=keep if training else False,
            head_name=head.name,
        )
        return frames_of(configs, translation)

    def read_all(paths: Sequence[str], what: str) -> Frames:
        first, *others = [read(path, what) for path in paths]
        for frames in others:
            first = first + frames
        logging.info(f"PIWSL: {what} frames in all: {_contents(first)}")
        return first

    train = read_all(_paths(call["train_path"]), "training")
    if call["valid_path"]:
        valid = read_all(_paths(call["valid_path"]), "validation")
    else:
        train, valid = _split(train, call)
    tests: list[tuple[str, Frames]] = []
    if call["test_path"]:
        test = read_all(_paths(call["test_path"]), "test")
        for kind in dict.fromkeys(test.config_type.tolist()):
            tests.append((f"{kind}_{head.name}", test.take(test.config_type == kind)))
    if head.config is not None and head.config.valid_file is None:
        # MACE makes the items of a split-off validation set at once, those of a file when needed
        head.config.valid_file = list(head.config.train_file)
    with run.plain_errors():
        energies = head.isolated.energies()
    return SubsetCollection(train=train, valid=valid, tests=tests), energies


def _split(frames: Frames, call: dict[str, Any]) -> tuple[Frames, Frames]:
    from mace import data

    if len(frames) < 2:
        with run.plain_errors():
            raise DataError(
                f"{len(frames)} training frames cannot be split into training and validation "
                "frames; give --valid_file"
            )
    parts = data.random_train_valid_split(
        range(len(frames)), call["valid_fraction"], call["seed"], call["work_dir"], call["prefix"]
    )
    train, valid = (frames.take(np.array(part, dtype=np.int64)) for part in parts)
    logging.info(f"PIWSL: training frames after the split: {_contents(train)}")
    logging.info(f"PIWSL: validation frames after the split: {_contents(valid)}")
    return train, valid


def _contents(frames: Frames) -> str:
    counts = frames.has.sum(axis=0).tolist()
    return f"{len(frames)}, with " + ", ".join(
        f"{label.replace('_', ' ')}: {count}" for label, count in zip(TARGETS, counts, strict=True)
    )


def _finish(head: Head, collections: Any, energies: dict[int, float] | None) -> Any:
    """Check what MACE is about to train on, and return the energies of the atoms in it."""
    for name, frames in (("training", collections.train), ("validation", collections.valid)):
        if not len(frames):
            raise ValueError(f"there are no {name} frames with a label that is read")
    train, valid = _numbers(collections.train), _numbers(collections.valid)
    test = np.concatenate([_NONE, *(_numbers(subset) for _, subset in collections.tests)])
    elements = head.scan.elements(np.concatenate([train, valid]))
    config = head.config
    if config is not None and config.atomic_numbers is None and not config.statistics_file:
        if isinstance(collections.train, Frames):
            config.atomic_numbers = str(sorted(elements))
        if elements:
            energies = check_isolated(head, energies, elements)
            _check_test_elements(head, elements, test)
    if head.name != "pt_head":
        _check_copies(head, train, valid, test)
    return energies


_NONE = np.zeros(0, dtype=np.int64)


def _numbers(frames: Any) -> Any:
    if isinstance(frames, Frames):
        return frames.number
    return np.array([getattr(c, "piwsl_number", -1) for c in frames], dtype=np.int64)


def _check_test_elements(head: Head, elements: set[int], test: Any) -> None:
    unknown = sorted(head.scan.elements(test) - elements)
    if unknown and head.run.args.foundation_model is None:
        raise ValueError(
            f"--test_file has {', '.join(chemical_symbols[z] for z in unknown)}, which no training "
            "or validation frame has: the model will not know it; remove those test frames"
        )


def _check_copies(head: Head, train: Any, valid: Any, test: Any) -> None:
    """Refuse test frames that are trained on; point out validation frames that are."""
    shared = head.scan.shared(train, test)
    if len(shared):
        raise ValueError(
            f"{len(shared)} of {len(test)} test frames are training frames as well "
            f"{list_copies(shared, head.scan.name)}\nRemove them from one of the two; "
            "errors on frames that were trained on say nothing about others"
        )
    shared = head.scan.shared(train, valid)
    if len(shared):
        logging.warning(
            f"PIWSL: {len(shared)} of {len(valid)} validation frames are training frames as well, "
            f"so that the validation loss is too good {list_copies(shared, head.scan.name)}"
        )
