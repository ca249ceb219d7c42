"""NequIP and Allegro: what ``import nequip`` loads, and what configs point at.

NequIP imports this module in the middle of its own import, so that the classes below are looked up
only when a config names them.
"""

from __future__ import annotations

import importlib
from typing import Any

from piwsl_plugins.hosts.nequip import extension

_PUBLIC = {
    "PiwslDataModule": "datamodule",
    "FrameDataset": "dataset",
    "EnergyStatisticsManager": "statistics",
    "PiwslLoss": "loss",
    "PiwslTerm": "loss",
    "MaskedMeanSquaredError": "loss",
    "PiwslLightningModule": "module",
    "PiwslEMALightningModule": "module",
    "PiwslScheduleFreeLightningModule": "module",
    "PiwslConFIGLightningModule": "module",
    "PiwslEMAConFIGLightningModule": "module",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


extension.register()
