"""Measure trained models of MACE and NequIP (and Allegro) on labelled frames, side by side.

Errors of energies, forces and stress, per element and configuration type; softening; whether the
forces are the gradient of the energy; drift in dynamics. Labels that are absent are left out.
Writes evaluation.json and report.html, and prints a table:

  piwsl evaluate my_model.model --data test.xyz
  piwsl evaluate plain=a/best.ckpt taylor=b/best.ckpt --data 300K=cold.xyz --data 1000K=hot.xyz
  piwsl evaluate mace.model best.ckpt --data test.xyz --environment nequip=path/to/venv
  piwsl evaluate my.model --data test.xyz --reference 'tblite.ase.TBLite:{"method":"GFN2-xTB"}'

MACE and NequIP cannot be installed together: run the command where one of them is, and name the
other's environment, which needs this package too, by --environment.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from piwsl_plugins import __version__
from piwsl_plugins.data.frames import FrameSet
from piwsl_plugins.data.settings import add_data_options, dashed, data_settings
from piwsl_plugins.evaluation import dynamics, measure
from piwsl_plugins.evaluation.inputs import SPELLING, environments, named_files, read_sets
from piwsl_plugins.fields import add_options as add_settings
from piwsl_plugins.models import MODULES, ModelFile, identify, is_importable, load, named_calculator


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add = parser.add_argument
    words = "NAME.model or NAME_compiled.model of MACE; checkpoint (.ckpt), package (.nequip.zip) "
    words += "or compiled model (.nequip.pt2) of NequIP; a teacher (.json); also as NAME=FILE"
    add("models", nargs="+", metavar="MODEL", help=words)
    words = "labelled frames, any file that training reads; may be repeated, also as NAME=FILE"
    add("--data", action="append", required=True, metavar="FILE", help=words)
    words = "folder of evaluation.json and report.html (default: %(default)s)"
    add("--output", type=Path, default=Path("piwsl-evaluation"), metavar="FOLDER", help=words)
    add("--force", action="store_true", help="overwrite an earlier report there")
    words = "virtual environment, or its Python, in which models of mace or nequip are measured"
    add("--environment", action="append", default=[], metavar="HOST=PATH", help=words)
    words = "errors and slopes alone: --probes 0 --nve-steps 0"
    add("--quick", action="store_true", help=words)
    group = parser.add_argument_group("measures")
    add_settings(group, measure.EvaluateSettings, dashed)
    add_data_options(parser, SPELLING)


def run(options: argparse.Namespace) -> int:
    """Measure the models, write the report and print the table; a ValueError says what is wrong."""
    for module in ("matplotlib", "jinja2"):
        if importlib.util.find_spec(module) is None:
            raise ValueError(f"{module} is not installed; pip install 'piwsl-plugins[evaluation]'")
    from piwsl_plugins.evaluation.report import render, terminal_table  # which needs them

    files = [options.output / name for name in ("evaluation.json", "report.html")]
    if any(file.exists() for file in files) and not options.force:
        what = "an earlier report is there already; --force overwrites it, or choose another folder"
        raise ValueError(f"--output {options.output}: {what}")
    if options.quick:
        options.probes = options.nve_steps = 0
    values = {name: getattr(options, name) for name in measure.EvaluateSettings.model_fields}
    settings = measure.EvaluateSettings(**values)
    if settings.reference is not None and settings.probes == 0:
        raise ValueError("--reference needs frames to probe; leave out --quick and --probes 0")
    models = {name: identify(path) for name, path in named_files(options.models, "models").items()}
    labels, data = data_settings(options, SPELLING), named_files(options.data, "data files")
    job = measure.Job(data=data, labels=labels, settings=settings)
    options.output.mkdir(parents=True, exist_ok=True)  # before the work, in case it cannot be
    content, measured = evaluate(job, models, environments(options.environment))
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    for file, written in zip(files, (text + "\n", render(content, measured)), strict=True):
        file.write_text(written, encoding="utf-8")
    print(terminal_table(content["models"], shutil.get_terminal_size().columns))
    print(f"\n{files[1]}\n{files[0]}")
    return 0


def evaluate(
    job: measure.Job, models: Mapping[str, ModelFile], pythons: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, measure.Measured]]:
    """What stands in evaluation.json, and what was found of each model, by the Pythons of hosts."""
    of_hosts: dict[str, dict[str, Path]] = {}
    for name, model in models.items():
        of_hosts.setdefault(model.host, {})[name] = model.path
    for host, own in of_hosts.items():
        if host not in pythons and not is_importable(host):
            raise ValueError(
                f"{host} is not installed here, and {', '.join(own)} needs it; name the virtual "
                f"environment that has {host} and this package: --environment {MODULES[host]}=PATH "
                f"(or, where there is none: pip install 'piwsl-plugins[{MODULES[host]}]')"
            )
    sets = read_sets(job.data, job.labels)
    for labelled in sets.values():
        print(labelled.summary)
        for remark in labelled.remarks:
            print(f"warning: {remark}", file=sys.stderr)
    if job.settings.reference:
        job = job.model_copy(update={"curvatures": _reference(job.settings, sets)})
    found: dict[str, measure.Measured] = {}
    for host, own in of_hosts.items():
        if host in pythons:
            found |= measure.measure_elsewhere(pythons[host], host, job, own)
        else:
            found |= measure.measure_here(job, own, sets)
    data = {}
    for name, labelled in sets.items():
        digest = hashlib.sha256(Path(labelled.path).read_bytes()).hexdigest()
        about = {"file": labelled.path, "sha256": digest, "frames": len(labelled.frames)}
        data[name] = {**about, "read": labelled.summary}
    content = {
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "piwsl_plugins": __version__,
        "settings": job.settings.model_dump(),
        "data": data,
        "models": {name: found[name].numbers for name in models},
    }
    return content, {name: found[name] for name in models}


def _reference(settings: measure.EvaluateSettings, sets: Mapping[str, FrameSet]) -> Any:  # noqa: ANN401
    """Curvatures at the probes by a model file or an ASE calculator, lists for JSON."""
    if Path(spec := str(settings.reference)).is_file():
        calculator = load(identify(Path(spec)), device=settings.device).calculator
    else:
        calculator = named_calculator(spec, "--reference")
    chosen = measure.bar(measure.structures(sets, settings.probes), "curvature of the reference")
    try:
        return dynamics.curvatures(chosen, calculator, settings.seed).tolist()
    except Exception as error:  # whatever a calculator raises about a frame
        raise ValueError(f"--reference {spec}: the calculator failed: {error}") from error
