"""From energies of an expensive method to an ordinary MACE or NequIP model with good forces.

  data       read, check and split the files
  teacher    label the frames by a cheap method, where one is named; fit a linear model to the
             energies, or to their differences from the cheap method's
  sample     sample new geometries by it
  labels     label all geometries by it; leave out those whose predicted error is too large
  student    train the host on energies and the teacher's forces: an ordinary model
  report     errors of teacher and student on the test file

The trainings and the report print their commands. Each stage is done once: rerun to resume. Where
an input has changed, the stages that depend on it are done anew, and what they had left is moved
aside.

  piwsl train configs/piwsl_train_mace.yaml
  piwsl train configs/piwsl_train_nequip.yaml --set sample.select=100 training.trainer.max_epochs=50
  piwsl train my.yaml --until teacher
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from piwsl_plugins.data.atomic_energies import atomic_energies
from piwsl_plugins.data.checks import check_no_overlap
from piwsl_plugins.data.frames import Frame
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.targets import split_isolated
from piwsl_plugins.data.writers import NAMES, writer
from piwsl_plugins.teacher import sampling, train_settings
from piwsl_plugins.teacher.labelling import Failure, Labels, compute_labels
from piwsl_plugins.teacher.methods import Method
from piwsl_plugins.teacher.train_settings import STAGES, DataBlock, TrainSettings, file_of

TRAIN, VALID, TEST, GEOMETRIES = "train.xyz", "valid.xyz", "test.xyz", "geometries.xyz"
ENERGIES, TEACHER, SAMPLED = "atomic_energies.json", "teacher.json", "sampled.xyz"
Stage = tuple[str, str, Callable[[Path], object], object, list[Path]]
"""Name; title; what does it in its folder; settings that it depends on, as JSON; files likewise."""


def stages(settings: TrainSettings) -> Iterator[Stage]:
    """All stages; each is to be done before the next is asked for, which looks at what it made."""
    root, block = Path(settings.output), settings.data
    data, teacher, sampled = root / "data", root / "teacher" / TEACHER, root / "sample" / SAMPLED
    train, valid, new = data / TRAIN, data / VALID, [data / GEOMETRIES]
    names = [block.train, block.valid, block.test, *block.geometries]
    files = [file_of(name) for name in names if name]
    work = partial(prepare, block)
    yield "data", "Read, check and split the data", work, block.model_dump(), files
    how = settings.model_dump(include={"cheap_method", "teacher"})
    yield "teacher", "Fit the teacher", partial(fit, settings, train), how, [train]
    if not settings.sample.is_empty:
        new.append(sampled)
        work, how = partial(sample, settings, train, teacher), settings.sample.model_dump()
        yield "sample", "Sample new geometries", work, how, [train, teacher]
    how = block.model_dump(include={"valid_fraction", "seed"}) | settings.teacher.model_dump()
    work = partial(teach, settings, [train, valid], new, teacher)
    yield "labels", "Label all geometries by it", work, how, [train, valid, *new, teacher]
    inputs, student = [root / "labels" / TRAIN, root / "labels" / VALID, data / ENERGIES], "student"
    config = train_settings.host_config(settings, root / student, *inputs)
    work = partial(train_settings.train_host, settings, config)
    yield student, f"Train {settings.host}", work, config, inputs
    models = {"teacher": teacher, student: train_settings.host_model(settings, root / student)}
    test = data / (TEST if block.test else VALID)
    work = partial(report, settings, models, test)
    yield "report", "Compare the models", work, None, [*models.values(), test]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add = parser.add_argument
    add("config", type=Path, help="YAML; configs/piwsl_train_mace.yaml explains it")
    text = "keys of the config set otherwise, dotted, with values as in YAML"
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=text)
    add("--until", choices=STAGES, default=STAGES[-1], metavar="STAGE", help=", ".join(STAGES))


def run(options: argparse.Namespace) -> int:
    """Do the stages up to one of them; a ValueError says what is wrong, or that one failed."""
    settings = train_settings.read_settings(options.config, options.set)
    for number, (name, title, work, how, files) in enumerate(stages(settings), 1):
        if STAGES.index(name) > STAGES.index(options.until):
            break
        do(Path(settings.output) / name, f"{number}. {title}", work, how, files)
    return 0


def do(
    folder: Path, title: str, work: Callable[[Path], object], how: object, files: Sequence[Path]
) -> None:
    """Do a stage, unless it is done and nothing that it depends on has changed.

    A folder that a kill left unfinished is used again; one whose input changed is moved aside.
    """
    found = hashlib.sha256(json.dumps(how, sort_keys=True).encode())
    for path in files:
        found.update(hashlib.sha256(path.read_bytes()).digest())
    begun, record = {"input": found.hexdigest(), "done": False}, folder / "stage.json"
    done = begun | {"done": True}
    state = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None
    if state == done:
        print(f"{title}: done already ({folder})")
        return
    print(title, flush=True)
    if folder.exists() and state != begun:
        count = len([*folder.parent.glob(f"{folder.name}-before-*")])
        aside = folder.rename(f"{folder}-before-{count + 1}")
        _say(f"its input has changed; what was there is now {aside}")
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(begun), encoding="utf-8")
    work(folder)
    record.write_text(json.dumps(done), encoding="utf-8")


def prepare(data: DataBlock, folder: Path) -> None:
    """Read the user's files, check them, and write those that the other stages read."""
    from piwsl_plugins.teacher.model import check_elements  # with torch, slow to import
    from piwsl_plugins.teacher.teach import unfit

    isolated, frames = _read_user(data, data.train, data.train_on_forces)
    train = [frame for frame in frames if "energy" in frame.labels]
    others = [frame for frame in frames if "energy" not in frame.labels]
    for name in data.geometries:
        others += _read_user(data, name, forces=False, needs_energies=False)[1]
    if data.valid is None:
        train, valid = _split(data, train)
    else:
        valid = _read_user(data, data.valid, data.train_on_forces)[1]
        check_no_overlap(train, valid, ("training", "validation"))
    test = _read_user(data, data.test)[1] if data.test else []
    check_no_overlap([*train, *valid], test)
    if reason := unfit(train):
        raise ValueError(f"{data.train}: nothing can be fitted: {reason}")
    energies = atomic_energies(data.atomic_energies, train, isolated, tell=_say)
    (folder / ENERGIES).write_text(json.dumps(energies), encoding="utf-8")
    known = {int(z) for frame in train for z in frame.atoms.numbers}
    for name, found in ((TRAIN, train), (VALID, valid), (TEST, test), (GEOMETRIES, others)):
        check_elements([frame.atoms for frame in found], known, f"the frames of {name}")
        _write(folder / name, found)


def fit(settings: TrainSettings, train: Path, folder: Path) -> None:
    """Fit the linear model, to the differences from the cheap method where one is named."""
    from piwsl_plugins.teacher import calculator
    from piwsl_plugins.teacher.teach import describe, fit_best

    frames, cheap = _read(train), settings.cheap_method
    low = [
        _with(frame, low_energy=labels.energy, low_forces=labels.forces)
        for frame, labels in (_computed(settings, frames, cheap) if cheap else ())
    ]
    teacher, uses_low = fit_best(frames, low, settings.teacher, _say)
    if teacher is None:
        raise ValueError("there is no teacher, see above: more energies are needed")
    _say(describe(teacher, uses_low))
    calculator.save(folder / TEACHER, teacher, cheap if uses_low else None)


def sample(settings: TrainSettings, train: Path, teacher: Path, folder: Path) -> None:
    """Sample new geometries by the teacher."""
    known, moving = [frame.atoms for frame in _read(train)], Method(method=str(teacher))
    made = sampling.sample(
        known, moving, settings.sample, folder / "series", processes=settings.processes, say=_say
    )
    _write(folder / SAMPLED, [Frame(atoms=a, labels={}, source="", number=0) for a in made])


def teach(
    settings: TrainSettings, own: Sequence[Path], new: Sequence[Path], teacher: Path, folder: Path
) -> None:
    """Label all frames by the teacher, and hold a part of the new ones back for validation."""
    frames = [frame for path in new for frame in _read(path)]
    made = _taught(settings, frames, teacher, settings.teacher.max_uncertainty)
    for path, more in zip(own, _split(settings.data, made), strict=True):
        known = _taught(settings, _read(path), teacher, math.inf)
        _write(folder / path.name, [*known, *more])
        _say(f"{path.name}: {len(known)} reference energies, {len(more)} others")


def report(settings: TrainSettings, models: dict[str, Path], test: Path, folder: Path) -> None:
    """Errors on the test file, or on the validation energies where there is none."""
    words = [f"{name}={path}" for name, path in models.items()]
    words += ["--data", f"test={test}", "--quick", "--force", "--device", settings.device]
    words += ["--energy-key", NAMES["energy"], "--forces-key", NAMES["forces"]]
    words += ["--output", str(folder)]
    log = folder / "output.txt"
    train_settings.run_program(settings, ["piwsl", "evaluate", *words], log)
    print(log.read_text(encoding="utf-8"))


def _taught(
    settings: TrainSettings, frames: Sequence[Frame], teacher: Path, most: float
) -> list[Frame]:
    """Frames with labels of the teacher, where they have none of the reference."""
    pairs = _computed(settings, frames, Method(method=str(teacher)))
    if not pairs:
        return []
    size = float(np.sqrt(np.mean(np.concatenate([labels.forces for _, labels in pairs]) ** 2)))
    from piwsl_plugins.teacher import calculator

    found = calculator.read(teacher)[0].predict([frame.atoms for frame, _ in pairs])
    ends = np.cumsum([len(frame.atoms) for frame, _ in pairs])[:-1]
    errors = np.split(found.forces_std.square().mean(1).sqrt().cpu().numpy(), ends)
    made = [
        _with(frame, **{"energy": labels.energy, "forces": labels.forces, **frame.labels})
        for (frame, labels), error in zip(pairs, errors, strict=True)
        if error.max() <= most * size
    ]
    if left := len(pairs) - len(made):
        limit = f"{most:g} times the size of forces, {size:.2f} eV/angstrom"
        _say(f"left out: {left} geometries with a predicted error of a force above {limit}")
    return made


def _computed(
    settings: TrainSettings, frames: Sequence[Frame], method: Method
) -> list[tuple[Frame, Labels]]:
    """Frames and their labels by a method, less those that it fails for, which are named."""
    cache, atoms = Path(settings.output) / "cache", [frame.atoms for frame in frames]
    pairs = list[tuple[Frame, Labels]]()
    found = compute_labels(atoms, method, cache, processes=settings.processes)
    for frame, labels in zip(frames, found, strict=True):
        if isinstance(labels, Failure):
            _say(f"left out: {frame.name}: {labels}")
        else:
            pairs.append((frame, labels))
    return pairs


def _with(frame: Frame, **labels: object) -> Frame:
    return dataclasses.replace(frame, labels={**frame.labels, **labels})


def _split(data: DataBlock, frames: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
    """Training frames, and those held back for validation, drawn at random."""
    held_back = max(1, round(data.valid_fraction * len(frames)))
    order = np.random.default_rng(data.seed).permutation(len(frames))
    train, valid = sorted(order[held_back:]), sorted(order[:held_back])
    return [frames[i] for i in train], [frames[i] for i in valid]


def _read_user(
    data: DataBlock, name: str, forces: bool = True, needs_energies: bool = True
) -> tuple[list[Frame], list[Frame]]:
    """Isolated atoms and frames of a file of the user's."""
    if not forces:
        data = data.model_copy(update=dict.fromkeys(("forces", "stress", "virials")))
    spelling = {key: f"data.{key}" for key in DataSettings.model_fields}
    found = read(file_of(name), data, needs_energies=needs_energies, spelling=spelling)
    for line in (found.summary, *found.remarks):
        _say(line)
    return split_isolated(found.frames)


def _read(path: Path) -> list[Frame]:
    """Frames of a file that a stage has written; it may be empty."""
    if path.stat().st_size == 0:
        return []
    settings = DataSettings(allow_unusual_units=True)  # the user's file was checked
    return list(read(path, settings, default_keys=NAMES, needs_energies=False).frames)


def _write(path: Path, frames: Sequence[Frame]) -> None:
    with writer(path, NAMES) as write:
        for frame in frames:
            write(frame)


def _say(line: str) -> None:
    print(f"   {line}", flush=True)
