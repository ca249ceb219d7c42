"""Write the README's table of settings from the settings' own fields.

python scripts/settings_table.py            # writes it into README.md
python scripts/settings_table.py --check    # exits with 1 where README.md is out of date
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from piwsl_plugins.settings import MaceSettings

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN = "<!-- settings: made by scripts/settings_table.py -->\n"
END = "<!-- end of settings -->"


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


def updated(text: str) -> str:
    """The README's text with the table as it should be.

    Args:
        text: the README's text with both marks.
    """
    head, rest = text.split(BEGIN)
    tail = rest[rest.index(END) :]
    return head + BEGIN + table() + tail


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
