"""Write the README's tables of settings from the settings' own fields.

python scripts/settings_table.py            # writes it into README.md
python scripts/settings_table.py --check    # exits with 1 where README.md is out of date
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.hosts.mace.flags import DATA_FLAGS
from piwsl_plugins.settings import MaceSettings

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN = "<!-- {name}: made by scripts/settings_table.py -->\n"
END = "<!-- end of {name} -->"
MACE_KEYS = {"energy": "energy_key", "forces": "forces_key", "stress": "stress_key"}


def table() -> str:
    """The table in Markdown, a row a setting."""
    rows = ["| setting | default | unit | meaning |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(MaceSettings):
        choices = field.metadata["choices"]
        default = "" if field.default is None else f"`{field.default}`"
        meaning = field.metadata["help"]
        if choices:
            meaning += "; one of " + ", ".join(f"`{choice}`" for choice in choices)
        rows.append(f"| `{field.name}` | {default} | {field.metadata['unit']} | {meaning} |")
    return "\n".join(rows) + "\n"


def data_table() -> str:
    """The table of what is read from a file of labels."""
    flags = MACE_KEYS | {field: f"piwsl_{flag}" for flag, field in DATA_FLAGS.items()}
    rows = ["| `labels:` | MACE's flag | meaning |", "| --- | --- | --- |"]
    for field in dataclasses.fields(DataSettings):
        meaning = field.metadata["help"]
        choices = field.metadata["choices"]
        if choices and len(choices) < 10:
            meaning += "; one of " + ", ".join(f"`{choice}`" for choice in choices)
        rows.append(f"| `{field.name}` | `--{flags[field.name]}` | {meaning} |")
    return "\n".join(rows) + "\n"


TABLES = {"settings": table, "labels": data_table}


def updated(text: str) -> str:
    """The README's text with the tables as they should be.

    Args:
        text: the README's text with the marks of each.
    """
    for name, make in TABLES.items():
        begin = BEGIN.format(name=name)
        head, rest = text.split(begin)
        text = head + begin + make() + rest[rest.index(END.format(name=name)) :]
    return text


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    if options.check:
        return int(updated(text) != text)
    README.write_text(updated(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
