"""Predict energies and forces of test frames with a trained model, in its host's environment.

    .venv/mace/bin/python scripts/evaluate_model.py MACE results/mine/mine.model test.xyz out.npz
    .venv/nequip/bin/python scripts/evaluate_model.py NequIP results/mine/best.ckpt test.xyz out.npz

The file OUTPUT.npz holds ``energies``, shape [n_frames], eV, and ``forces``, shape
[sum(n_atoms), 3], eV/angstrom, in the order of the frames.
"""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

HOSTS = ("MACE", "NequIP")


def load(host: str, model: Path, dtype: str = "float64", device: str = "cpu") -> Calculator:
    """A trained model as ASE calculator, without what the host prints on the way.

    Args:
        host: MACE or NequIP (Allegro's models are NequIP's too).
        model: File that mace_run_train wrote; checkpoint, or package, of nequip-train.
        dtype: float32 or float64; read for MACE only, a NequIP model has its own.
        device: cpu or cuda.
    """
    calculator: Calculator
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # How hosts read their own files, and what they miss, is not the user's doing.
        warnings.simplefilter("ignore")
        if host == "NequIP":
            from nequip.integrations.ase import NequIPCalculator

            from piwsl_plugins.hosts.nequip import seams

            nequip = NequIPCalculator._from_saved_model(
                model, device=device, chemical_species_to_atom_type_map=True
            )
            # a model trained without derivatives has forces all the same
            for output in seams.force_outputs(nequip.model):
                output.do_derivatives = True
            calculator = nequip
        else:
            from mace.calculators import MACECalculator

            calculator = MACECalculator(model_paths=str(model), device=device, default_dtype=dtype)
    return calculator


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
    calculator = load(chosen.host, chosen.model, chosen.dtype, chosen.device)
    energies, forces = predict(frames, calculator)
    np.savez(chosen.output, energies=energies, forces=forces)
    return 0


if __name__ == "__main__":
    sys.exit(main())
