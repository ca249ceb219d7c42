"""Commands of a LAMMPS input file, and those that name this package's potential."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STYLE = "piwsl"
USAGE = (
    f"write 'pair_style {STYLE}' and 'pair_coeff * * MODEL ELEMENT ...' with the element of each "
    f"atom type and quotes around a path with spaces, or 'pair_style {STYLE}' alone with --model "
    "and --types on the command line"
)
FORCE_SETTING = (
    "aveforce", "freeze", "lineforce", "planeforce", "rattle", "rigid", "setforce", "shake"
)  # fmt: skip
"""Fixes that act on the forces so far: before the potential they would miss its forces."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or several with a loop in them: the last one's line, from 1, and the text."""

    line: int
    text: str

    @property
    def words(self) -> tuple[str, ...]:
        """Words of a command; what stands in quotes is one word, and a comment is none."""
        lexer = shlex.shlex(re.sub(r"&\s*\n", " ", self.text), posix=True)
        lexer.whitespace_split, lexer.escape = True, ""
        try:
            return tuple(lexer)
        except ValueError:  # an apostrophe without a second one, which is LAMMPS's to judge
            return tuple(self.text.split("#", 1)[0].split())


class PotentialCommand(Command):
    """A command that names the potential: a ``pair_coeff``, or a ``pair_style`` alone."""


def _commands(path: Path) -> Iterator[Command]:
    """The commands, each with the lines that it is continued on."""
    gathered = ""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        gathered += line
        unfinished = gathered.count('"""') % 2 or line.rstrip().endswith("&")
        if not unfinished or number == len(lines):
            yield Command(number, gathered)
            gathered = ""


def cut(path: Path) -> list[Command]:
    """Cut an input file into its commands, among them those of the potential.

    Where the file has a loop, all commands between those of the potential are one. A ValueError
    says that there is no such file, or that it names the potential wrongly or not at all.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise ValueError(f"{path}: {what}; expected a LAMMPS input file")
    commands, found, ours, too_early = list(_commands(path)), list[Command](), False, ""
    names = [(command.words or ("",))[0] for command in commands]
    has_loop = any(re.search(r"\bjump\b", command.text) for command in commands)
    for index, (command, name) in enumerate(zip(commands, names, strict=True)):
        words, where = command.words, f"{path}, line {command.line}"
        if name == "fix" and len(words) > 3 and words[3].startswith(FORCE_SETTING):
            too_early = f"'fix {words[1]} ... {words[3]}' of line {command.line}"
        if name == "pair_style":
            ours = STYLE in words
        if not ours or name not in ("pair_style", "pair_coeff"):
            if has_loop and found and type(found[-1]) is Command:
                command = Command(command.line, found.pop().text + command.text)
            found.append(command)
            continue
        if name == "pair_style":
            if words[1] != STYLE:
                what = f"'{STYLE}' cannot be part of another pair style"
                raise ValueError(f"{where}: {what}; {USAGE}")
            if len(words) > 2:
                raise ValueError(f"{where}: 'pair_style {STYLE}' takes nothing after it; {USAGE}")
            later = [n for n in names[index + 1 :] if n in ("pair_style", "pair_coeff")]
            if later[:1] == ["pair_coeff"]:
                continue
        elif words[1:3] != ("*", "*") or len(words) < 5:
            raise ValueError(f"{where}: '{' '.join(words)}' is not understood; {USAGE}")
        if too_early:
            what = "stands before the potential and would act before its forces are there"
            raise ValueError(f"{where}: {too_early} {what}; put the potential first")
        found.append(PotentialCommand(command.line, command.text))
    if not any(isinstance(command, PotentialCommand) for command in found):
        what = f"no line says 'pair_style {STYLE}' (files that it includes are not searched)"
        raise ValueError(f"{path}: {what}; {USAGE}")
    return found
