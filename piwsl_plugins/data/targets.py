"""What a model is to learn: the labels, or their differences to a cheaper method's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from piwsl_plugins.data.frames import Frame
from piwsl_plugins.data.settings import DataSettings


def differences(frames: Iterable[Frame]) -> list[Frame]:
    """Frames whose energies and forces are the reference's less the cheaper method's; no others."""
    made = []
    for frame in frames:
        own, left = frame.labels, {}
        for label, low in (("energy", "low_energy"), ("forces", "low_forces")):
            if label in own and low in own:
                left[label] = own[label] - own[low]
        made.append(dataclasses.replace(frame, labels=left))
    return made


def check_differences(
    settings: DataSettings, spelling: Mapping[str, str] = MappingProxyType({})
) -> None:
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
    isolated: list[Frame] = []
    rest: list[Frame] = []
    for frame in frames:
        (isolated if frame.is_isolated_atom else rest).append(frame)
    return isolated, rest
