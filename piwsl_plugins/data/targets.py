"""What a model is to learn: the labels, or their differences to a cheaper method's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from piwsl_plugins.data.frames import Frame
from piwsl_plugins.data.settings import DataSettings


def differences(frames: Iterable[Frame]) -> list[Frame]:
    """Frames whose energies and forces are the reference's less the cheaper method's; no others."""

    def left(own: Mapping[str, Any]) -> dict[str, Any]:
        pairs = (("energy", "low_energy"), ("forces", "low_forces"))
        return {label: own[label] - own[low] for label, low in pairs if {label, low} <= own.keys()}

    return [dataclasses.replace(frame, labels=left(frame.labels)) for frame in frames]


def check_differences(settings: DataSettings, spelling: Mapping[str, str]) -> None:
    """Raise a ValueError where the keys of differences do not go together."""
    keys = ("low_energy", "low_forces", "weak_forces")
    low, forces, weak = (spelling.get(key, key) for key in keys)
    if settings.low_forces and not settings.low_energy:
        why = "the forces would be differences and the energies not; name both"
        raise ValueError(f"{forces} {settings.low_forces!r} without {low}: {why}")
    if settings.low_energy and settings.weak_forces:
        both = f"{weak} {settings.weak_forces!r} contradicts {low} {settings.low_energy!r}"
        raise ValueError(f"{both}: the model learns a difference, and these are no differences")


def split_isolated(frames: Iterable[Frame]) -> tuple[list[Frame], list[Frame]]:
    """Isolated atoms, which give reference energies alone, and all other frames."""
    every = list(frames)
    rest = [frame for frame in every if not frame.is_isolated_atom]
    return [frame for frame in every if frame.is_isolated_atom], rest
