"""What moves the atoms in sampling: a cheap method, alone or with models of the difference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ase.calculators.calculator import BaseCalculator

from piwsl_plugins.weak.delta_calculator import load_delta, read_delta
from piwsl_plugins.weak.files import digest_of, digest_of_file
from piwsl_plugins.weak.low_level import LowLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class Potential:
    """A potential that a process can make for itself.

    Attributes:
        low: The cheap method, or None where ``delta`` names it.
        delta: File of cheap method and models of the difference, or None.
        device: For the models, cpu or cuda.
    """

    low: LowLevel | None = None
    delta: Path | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if (self.low is None) == (self.delta is None):
            raise ValueError("expected a cheap method, or the file of a delta model; one of them")

    @property
    def low_level(self) -> LowLevel:
        """The cheap method."""
        if self.low is not None:
            return self.low
        assert self.delta is not None
        return read_delta(self.delta).low

    @property
    def name(self) -> str:
        """For the provenance of a geometry."""
        if self.low is not None:
            return self.low.method
        assert self.delta is not None
        delta = read_delta(self.delta)
        return f"{delta.low.method} + delta of {len(delta.models)}"

    def digest(self) -> str:
        """Short name of everything that energies and forces depend on."""
        if self.low is not None:
            return digest_of(asdict(self.low))
        assert self.delta is not None
        delta = read_delta(self.delta)
        models = [digest_of_file(model) for model in delta.models]
        return digest_of([asdict(delta.low), models])

    def calculator(self) -> BaseCalculator:
        """Make it.

        Raises:
            ValueError: A method or a host is not installed, or a model cannot be loaded.
        """
        if self.low is not None:
            return self.low.calculator()
        assert self.delta is not None
        return load_delta(self.delta, self.device)
