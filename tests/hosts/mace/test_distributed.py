"""Two processes give the loss and the gradients of one process with the same global batch."""

from __future__ import annotations

from pathlib import Path

import torch
from forks import forks


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    here = Path(__file__).parent
    program = [str(here / "two_processes.py"), str(here), str(here.parents[1])]
    done = forks("mace.cli.run_train").execute(program, tmp_path)
    assert done.returncode == 0, done.stderr
    *parts, (value, gradients) = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(3)]
    mean = torch.stack([part for part, _ in parts]).mean()
    torch.testing.assert_close(mean, value, rtol=1e-10, atol=0)
    for _, part in parts:
        assert part.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(part[name], gradient, rtol=1e-8, atol=1e-10)
