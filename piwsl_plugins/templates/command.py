"""Copy a commented configuration, and fill in the file of energies, its elements and their E0s.

  piwsl config --list
  piwsl config nequip -o my.yaml --train energies.xyz
  piwsl config mace -o my.yaml --train energies.xyz --energy-key ccsdt_energy

Without --train the configuration trains on the data that this package ships.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from piwsl_plugins import datasets, fields
from piwsl_plugins.data.settings import DataSettings, add_data_options, data_settings

SHIPPED = "formaldehyde_ccsdt_cbs/"
KEYS = {"energy": "REF_energy", "forces": "REF_forces"}
"""Names of the labels in the shipped data, and in the templates."""


def templates() -> dict[str, Path]:
    """The configurations' files by name; a wheel has them here, a checkout in ``configs/``."""
    here = Path(__file__).parent
    folder = here if any(here.glob("*.yaml")) else here.parents[1] / "configs"
    files = sorted([*folder.glob("*.yaml"), *folder.glob("lammps/*.*")])
    names = [file.relative_to(folder).as_posix().removeprefix("piwsl_") for file in files]
    return {n.removesuffix(".yaml"): file for n, file in zip(names, files, strict=True)}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("name", nargs="?", help="which configuration; --list shows them")
    parser.add_argument("--list", action="store_true", help="list the configurations and stop")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write it")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing FILE")
    parser.add_argument("--train", type=Path, metavar="FILE", help="your file of energies")
    add_data_options(parser, KEYS)


def run(options: argparse.Namespace) -> int:
    """Copy a configuration."""
    known = templates()
    if options.list:
        for name, file in known.items():
            head = re.findall(r"\A(?:# .+\n)+|\A.*", file.read_text(encoding="utf-8"))[0]
            title = re.split("[.:;](?: |$)", " ".join(head.replace("#", "").split()))[0]
            print(f"{name:26}{title}")
        return 0
    if options.name not in known:
        raise ValueError(fields.unknown_name(options.name or "", known, "configuration"))
    if options.output is None:
        raise ValueError("-o FILE is missing: where to write the configuration")
    if options.output.exists() and not options.overwrite:
        raise FileExistsError(f"{options.output} exists; choose another -o, or add --overwrite")
    file = known[options.name]
    text = file.read_text(encoding="utf-8").replace(f"configs/{file.name}", str(options.output))
    text = text.replace("piwsl_plugins/datasets/", f"{Path(datasets.__file__).parent}/")
    if options.train is not None:
        if file.suffix != ".yaml":
            raise ValueError(f"--train: {options.name} is no configuration of a training")
        text = filled_in(text, options.train.resolve(), data_settings(options, KEYS))
    options.output.write_text(text, encoding="utf-8")
    print(f"wrote {options.output}")
    return 0


def filled_in(text: str, train: Path, settings: DataSettings) -> str:
    """A template's text with what follows from a file of energies.

    Lines about test data, and about keys that were neither given nor found, become comments.
    """
    from ase.data import chemical_symbols

    from piwsl_plugins.data.atomic_energies import atomic_energies, isolated_energies
    from piwsl_plugins.data.reading import read
    from piwsl_plugins.data.targets import split_isolated

    found = read(train, settings)
    print(found.summary)
    isolated, frames = split_isolated(found.frames)
    elements = {int(number) for frame in frames for number in frame.atoms.numbers}
    choice, origin = "average", "fitted to the energies of the file, eV"
    if elements <= set(isolated_energies(isolated)):
        choice, origin = "isolated", "of the isolated atoms of the file, eV"
    energies = atomic_energies(choice, frames, isolated, elements, tell=print)
    symbols = ", ".join(chemical_symbols[number] for number in energies)
    mapping = ", ".join(f"{number}: {energy:.8f}" for number, energy in energies.items())
    block = "".join(f"\n\\1  {chemical_symbols[n]}: {energies[n]:.8f}" for n in energies)
    path = json.dumps(str(train)).replace("\\", r"\\")
    rules = {
        rf"( *)(\w*test\w*): [^#\n]*{SHIPPED}.*": (
            r"\1# \2: test.xyz   # your test data; has forces, only to judge by"
        ),
        rf"( *\w+): [^#\n]*{SHIPPED}.*": rf"\1: {path}",
        r"name: \S+": "name: " + re.sub(r"\W+", "_", train.stem),
        r"run: \[.*?\]": "run: [train]",
        r"type_names: \[.*?\]": f"type_names: [{symbols}]",
        r"E0s: .*": f'E0s: "{{{mapping}}}"   # {origin}',
        r"( *)atomic_energies:.*(\n\1  .*)+": rf"\1atomic_energies:   # {origin}{block}",
    }
    for label, usual in KEYS.items():
        key, line = getattr(settings, label), rf"( *)({label}(?:_key)?): *{usual}\b.*"
        if key:
            rules[line] = r"\1\2: " + json.dumps(key).replace("\\", r"\\")
        elif usual not in found.keys:
            rules[line] = r"\1# \2: KEY   # name of the label in the file"
    for pattern, new in rules.items():
        text = re.sub(f"(?m)^{pattern}", new, text)
    return text
