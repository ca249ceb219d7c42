"""Handles of files in data-loader processes."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from energy_files import spice_file

from piwsl_plugins.data.readers import Source, open_source
from piwsl_plugins.data.readers.per_process import PerProcess
from piwsl_plugins.data.settings import DataSettings

_PARENTS: list[tuple[PerProcess, Source]] = []


def _looked_at(number: int) -> tuple[bool, bool, float]:
    held, parents = _PARENTS[0]
    own = held.source
    return own is parents, own is held.source, float(own.frame(number).labels["energy"][0])


# Python 3.12 and later warn of forks beside other threads, here tqdm's
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_reads_through_one_handle_of_its_own(tmp_path: Path) -> None:
    source = open_source(spice_file(tmp_path / "a.hdf5"), DataSettings(energy="dft_total_energy"))
    energies = [float(source.frame(number).labels["energy"][0]) for number in range(3)]
    held = PerProcess(source)
    assert held.source is source
    _PARENTS[:] = [(held, source)]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.map(_looked_at, range(3))
    assert found == [(False, True, energy) for energy in energies]
    assert held.source is source
