"""A LAMMPS input file, cut at the lines that name this package's potential."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

STYLE = "piwsl"
USAGE = (
    f"write 'pair_style {STYLE}' and 'pair_coeff * * MODEL ELEMENT ...' with the element of each "
    f"atom type, or 'pair_style {STYLE}' alone with --model and --types on the command line"
)
#: Fixes that act on forces that are there already; before the potential they would miss its own.
FORCE_SETTING = (
    "aveforce",
    "freeze",
    "lineforce",
    "planeforce",
    "rattle",
    "rigid",
    "setforce",
    "shake",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the potential stands in the file.

    Attributes:
        line: Number of the line, from 1.
        coefficients: What follows ``pair_coeff * *``, or None for a ``pair_style`` alone.
    """

    line: int
    coefficients: str | None


@dataclass(frozen=True, slots=True)
class _Command:
    line: int
    text: str
    words: tuple[str, ...]


def cut(path: Path) -> list[str | Place]:
    """Cut an input file into text that LAMMPS reads and the potential between.

    Args:
        path: The input file.

    Raises:
        ValueError: There is no such file, or it names the potential wrongly or not at all.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise ValueError(f"{path}: {what}; expected a LAMMPS input file")
    commands = list(_commands(path.read_text(encoding="utf-8")))
    parts: list[str | Place] = [""]
    ours = False
    for number, command in enumerate(commands):
        name, where = command.words[:1], f"{path}, line {command.line}"
        if name == ("pair_style",):
            ours = _is_ours(command.words, where)
            here = None if not ours or _coefficients_follow(commands[number + 1 :]) else ""
        elif name == ("pair_coeff",) and ours:
            here = _coefficients(command.words, where)
        else:
            here = None
        if here is not None:
            _refuse_earlier_fixes(commands[:number], where)
            parts += [Place(command.line, here or None), ""]
        elif not (ours and name == ("pair_style",)):
            parts[-1] = f"{parts[-1]}{command.text}"
    if len(parts) == 1:
        raise ValueError(
            f"{path}: no line says 'pair_style {STYLE}' (files that it includes are not searched); "
            f"{USAGE}"
        )
    return [part for part in parts if part]


def _commands(text: str) -> Iterator[_Command]:
    """Commands with the lines that they are continued on, by & or within triple quotes."""
    gathered = ""
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        gathered += line
        if gathered.count('"""') % 2 or line.rstrip().endswith("&"):
            continue
        yield _Command(number, gathered, _words(gathered))
        gathered = ""
    if gathered:
        raise ValueError(f"the last command of the input file is not complete: {gathered.strip()}")


def _words(text: str) -> tuple[str, ...]:
    """Words of a command, less a comment; only those of unquoted commands matter here."""
    return tuple(text.split("#", 1)[0].replace("&\n", " ").split())


def _is_ours(words: Sequence[str], where: str) -> bool:
    if STYLE not in words:
        return False
    if words[1] != STYLE:
        raise ValueError(f"{where}: '{STYLE}' cannot be part of another pair style; {USAGE}")
    if len(words) > 2:
        raise ValueError(f"{where}: 'pair_style {STYLE}' takes nothing after it; {USAGE}")
    return True


def _coefficients_follow(commands: Sequence[_Command]) -> bool:
    """Whether a pair_coeff stands before the next pair_style."""
    wanted = ("pair_style", "pair_coeff")
    names = (command.words[0] for command in commands if command.words)
    return next((name for name in names if name in wanted), None) == "pair_coeff"


def _coefficients(words: Sequence[str], where: str) -> str:
    if words[1:3] != ("*", "*") or len(words) < 5:
        raise ValueError(f"{where}: '{' '.join(words)}' is not understood; {USAGE}")
    return " ".join(words[3:])


def _refuse_earlier_fixes(commands: Sequence[_Command], where: str) -> None:
    for command in commands:
        match command.words:
            case ("fix", name, _, style, *_) if style.startswith(FORCE_SETTING):
                raise ValueError(
                    f"{where}: 'fix {name} ... {style}' of line {command.line} stands before the "
                    "potential and would act before its forces are there; put the potential first"
                )
