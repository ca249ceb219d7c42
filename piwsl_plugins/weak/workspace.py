"""Where the stages of ``piwsl weak train`` read and write, and the programs that they run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piwsl_plugins import cli
from piwsl_plugins.evaluation.jobs import check_environment
from piwsl_plugins.evaluation.paths import environments
from piwsl_plugins.training.mace_runs import MaceRun
from piwsl_plugins.training.nequip_runs import NequipRun
from piwsl_plugins.training.runs import ONE_THREAD, Run
from piwsl_plugins.weak.low_level import LowLevel
from piwsl_plugins.weak.processes import cores
from piwsl_plugins.weak.settings import HOSTS, WeakSettings


class StageFailedError(Exception):
    """A program of a stage has ended with an error that it has told already."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Settings, folder and programs.

    Attributes:
        settings: The whole config.
        config: The file that it came from.
        words: How ``piwsl weak train`` was called, for stages that it does itself.
        python: The Python that has the host.
    """

    settings: WeakSettings
    config: Path
    words: tuple[str, ...]
    python: Path

    @property
    def root(self) -> Path:
        """Folder of everything that is made."""
        return Path(self.settings.output)

    def path(self, stage: str, name: str = "") -> Path:
        """A stage's folder, or a file in it."""
        return self.root / stage / name if name else self.root / stage

    @property
    def low(self) -> LowLevel:
        """The cheap method."""
        block = self.settings.low_level
        return LowLevel(
            method=block.method,
            arguments=dict(block.arguments),
            charge=block.charge,
            multiplicity=block.multiplicity,
        )

    @property
    def processes(self) -> int:
        """Processes that label and sample side by side."""
        return self.settings.processes or cores()

    def program(self, name: str) -> str:
        """A program as a user types it: its name alone where it is that of this environment."""
        return name if self._is_here else str(self.python.parent / name)

    def weak(self, command: str, *words: str) -> list[str]:
        """Words of a ``piwsl weak`` command."""
        return [self.program("piwsl"), "weak", command, *words]

    def itself(self, stage: str) -> list[str]:
        """The command of a stage that ``piwsl weak train`` does in its own process."""
        return ["piwsl", "weak", "train", *self.words, "--until", stage]

    @property
    def _is_here(self) -> bool:
        """Whether the host's Python is the one that runs this."""
        return self.python.parent == Path(sys.executable).parent

    def call(self, command: Sequence[str]) -> None:
        """Run a ``piwsl`` command, in the host's environment; it tells its progress itself.

        Raises:
            StageFailedError: It has ended with an error, and told it.
        """
        quiet = command[1] == "evaluate"  # its table is shown in a shorter form
        sys.stdout.flush()
        if self._is_here:
            with (
                open(os.devnull, "w") as nothing,
                redirect_stdout(nothing if quiet else sys.stdout),
            ):
                status = cli.main(list(command[1:]))
        else:
            arguments = [str(self.python), "-m", "piwsl_plugins", *command[1:]]
            output = subprocess.DEVNULL if quiet else None
            status = subprocess.run(arguments, stdout=output).returncode
        if status > 128:  # the signal that ended it
            raise KeyboardInterrupt(status - 128)
        if status != 0:
            hint = "; its options are the keys of low_level here" * (command[2] == "label")
            raise StageFailedError(
                f"this command has ended with status {status}{hint}:\n  {shlex.join(command)}"
            )

    def run(self, label: str, config: Path, epochs: int, *, threads: int) -> Run:
        """A training that the host's command does in a folder beside its config, or goes on with.

        Args:
            label: What people call it, and its folder.
            config: File with the host's settings.
            epochs: Number of epochs, for the progress.
            threads: Threads that it may use.
        """
        folder = config.parent / label
        arguments = [str(config)] if self.settings.host == "nequip" else ["--config", str(config)]
        checkpoint = folder / "last.ckpt"
        if self.settings.host == "nequip" and checkpoint.is_file():
            arguments.append(f"++ckpt_path={checkpoint}")
        kind = MaceRun if self.settings.host == "mace" else NequipRun
        return kind(
            label=label,
            arguments=arguments,
            folder=folder,
            root=Path(),
            epochs=epochs,
            programs=self.python.parent,
            variables=dict.fromkeys(ONE_THREAD, str(threads)),
            resume=True,
        )


def open_workspace(settings: WeakSettings, config: Path, words: Sequence[str]) -> Workspace:
    """Find the host.

    Raises:
        ValueError: There is no such environment, or it has no host, or another version of this
            package, or no GPU where one is wanted.
    """
    python = Path(sys.executable)
    if settings.environment is not None:
        named = environments([f"{settings.host}={settings.environment}"])
        python = Path(named[HOSTS[settings.host]])
    check_environment(str(python), HOSTS[settings.host])
    program = "mace_run_train" if settings.host == "mace" else "nequip-train"
    if not (python.parent / program).exists():
        raise ValueError(f"{python.parent / program}: there is no such program")
    if settings.device == "cuda":
        look = [str(python), "-c", "import torch; print(torch.cuda.is_available())"]
        if subprocess.run(look, capture_output=True, text=True).stdout.strip() != "True":
            raise ValueError(f"device: cuda, and the torch of {python} finds no GPU; write cpu")
    return Workspace(settings, config, tuple(words), python)


def epochs_of(host: str, config: dict[str, Any]) -> int:
    """Epochs of a host's config, for the progress; MACE's default where none are named."""
    if host == "mace":
        return int(config.get("max_num_epochs", 2048))
    return int(config.get("trainer", {}).get("max_epochs") or 1000)
