"""Reads a head's files through our readers, and looks at every frame once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.isolated import CONFIG_TYPE, IsolatedAtoms, is_isolated
from piwsl_plugins.data.progress import watched
from piwsl_plugins.data.readers import DataError, Source
from piwsl_plugins.data.readers.per_process import PerProcess
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.targets import TARGETS, names_in, targets
from piwsl_plugins.fields import unknown_name
from piwsl_plugins.hosts.mace.flags import DATA_FLAGS, PREFIX
from piwsl_plugins.hosts.mace.frames import (
    DEFAULT_TYPE,
    Frames,
    Part,
    Translation,
)
from piwsl_plugins.hosts.mace.geometry import WEAK
from piwsl_plugins.hosts.mace.run import Run
from piwsl_plugins.hosts.mace.scan import Scan, counts_of
from piwsl_plugins.hosts.mace.sources import check_plausible, open_file, settings_of


class Head:
    """What a run knows of one of MACE's heads.

    Attributes:
        name: its name.
        options: its entry of ``--heads``.
        config: MACE's ``HeadConfig``, once MACE has made it.
        scan: the frames that were looked at.
        isolated: energies of isolated atoms in the training files.
    """

    def __init__(self, run: Run, name: str) -> None:
        self.run = run
        self.name = name
        self.options: Mapping[str, Any] = {}
        self.config: Any = None
        self.scan = Scan()
        self.isolated = IsolatedAtoms()

    def settings(self, key_specification: Any) -> DataSettings:
        """Keys and units of the head's files; flags do not reach MACE's replay data."""
        if self.name != "pt_head":
            return settings_of(self.run.args, self.options, key_specification)
        return DataSettings(
            energy=key_specification.info_keys.get("energy"),
            forces=key_specification.arrays_keys.get("forces"),
            stress=key_specification.info_keys.get("stress"),
        )

    @property
    def E0s(self) -> str | None:  # noqa: N802  (MACE's name)
        """What the user asks the atoms' energies to be."""
        given = self.options.get("E0s", self.run.args.E0s)
        return given if given is None or isinstance(given, str) else str(given)

    def lone_atoms(self, block: Block) -> Any:
        """Which frames give an atom's energy: those marked, and any lone atom if none are given."""
        if self.E0s is None or self.E0s.strip().lower() == "isolated":
            return is_isolated(block)
        kinds = block.info.get("config_type", [""] * len(block))
        marked = np.array([kind == CONFIG_TYPE for kind in kinds], dtype=bool)
        return marked & is_isolated(block)


def open_checked(head: Head, path: str, key_specification: Any, *, training: bool) -> Source:
    """Open one of a head's files, and check that its units are likely.

    Raises:
        ValueError: a broken file, an energy that is not there, units that look wrong.
    """
    source = open_file(path, head.settings(key_specification), training=training)
    if head.name != "pt_head":
        check_plausible(source, head.E0s)
    return source


def read_file(
    head: Head,
    source: Source,
    translation: Translation,
    *,
    training: bool,
    keep_isolated: bool,
    keep: Callable[[Block, Any], None] | None = None,
) -> Frames:
    """Look at every frame of a file.

    Args:
        head: the head that it belongs to.
        source: the file, as :func:`open_checked` opens it.
        translation: how frames become MACE's.
        training: whether it is a training file.
        keep_isolated: whether isolated atoms are trained on as well.
        keep: called with each block that stays, and its frames' numbers; where it is given, frames
            without labels stay.

    Returns:
        The frames that stay.

    Raises:
        ValueError: no frame with an energy; labels or a file that cannot be read.
    """
    if training:
        head.run.names.update(names_in(source))
    collected = _Collected()
    for block in watched(source.blocks(), f"looking at {source.path.name}", len(source)):
        lone = head.lone_atoms(block)
        if training and lone.any():
            head.isolated.add(block)
        if training and not keep_isolated:
            block = block.take(np.flatnonzero(~lone))
        if not len(block):
            continue
        block = targets(block)
        has = np.stack([block.has(label) for label in TARGETS], axis=1)
        stays: Any = np.ones(len(block), dtype=bool) if keep else has.any(axis=1)
        collected.left_out += int(np.count_nonzero(~stays))
        block = block.take(stays)
        if not len(block):
            continue
        numbers = head.scan.add(block)
        collected.add(block, numbers, has[stays])
        if training:
            head.run.look_at_distances(head.scan, block)
        if keep:
            keep(block, numbers)
    if training and head.scan.closest is not None:
        head.run.check_displacement([head.scan.closest[1]])
    frames = collected.frames((Part(PerProcess(source), translation),))
    _report(head, source, frames, collected.left_out, training)
    return frames


class _Collected:
    """The columns of :class:`Frames`, block by block."""

    def __init__(self) -> None:
        self.left_out = 0
        self._places: list[Any] = []
        self._numbers: list[Any] = []
        self._has: list[Any] = []
        self._types: list[Any] = []

    def add(self, block: Block, numbers: Any, has: Any) -> None:
        types = [kind or DEFAULT_TYPE for kind in block.info.get("config_type", [""] * len(block))]
        self._places.append(block.places)
        self._numbers.append(numbers)
        self._has.append(has)
        self._types.append(np.array(types, dtype=object))

    def frames(self, parts: tuple[Part, ...]) -> Frames:
        places = np.concatenate([np.zeros(0, dtype=np.int64), *self._places])
        return Frames(
            parts=parts,
            part=np.zeros(len(places), dtype=np.int64),
            place=places,
            number=np.concatenate([np.zeros(0, dtype=np.int64), *self._numbers]),
            has=np.concatenate([np.zeros((0, len(TARGETS)), dtype=bool), *self._has]),
            config_type=np.concatenate([np.zeros(0, dtype=object), *self._types]),
        )


def _report(head: Head, source: Source, frames: Frames, left_out: int, training: bool) -> None:
    path = source.path
    counts = counts_of(frames.has)
    weak = int(frames.has[:, TARGETS.index("weak_forces")].sum())
    if left_out:
        energy = source.settings.energy or "the only energy in the file"
        labels = ", ".join(({"energy": energy} | source.settings.keys).values())
        logging.info(
            f"PIWSL: {path}: {left_out} of {left_out + len(frames)} frames have none of the labels "
            f"that are read ({labels}) and are left out"
        )
    if source.settings.low_energy:
        lost = "" if source.settings.low_forces else "; forces and stress are not read"
        logging.info(
            f"PIWSL: {path}: the model learns the difference {source.settings.energy!r} minus "
            f"{source.settings.low_energy!r}; a frame that lacks one of them has no label{lost}"
        )
    if not training:
        return
    if not counts.energies:
        raise DataError(
            f"{path}: no frame has an energy under --energy_key {source.settings.energy!r}; the "
            f"keys in the file are {', '.join(sorted(names_in(source))) or 'none'}"
        )
    head.run.counts.add(counts)
    head.run.weak_frames += weak
    logging.info(
        f"PIWSL: {path}: {counts.frames} training frames, {counts.energies} with energies, "
        f"{counts.forces} with forces"
        + (f", {weak} with weak forces" if head.run.has_weak_forces else "")
        + "; a missing label has no weight"
    )


def read_at_once(head: Head, source: Source, translation: Translation, **options: Any) -> list[Any]:
    """The same, as a list of MACE's configurations; frames without labels stay."""
    configs: list[Any] = []

    def keep(block: Block, numbers: Any) -> None:
        for i in range(len(block)):
            config = translation.configuration(block, i)
            remember(config, str(source.path), int(numbers[i]))
            configs.append(config)

    read_file(head, source, translation, keep=keep, **options)
    return configs


def remember(config: Any, path: str, number: int) -> None:
    """Note on one of MACE's configurations which frame it is, by its number in the scan."""
    config.piwsl_source, config.piwsl_number = path, number


def frames_of(configs: Sequence[Any], translation: Translation) -> Frames:
    """MACE's configurations, which were read, as frames."""
    names = [WEAK if label == "weak_forces" else label for label in TARGETS]
    known = [[has_label(config, name) for name in names] for config in configs]
    return Frames(
        parts=(Part(configs, translation),),
        part=np.zeros(len(configs), dtype=np.int64),
        place=np.arange(len(configs)),
        number=np.array([getattr(c, "piwsl_number", -1) for c in configs], dtype=np.int64),
        has=np.array(known, dtype=bool).reshape(-1, len(TARGETS)),
        config_type=np.array([c.config_type for c in configs], dtype=object),
    )


def has_label(config: Any, name: str) -> bool:
    """Whether one of MACE's configurations has a label that counts."""
    known = config.properties.get(name) is not None
    return bool(known and np.max(config.property_weights.get(name, 0.0)) > 0)


def check_options(head: Head) -> None:
    """Refuse options of ``--heads`` that look like ours and are not.

    Raises:
        ValueError: names the option, and the nearest that there is.
    """
    known = [PREFIX + name for name in DATA_FLAGS]
    for name in head.options:
        if str(name).startswith(PREFIX) and name not in known:
            raise ValueError(f"--heads, {head.name}: {unknown_name(str(name), known, 'option')}")
