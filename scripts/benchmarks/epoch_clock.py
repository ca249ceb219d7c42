"""A callback for nequip-train that writes down when each epoch ended."""

from __future__ import annotations

import time
from pathlib import Path

from lightning.pytorch.callbacks import Callback


class EpochClock(Callback):  # type: ignore[misc]
    """Writes the clock (s) into a file, a line at the start of the training and after each epoch.

    Args:
        path: the file.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_start(self, *_: object) -> None:
        """After the sanity check, before the first epoch."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{time.time():.4f}\n")

    def on_train_epoch_end(self, *_: object) -> None:
        """After the epoch's validation."""
        self.on_train_start()
