"""A reference calculator by its import path."""

from __future__ import annotations

import importlib
import json
import re
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator

FORM = re.compile(r"(?P<module>\w+(\.\w+)*)\.(?P<name>\w+)(:(?P<arguments>\{.*\}))?", re.DOTALL)


def named_calculator(spec: str, option: str = "--reference") -> Calculator:
    """Make an ASE calculator from ``module.Class`` or ``module.Class:{"argument": value}``.

    Args:
        spec: Import path of the calculator, with its arguments as JSON.
        option: What the user wrote it after, for messages.

    Raises:
        ValueError: It has another form, or there is no such calculator, or it cannot be made.
    """
    match = FORM.fullmatch(spec)
    if match is None:
        raise ValueError(
            f"{option} {spec}: there is no such file; expected a model file, or the import path "
            'of an ASE calculator, as ase.calculators.emt.EMT or module.Class:{"name": value}'
        )
    try:
        arguments: dict[str, Any] = json.loads(match["arguments"] or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"{option} {spec}: the arguments are no JSON object: {error}") from error
    try:
        made = getattr(importlib.import_module(match["module"]), match["name"])(**arguments)
    except Exception as error:  # whatever a module, or a calculator, raises when it is made
        raise ValueError(f"{option} {spec}: {type(error).__name__}: {error}") from error
    if isinstance(made, Atoms) or not hasattr(made, "get_potential_energy"):
        raise ValueError(f"{option} {spec}: this is no ASE calculator but {type(made).__name__}")
    calculator: Calculator = made
    return calculator
