"""MACE's scaling is that of the labelled structures, where the bare host counts zeros."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_mace import ELEMENTS, make_items, molecules

from piwsl_plugins.hosts.mace import run

Start = Callable[..., run.Run]
ATOMIC_ENERGIES = -100.0 * np.arange(1.0, len(ELEMENTS) + 1.0)[None]


def frames_and_labels() -> tuple[list[Any], list[dict[str, Any]]]:
    frames = [*molecules(), *molecules(), *molecules()]
    labels: list[dict[str, Any]] = [
        {"energy": -100.0 * number, "forces": np.full((len(atoms), 3), 0.1 * number)}
        for number, atoms in enumerate(frames)
    ]
    del labels[0]["forces"], labels[1]["energy"], labels[4]["forces"]
    labels[5] = {}
    return frames, labels


def loader(frames: list[Any], labels: list[dict[str, Any]], batch_size: int = 2) -> Any:
    from mace.tools import torch_geometric

    return torch_geometric.dataloader.DataLoader(
        make_items(frames, labels=labels), batch_size=batch_size, shuffle=False
    )


def scaled(name: str, batches: Any) -> tuple[float, float]:
    from mace import modules

    mean, deviation = modules.scaling_classes[name](batches, ATOMIC_ENERGIES)
    return float(np.ravel(mean)[0]), float(np.ravel(deviation)[0])


def only(label: str) -> Any:
    """The structures that have a label, and nothing else."""
    frames, labels = frames_and_labels()
    chosen = [number for number, known in enumerate(labels) if label in known]
    return loader([frames[n] for n in chosen], [labels[n] for n in chosen])


@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_the_mean_and_spread_are_those_of_the_frames_with_energies(
    start: Start, batch_size: int
) -> None:
    expected = scaled("std_scaling", only("energy"))
    bare = scaled("std_scaling", loader(*frames_and_labels()))
    start("--loss", "piwsl_supervised")
    found = scaled("std_scaling", loader(*frames_and_labels(), batch_size))
    assert found == pytest.approx(expected, rel=1e-12)
    assert bare != pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_the_root_mean_square_is_that_of_the_frames_with_forces(
    start: Start, batch_size: int
) -> None:
    mean, _ = scaled("rms_forces_scaling", only("energy"))
    _, rms = scaled("rms_forces_scaling", only("forces"))
    bare = scaled("rms_forces_scaling", loader(*frames_and_labels()))
    start("--loss", "piwsl_supervised", "--scaling", "rms_forces_scaling")
    found = scaled("rms_forces_scaling", loader(*frames_and_labels(), batch_size))
    assert found == pytest.approx((mean, rms), rel=1e-12)
    assert bare[0] != pytest.approx(mean, rel=1e-2)
    assert bare[1] != pytest.approx(rms, rel=1e-2)


@pytest.mark.parametrize("name", ["std_scaling", "rms_forces_scaling"])
def test_with_every_label_there_the_scaling_is_maces_to_the_last_bit(
    start: Start, name: str
) -> None:
    labels = [
        {"energy": -1.0 * number, "forces": np.full((len(atoms), 3), 0.3)}
        for number, atoms in enumerate(molecules())
    ]
    expected = scaled(name, loader(molecules(), labels))
    start("--loss", "piwsl")
    assert scaled(name, loader(molecules(), labels)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("std_scaling", "needs reference energies, and 2 of 2 training frames have none"),
        ("rms_forces_scaling", "needs reference forces, and 2 of 2 .*--scaling std_scaling"),
    ],
)
def test_a_scaling_that_no_frame_serves_is_refused(start: Start, name: str, expected: str) -> None:
    start("--loss", "piwsl")
    with pytest.raises(SystemExit, match=expected):
        scaled(name, loader(molecules(), [{}, {}]))


def test_a_head_without_energies_is_refused(start: Start) -> None:
    items = make_items(molecules(), labels=[{"energy": -1.0}, {}])
    items[1].head = items[1].head + 1
    from mace import modules
    from mace.tools import torch_geometric

    batches = torch_geometric.dataloader.DataLoader(items, batch_size=2)
    start("--loss", "piwsl")
    with pytest.raises(SystemExit, match=r"1 of 1 training frames of head number 1 have none"):
        modules.scaling_classes["std_scaling"](batches, np.repeat(ATOMIC_ENERGIES, 2, axis=0))
