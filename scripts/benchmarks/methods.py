"""A method of the accuracy benchmark: what a run trains on, and with which loss; one file each.

The files are scripts/benchmarks/methods/NAME.yaml, or any other by its path. Weights count from the
weight of the energies, so that one file serves both hosts::

    title: Taylor, order 1           # what figures and tables call it
    terms: [taylor]                  # left out, the host's own loss
    piwsl: {order: 1, max_displacement: 0.05, taylor_weight: 0.01}
    cheap: {weak_forces: weak_forces}  # labels that piwsl label makes, by what they are used as
    labels: given                    # or energies, all_forces: see Method
    student: {sample: {rattled: 50}} # the whole way of piwsl train; what differs from accuracy.py's
    hosts: [mace, nequip]            # those that it makes sense for
    baseline: false                  # true: others are compared with it
    mace: {correlation: 3}           # flags of mace_run_train
    nequip: {training_module.model.l_max: 2}  # keys of NequIP's config
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from piwsl_plugins.fields import Settings, setting
from piwsl_plugins.settings import RunSettings

FOLDER = Path(__file__).with_name("methods")
Term = Literal["taylor", "conservative", "curvature", "teacher", "weak_forces"]
Cheap = Literal["weak_forces", "low_energy", "low_forces"]
Host = Literal["mace", "nequip"]


class Method(Settings):
    """One method; the module's head explains the fields."""

    name: str = setting("", "what the command line, records and tables call it")
    title: str = setting("", "what figures call it")
    terms: list[Term] = setting([], "terms of the loss, in this package's order")
    piwsl: dict[str, Any] = setting({}, "settings of the terms")
    cheap: dict[Cheap, str] = setting({}, "labels of the cheap method, by what they are used as")
    labels: Literal["given", "energies", "all_forces"] = setting(
        "given",
        "which reference labels it is for: whatever --forces gives; energies alone; the forces of "
        "all frames, whatever --forces says",
    )
    student: dict[str, Any] | None = setting(None, "the config of piwsl train, but for the rest")
    hosts: list[Host] = setting(["mace", "nequip"], "those that it makes sense for")
    baseline: bool = setting(False, "whether others are compared with it")
    mace: dict[str, Any] = setting({}, "flags of mace_run_train")
    nequip: dict[str, Any] = setting({}, "keys of NequIP's config, dotted")

    @pydantic.model_validator(mode="after")
    def _read_settings(self) -> Method:
        RunSettings.from_mapping(self.piwsl, "piwsl")
        if self.piwsl and not self.terms:
            raise ValueError("piwsl: nothing reads these settings, because there are no terms")
        return self

    def unsuitable(self, host: str, forces: str) -> str:
        """Why it makes no sense for a host or with the labels at hand; empty if it does.

        Args:
            host: mace or nequip.
            forces: what the command line says about forces: none, all, or how many.
        """
        if host not in self.hosts:
            return f"it is for {', '.join(self.hosts)}"
        if self.labels == "energies" and forces != "none":
            return "it is for energies alone (--forces none)"
        return ""

    @property
    def changes_labels(self) -> bool:
        """Whether it trains on other labels than the command line gives."""
        return self.labels == "all_forces" or bool(self.cheap)


def read_method(name: str) -> Method:
    """Read a method.

    Args:
        name: the name of a file in the folder of methods, without its suffix, or a file's path.

    Raises:
        ValueError: there is no such file, or it has unknown keys or bad values; the message names
            the file.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
        raise ValueError(f"no method {name!r}: expected the path of a file, or one of {known}")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Method.from_mapping({"name": path.stem, **content}, str(path))
