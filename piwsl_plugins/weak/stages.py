"""Stages of a long piece of work: each in a folder, done once, anew where its input changed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from piwsl_plugins.weak.files import digest_of_file, write_json

RECORD = "stage.json"
STARTED, DONE = "started", "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage.

    Attributes:
        name: Of its folder.
        title: For people.
        folder: Where it writes.
        settings: All that it depends on beside files; whatever JSON holds.
        inputs: Files that it reads.
        outputs: Files that it leaves.
        commands: What it runs, as a user would type it.
        work: Does it.
    """

    name: str
    title: str
    folder: Path
    settings: Mapping[str, Any]
    inputs: Sequence[Path]
    outputs: Sequence[Path]
    commands: Sequence[Sequence[str]]
    work: Callable[[], None] = field(repr=False)

    def state(self) -> dict[str, Any]:
        """What it depends on: its settings, and the digests of the files that it reads."""
        files = {_name(path, self.folder): digest_of_file(path) for path in self.inputs}
        settings: dict[str, Any] = json.loads(json.dumps(self.settings))
        return {"settings": settings, "files": files}


def _name(path: Path, folder: Path) -> str:
    """Name of a file that stays the same where all folders are moved together."""
    root = folder.resolve().parent
    path = path.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


class Runner:
    """Runs stages one after the other.

    Args:
        say: Told of every stage, in a line or two.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say = say
        self._number = 0

    def run(self, stage: Stage) -> bool:
        """Do a stage, unless it is done and nothing that it depends on has changed.

        Returns:
            Whether anything was done.

        Raises:
            ValueError: It has not left what it should.
        """
        if not self.begin(stage):
            return False
        stage.work()
        self.finish(stage)
        return True

    def begin(self, stage: Stage) -> bool:
        """Make a stage's folder ready.

        What an earlier run has left there is used where it was killed in the midst of the same
        work, and moved aside, never deleted, where its input has changed.

        Returns:
            Whether there is something to do.
        """
        self._number += 1
        state = stage.state()
        earlier = _read(stage.folder / RECORD)
        same = earlier.get("state") == state
        title = f"{self._number}. {stage.title}"
        if same and earlier["progress"] == DONE and _intact(earlier, stage.folder):
            self.say(f"{title}: there already ({stage.folder})")
            return False
        self.say(title)
        if same and earlier["progress"] == STARTED:
            self.say(f"   goes on with what is in {stage.folder}")
        elif stage.folder.exists():
            self._move_aside(stage, earlier, state)
        for command in stage.commands:
            self.say(f"   {shlex.join(command)}")
        stage.folder.mkdir(parents=True, exist_ok=True)
        write_json(stage.folder / RECORD, {"progress": STARTED, "state": state})
        return True

    def finish(self, stage: Stage) -> None:
        """Note that a stage is done.

        Raises:
            ValueError: It has not left what it should.
        """
        missing = [str(path) for path in stage.outputs if not path.is_file()]
        if missing:
            raise ValueError(f"{stage.title}: it has ended without {', '.join(missing)}")
        digests = {_name(path, stage.folder): digest_of_file(path) for path in stage.outputs}
        done = {"progress": DONE, "state": stage.state(), "outputs": digests}
        write_json(stage.folder / RECORD, done)

    def _move_aside(
        self, stage: Stage, earlier: Mapping[str, Any], state: Mapping[str, Any]
    ) -> None:
        aside = next(
            path
            for number in count(1)
            if not (path := stage.folder.with_name(f"{stage.folder.name}.old-{number}")).exists()
        )
        stage.folder.rename(aside)
        why = changes(earlier, state) if earlier else "it was not made by this command"
        self.say(f"   the earlier {stage.folder} is now {aside}: {why}")


def changes(earlier: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """What differs between two states, in words."""
    before, found = earlier["state"], []
    for part in ("settings", "files"):
        old, new = before[part], state[part]
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                found.append(f"{key} changed")
    return ", ".join(found) or "what it had left has changed"


def _read(record: Path) -> dict[str, Any]:
    """What an earlier run has said of a stage; nothing where there was none."""
    try:
        content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


def _intact(earlier: Mapping[str, Any], folder: Path) -> bool:
    """Whether the files that a stage has left are there and as it left them."""
    root = folder.resolve().parent
    return all(
        (root / name).is_file() and digest_of_file(root / name) == digest
        for name, digest in earlier["outputs"].items()
    )
