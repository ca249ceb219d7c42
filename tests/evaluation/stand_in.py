"""ASE's calculators in the place of models, here and in another process.

As a program, this file is a Python in which a host is installed: it is asked what it has, and then
to measure a job.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from piwsl_plugins import __version__
from piwsl_plugins.evaluation import evaluate, jobs
from piwsl_plugins.hosts.calculators import LoadedModel, ModelFile

ELEMENTS = frozenset({"C", "H", "O", "Cu"})


def load(model: ModelFile, **_: Any) -> LoadedModel:
    """EMT, or Lennard-Jones for soft.model; absent.model cannot be loaded."""
    if model.path.stem == "absent":
        raise ValueError(f"{model.path}: it is not there")
    calculator = LennardJones() if model.path.stem == "soft" else EMT()
    return LoadedModel(calculator, "float64", ELEMENTS, 5.0)


def identify(path: Any) -> ModelFile:
    """A file *.ckpt is NequIP's, any other MACE's."""
    return ModelFile(path, "NequIP" if path.suffix == ".ckpt" else "MACE", "model")


def install(replace: Callable[[Any, str, Any], None]) -> None:
    """Put the stand-ins where the command looks for a host."""
    for module in (evaluate, jobs):
        replace(module, "identify", identify)
    replace(evaluate, "is_importable", lambda host: host == "MACE")
    replace(jobs, "load", load)
    replace(jobs, "versions", lambda host: {host: "0"})


if __name__ == "__main__":
    from piwsl_plugins.cli import main

    if sys.argv[1] == "-c":
        print(json.dumps([__version__, sys.argv[3] == "nequip"]))
        sys.exit(0)
    install(setattr)
    assert sys.argv[1:3] == ["-m", "piwsl_plugins"]
    sys.exit(main(sys.argv[3:]))
