"""Optimal design and ``piwsl select``: the information in energies that nobody has computed yet."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.build import molecule

from piwsl_plugins.cli import main
from piwsl_plugins.teacher import design
from tests.teacher.teaching import labelled, molecules, rattled


def candidates(n: int = 12, groups: int = 1) -> design.Candidates:
    """Random features of two columns of constants and five others."""
    random = torch.Generator().manual_seed(1)
    rows, forces = (
        torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((n, 7), (7, 3))
    )
    return design.Candidates(
        rows=2 * rows,
        constants=2 * rows[:, 5:],
        forces=forces,
        coefficients=torch.eye(7, 5, dtype=torch.float64),
        group=torch.arange(n) % groups,
        free=torch.full((n,), True),
    )


def value(of: design.Candidates, chosen: list[int], criterion: design.Criterion) -> float:
    """Information for D, a sum of variances for A and I, from the definition."""
    if criterion == "D":
        both = (rows[chosen] @ rows[chosen].T for rows in (of.rows, of.constants))
        one, other = (float(torch.logdet(k + torch.eye(len(k)).to(k))) for k in both)
        return one - other
    precision = torch.eye(7).to(of.rows) + of.rows[chosen].T @ of.rows[chosen]
    targets = of.forces if criterion == "I" else of.coefficients
    return float(torch.trace(targets.T @ torch.linalg.solve(precision, targets)))


@pytest.mark.parametrize("criterion", ["D", "A", "I"])
def test_gains_of_exchanges_are_those_of_the_definition(criterion: design.Criterion) -> None:
    of = candidates()
    chosen = [3, 0, 7, 5]
    gains = design.exchange_gains(of, torch.tensor(chosen), criterion)
    before = value(of, chosen, criterion)
    for out, new in ((0, 1), (2, 11), (3, 8)):
        after = value(of, [*chosen[:out], new, *chosen[out + 1 :]], criterion)
        expected = after - before if criterion == "D" else (before - after) / before
        assert float(gains[out, new]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("criterion", ["D", "A", "I"])
def test_no_single_exchange_betters_the_choice_and_few_random_ones_do(
    criterion: design.Criterion,
) -> None:
    of = candidates()
    found = design.choose(of, 4, criterion)
    sign = 1.0 if criterion == "D" else -1.0
    best = sign * value(of, found.order, criterion)
    draws = [np.random.default_rng(seed).permutation(12)[:4].tolist() for seed in range(100)]
    assert best >= np.quantile([sign * value(of, draw, criterion) for draw in draws], 0.97)
    for number, error in enumerate(found.errors[:5]):
        assert error**2 == pytest.approx(value(of, found.order[:number], "I"), rel=1e-9)


def test_each_composition_has_its_share_of_every_part_of_the_choice() -> None:
    order = design.choose(candidates(15, groups=3), 9, "I").order
    assert all(len({number % 3 for number in order[k : k + 3]}) == 3 for k in (0, 3, 6))


def test_a_constant_of_a_molecule_is_no_information() -> None:
    """One energy of each molecule tells nothing, and the geometries that differ are chosen."""
    pool = [atoms for name in ("H2O", "NH3") for atoms in [molecule(name)] * 6]
    for number in (3, 10):
        pool[number] = rattled(pool[number], 1, 0.1)[0]
    of = design.candidates_of(pool)
    one, other = (
        torch.logdet(rows[[0, 6]] @ rows[[0, 6]].T + torch.eye(2).to(rows))
        for rows in (of.rows, of.constants)
    )
    assert float(one - other) == pytest.approx(0.0, abs=0.1)
    assert {3, 10} < {*design.choose(of, 4, "D").order}


def test_known_frames_count_as_if_they_had_been_chosen_and_are_not_chosen_again() -> None:
    pool = molecules(12)
    whole = design.candidates_of(pool)
    first = design.choose(whole, 3, "I").order
    rest = design.candidates_of(pool, [pool[i] for i in first])
    assert not rest.free[first].any()
    assert int(rest.free.sum()) == 9
    errors = design.choose(whole, 3, "I").errors
    assert float(rest.forces.norm()) == pytest.approx(errors[3], rel=0.2)  # other scales


def test_the_command_writes_what_it_selected_and_from_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, out, have = (tmp_path / name for name in ("pool.xyz", "first.xyz", "have.xyz"))
    frames = molecules(30)
    ase.io.write(pool, frames)
    command = ["select", str(pool), "-n", "6", "-o"]
    assert main([*command, str(out), "--inputs", str(tmp_path / "i")]) == 0
    assert "expected error of the forces" in capsys.readouterr().out
    chosen = ase.io.read(out, ":")
    assert [atoms.info["selected_order"] for atoms in chosen] == [1, 2, 3, 4, 5, 6]
    for number, atoms in enumerate(chosen, 1):
        at = frames[atoms.info["selected_frame"]].positions
        np.testing.assert_allclose(atoms.positions, at, atol=1e-7)
        alone = ase.io.read(tmp_path / "i" / f"{number:04d}.xyz")
        np.testing.assert_allclose(alone.positions, at, atol=1e-7)
    first, made = {atoms.info["selected_frame"] for atoms in chosen}, []
    for frame in labelled(chosen):
        made.append(frame.atoms)
        made[-1].info = {"REF_energy": frame.labels["energy"]}
    ase.io.write(have, made)
    more = ["--have", str(have), "--energy-key", "REF_energy"]
    assert main([*command, str(tmp_path / "second.xyz"), *more]) == 0
    second = ase.io.read(tmp_path / "second.xyz", ":")
    assert len(second) == len({atoms.info["selected_frame"] for atoms in second} - first) == 6


def test_what_cannot_be_selected_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, empty, other = (tmp_path / name for name in ("pool.xyz", "empty.xyz", "other.xyz"))
    ase.io.write(pool, molecules(5))
    ase.io.write(other, rattled(molecule("H2O"), 5))
    empty.touch()
    for file, options, told in (
        (pool, ["-n", "0"], "0 geometries are to be selected, expected 1 to 5"),
        (pool, ["-n", "6"], "6 geometries are to be selected, expected 1 to 5"),
        (empty, ["-n", "1"], "the file is empty"),
        (pool, ["-n", "1", "--have", str(other)], "expected frames of C, H, O, as in"),
    ):
        assert main(["select", str(file), "-o", str(tmp_path / "out.xyz"), *options]) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "out.xyz").exists()
