"""NequIP (and Allegro): the extension that ``import nequip`` loads, and what configs point at.

NequIP imports this module in the middle of its own import, so that nothing of NequIP is imported
here; the classes below are looked up when a config names them.
"""

from __future__ import annotations

import importlib
from typing import Any

from piwsl_plugins.hosts.nequip import extension

_PUBLIC = {
    "PiwslASEDataModule": "data",
    "PiwslDataModule": "data",
    "PiwslFilesDataModule": "files_module",
    "FileDataset": "files",
    "PartialLabelsASEDataset": "data",
    "EnergyStatisticsManager": "statistics",
    "PiwslLoss": "loss",
    "PiwslTerm": "metrics",
    "MaskedMeanSquaredError": "metrics",
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
