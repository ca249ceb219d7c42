"""What ``piwsl weak train`` reads: one YAML file, each block a settings class of its own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from piwsl_plugins import datasets
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.units import ENERGY_UNITS, LENGTH_UNITS
from piwsl_plugins.fields import Settings, setting, unknown_name
from piwsl_plugins.weak.mappings import from_mapping, put
from piwsl_plugins.weak.sample_tasks import SampleSettings

HOSTS = {"mace": "MACE", "nequip": "NequIP"}
SHIPPED = "piwsl_dataset:"
"""Begins the name of a file that the package ships."""


def _block(help: str) -> Any:  # noqa: ANN401  as dataclasses.field itself
    """A field of keys and values, empty by default."""
    metadata = {"help": help, "unit": "", "choices": ()}
    return dataclasses.field(default_factory=dict, metadata=metadata)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DataBlock:
    """The user's data.

    Raises:
        ValueError: A value out of range.
    """

    train: str  # file of geometries and their reference energies
    valid: str | None = setting(None, "file of further ones, to choose the best epoch by")
    valid_fraction: float = setting(
        0.1, "fraction of the training frames that is held back for that, where there is no file"
    )
    test: str | None = setting(None, "file to judge the models by; nothing is trained on it")
    geometries: tuple[str, ...] = setting((), "files of geometries without labels, for the student")
    energy: str = setting("REF_energy", "key of the reference energy")
    forces: str | None = setting(
        None, "key of the reference forces of the test file, to judge the models by"
    )
    train_on_forces: bool = setting(
        False, "train on the reference forces as well, where training frames have them"
    )
    energy_unit: str | None = setting(None, "of all files", choices=tuple(ENERGY_UNITS))
    length_unit: str | None = setting(None, "of all files", choices=tuple(LENGTH_UNITS))
    allow_unusual_units: bool = setting(
        False, "go on although the numbers look as if they were in other units"
    )
    atomic_energies: Mapping[str, float] | str = setting(
        "fit",
        "energies of the free atoms by element, eV; 'isolated' for those of isolated atoms in the "
        "training file, 'fit' for a least-squares fit, or the name of a known table",
    )
    seed: int = setting(1, "of the split")

    def __post_init__(self) -> None:
        if self.valid is None and not 0.0 < self.valid_fraction < 1.0:
            raise ValueError(f"valid_fraction must be between 0 and 1, got {self.valid_fraction}")

    def keys(self, forces: bool) -> DataSettings:
        """How the files are read."""
        return DataSettings(
            energy=self.energy,
            forces=self.forces if forces else None,
            energy_unit=self.energy_unit,
            length_unit=self.length_unit,
            allow_unusual_units=self.allow_unusual_units,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LowLevelBlock:
    """The cheap method.

    Raises:
        ValueError: A value out of range.
    """

    method: str = setting(
        "gfn2-xtb", "gfn1-xtb, gfn2-xtb, a model file, or the import path of an ASE calculator"
    )
    arguments: Mapping[str, Any] = _block("keyword arguments of the method")
    charge: int | None = setting(None, "of all frames; left out, that in each one's info, or 0")
    multiplicity: int | None = setting(None, "2S + 1 of all frames; left out, as the charge")
    min_correlation: float = setting(
        0.4, "Pearson's r of its energies and the reference's below which nothing is trained"
    )

    def __post_init__(self) -> None:
        if self.method == "keys":
            raise ValueError(
                "method is keys: labels that a file has are not enough, because new geometries are "
                "labelled too; name the method that computes them"
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CommitteeBlock:
    """The models of the difference.

    Raises:
        ValueError: A value out of range, or a committee of one that was not allowed.
    """

    members: int = setting(3, "models of the difference, which differ by their seeds")
    allow_single: bool = setting(
        False, "go on with one model, of which nothing says where it is wrong: no weights"
    )
    max_forces_std: float | None = setting(
        None,
        "disagreement, of an atom's force, above which a frame is left out; left out, five times "
        "the median of the sampled frames",
        unit="eV/angstrom",
    )
    weigh: bool = setting(
        True, "less weight for frames on which the models disagree (MACE alone knows weights)"
    )

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ValueError(f"members must be at least 1, got {self.members}")
        if self.members == 1 and not self.allow_single:
            raise ValueError(
                "members is 1: a committee of one does not tell where it is wrong, so that no "
                "frame could be left out; train at least 2, or set allow_single: true"
            )
        if self.max_forces_std is not None and not self.max_forces_std > 0.0:
            raise ValueError(f"max_forces_std must be positive, got {self.max_forces_std}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReportBlock(Settings):
    """The comparison at the end.

    Raises:
        ValueError: A value out of range.
    """

    nve_steps: int = setting(1000, "steps of dynamics at constant energy; 0 leaves them out")
    nve_temperature: float = setting(300.0, "of its first velocities", unit="K")
    probes: int = setting(20, "frames at which loops and finite differences are taken")

    def __post_init__(self) -> None:
        self._check("nve_steps", 0, math.inf, whole=True)
        self._check("nve_temperature", 0, math.inf)
        self._check("probes", 0, math.inf, whole=True)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WeakSettings:
    """The whole file.

    Raises:
        ValueError: A value out of range.
    """

    host: str  # mace or nequip
    output: str  # folder of everything that is made
    environment: str | None = setting(
        None, "virtual environment of the host, or its Python; left out, that of this command"
    )
    device: str = setting("cpu", "cpu or cuda")
    processes: int | None = setting(None, "that label and sample side by side; left out, all cores")
    trainings_at_once: int = setting(1, "trainings side by side")
    threads: int = setting(1, "of each training, on a CPU")
    seed: int = setting(1, "of the trainings")
    data: DataBlock
    low_level: LowLevelBlock = dataclasses.field(default_factory=LowLevelBlock)
    committee: CommitteeBlock = dataclasses.field(default_factory=CommitteeBlock)
    sample: SampleSettings = dataclasses.field(default_factory=SampleSettings)
    sample_by: str = setting(
        "delta",
        "what moves the atoms: the cheap method with the models of the difference, or it alone",
        choices=("delta", "low"),
    )
    report: ReportBlock = dataclasses.field(default_factory=ReportBlock)
    training: Mapping[str, Any] = _block("flags or config of the host, for all trainings")
    plain: Mapping[str, Any] | bool = _block(
        "what differs for training on the energies alone; false leaves it out"
    )
    delta: Mapping[str, Any] = _block("what differs for models of the difference")
    student: Mapping[str, Any] = _block("what differs for the student")

    def __post_init__(self) -> None:
        if self.host not in HOSTS:
            raise ValueError(f"host: {unknown_name(self.host, HOSTS, 'host')}")
        if self.plain is True:
            raise ValueError("plain: expected what differs, or false")
        if self.sample_by not in ("delta", "low"):
            raise ValueError(
                f"sample_by: {unknown_name(self.sample_by, ('delta', 'low'), 'value')}"
            )
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device: got {self.device!r}, expected cpu or cuda")
        for name in ("processes", "trainings_at_once", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


def read_settings(path: Path, overrides: Mapping[str, Any]) -> WeakSettings:
    """Read the file, with keys set otherwise by the command line.

    Args:
        path: YAML.
        overrides: Values by dotted key, as ``data.train``.

    Raises:
        ValueError: There is no such file, or a key or value in it is wrong; the message names it.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; expected a config of piwsl weak train")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: this is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected keys and values, found {type(content).__name__}")
    for key, value in overrides.items():
        put(content, key, value)
    try:
        return from_mapping(WeakSettings, content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def file_of(name: str) -> Path:
    """The file that a setting names; ``piwsl_dataset:NAME`` is one that the package ships.

    Raises:
        ValueError: There is no such file.
    """
    if name.startswith(SHIPPED):
        try:
            return datasets.path(name.removeprefix(SHIPPED))
        except KeyError as error:
            raise ValueError(str(error.args[0])) from error
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"{name}: there is no such file")
    return path
