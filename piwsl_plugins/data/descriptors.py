"""Frames that are far from each other: averaged SOAP, and farthest-point selection."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.fingerprints import Numbers
from piwsl_plugins.data.readers.base import DataError

CUTOFF, RADIAL, ANGULAR, WIDTH = 5.0, 6, 4, 0.5
"""SOAP's cutoff (angstrom), radial functions, largest l, and width of the Gaussians (angstrom)."""
MOST_BYTES = 2**31
"""Memory that the descriptors may take."""
_QUICK = 10**7  # distances that take less than about two seconds

Descriptors = NDArray[np.float32]


def averaged_soap(
    blocks: Iterable[Block], elements: Sequence[int], periodic: bool, frames: int
) -> Descriptors:
    """SOAP power spectra of all atoms of a frame, averaged (dscribe).

    Args:
        blocks: the frames.
        elements: atomic numbers of all of them.
        periodic: whether any of them is.
        frames: their number.

    Returns:
        Shape [n_frames, n_features].

    Raises:
        DataError: dscribe is missing, or the descriptors need too much memory.
    """
    try:
        from dscribe.descriptors import SOAP
    except ImportError as error:
        raise _missing(error) from error
    soap = SOAP(
        species=list(elements),
        r_cut=CUTOFF,
        n_max=RADIAL,
        l_max=ANGULAR,
        sigma=WIDTH,
        average="outer",
        compression={"mode": "mu1nu1"},
        periodic=periodic,
        dtype="float32",
    )
    features = soap.get_number_of_features()
    most = MOST_BYTES // (4 * features)
    if frames > most:
        raise DataError(
            f"--split-by farthest-point: descriptors of {frames} frames ({features} numbers each) "
            f"do not fit into {MOST_BYTES / 2**30:g} GiB; {most} frames would: take fewer by "
            "--random or --every"
        )
    found = np.empty((frames, features), dtype=np.float32)
    row = 0
    for block in blocks:
        for number in range(len(block)):
            found[row] = soap.create(block.atoms(number))
            row += 1
    return found


def farthest_points(descriptors: Descriptors, number: int, first: int) -> Numbers:
    """Select frames one by one, each the farthest from those before it (scikit-matter).

    Args:
        descriptors: shape [n_frames, n_features].
        number: how many.
        first: the one to start with.

    Returns:
        Numbers of the frames in the order of their selection.

    Raises:
        DataError: scikit-matter is missing.
    """
    try:
        from skmatter.sample_selection import FPS
    except ImportError as error:
        raise _missing(error) from error
    if len(descriptors) < 2:
        return np.arange(len(descriptors))

    selector = FPS(
        n_to_select=number,
        initialize=first,
        progress_bar=sys.stderr.isatty() and len(descriptors) * number > _QUICK,
    )
    return np.asarray(selector.fit(descriptors).selected_idx_, dtype=np.int64)


def _missing(error: ImportError) -> DataError:
    return DataError(
        f"--split-by farthest-point needs {error.name}: pip install 'piwsl-plugins[data]'"
    )
