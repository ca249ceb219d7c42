"""Predict energies and forces of test frames with a trained model, in its host's environment.

    .venv/mace/bin/python scripts/evaluate_model.py MACE results/mine/mine.model test.xyz out.npz
    .venv/nequip/bin/python scripts/evaluate_model.py NequIP results/mine/best.ckpt test.xyz out.npz

The file OUTPUT.npz holds ``energies``, shape [n_frames], eV, and ``forces``, shape
[sum(n_atoms), 3], eV/angstrom, in the order of the frames. `piwsl evaluate` measures far more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from piwsl_plugins.hosts import calculators
from piwsl_plugins.hosts.calculators import HOSTS as HOSTS

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


def load(host: str, model: Path, dtype: str = "float64", device: str = "cpu") -> Calculator:
    """A trained model as ASE calculator, without what the host prints on the way.

    Args:
        host: MACE or NequIP (Allegro's models are NequIP's too).
        model: File that mace_run_train wrote; checkpoint, or package, of nequip-train.
        dtype: float32 or float64; read for MACE only, a NequIP model has its own.
        device: cpu or cuda.

    Raises:
        ValueError: The file holds no model of that host, or it cannot be loaded here.
    """
    found = calculators.identify(model)
    if found.host != host:
        raise ValueError(f"{model}: this is a {found.kind} file of {found.host}, not of {host}")
    return calculators.load(found, dtype=dtype, device=device).calculator


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the predictions.

    Args:
        arguments: Words of the command line; None for the real ones.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("host", choices=HOSTS, help="whose model it is")
    parser.add_argument("model", type=Path, help="NAME.model of MACE, a checkpoint of NequIP")
    parser.add_argument("frames", type=Path, help="any file that ASE reads")
    parser.add_argument("output", type=Path, help="file for the predictions (.npz)")
    parser.add_argument("--dtype", default="float64", choices=["float32", "float64"])
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)

    import ase.io
    import numpy as np

    from piwsl_plugins.evaluation import predict

    frames = list(ase.io.iread(chosen.frames, index=":"))
    found = predict(frames, load(chosen.host, chosen.model, chosen.dtype, chosen.device))
    np.savez(chosen.output, energies=found.energies, forces=found.forces)
    return 0


if __name__ == "__main__":
    sys.exit(main())
