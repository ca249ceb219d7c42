"""A reference calculator comes from an import path, with arguments as JSON."""

from __future__ import annotations

import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from piwsl_plugins.evaluation.reference import named_calculator


def test_a_calculator_is_made_with_its_arguments() -> None:
    assert isinstance(named_calculator("ase.calculators.emt.EMT"), EMT)
    found = named_calculator('ase.calculators.lj.LennardJones:{"sigma": 2.5}')
    assert isinstance(found, LennardJones)
    assert found.parameters["sigma"] == 2.5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no such file.model", "there is no such file; expected a model file, or the import path"),
        ("ase.calculators.emt.Nothing", "AttributeError"),
        ("no_such_module.EMT", "ModuleNotFoundError"),
        ("ase.calculators.emt.EMT:{1}", "the arguments are no JSON object"),
        ('ase.calculators.morse.MorsePotential:{"no": 1', "there is no such file"),
        ("ase.Atoms", "no ASE calculator but Atoms"),
        ("os.getcwd", "no ASE calculator but str"),
    ],
)
def test_what_is_no_calculator_is_named(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        named_calculator(spec)
