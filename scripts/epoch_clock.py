"""A callback for nequip-train that writes down when each epoch ended."""

from __future__ import annotations

import time
from pathlib import Path

from lightning.pytorch.callbacks import Callback


class EpochClock(Callback):  # type: ignore[misc]
    """Writes one line at the start of the training and one after each epoch: the clock, seconds.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def _tell(self) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{time.time():.4f}\n")

    def on_train_start(self, *_: object) -> None:
        """After the sanity check, before the first epoch."""
        self._tell()

    def on_train_epoch_end(self, *_: object) -> None:
        """After the epoch's validation."""
        self._tell()
