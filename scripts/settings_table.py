"""Write the tables of docs/settings.md from the settings' own fields.

python scripts/settings_table.py            # writes them
python scripts/settings_table.py --check    # exits with 1 where the page is out of date
"""

from __future__ import annotations

import argparse
import sys
import typing
from collections.abc import Mapping
from pathlib import Path

from piwsl_plugins.data.settings import SPELLING as OPTIONS
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.fields import Settings, plain_type, unit_of
from piwsl_plugins.hosts.mace.flags import SPELLING as FLAGS
from piwsl_plugins.settings import MaceSettings
from piwsl_plugins.teacher.settings import SampleSettings, TeacherSettings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"


def table(settings: type[Settings], columns: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """A table in Markdown, a row a setting, with columns of how other places spell the settings."""
    columns = columns or {}
    lines = [f"| {' | '.join(['setting', *columns, 'default', 'unit', 'meaning'])} |"]
    lines.append("| --- |" + " --- |" * (len(columns) + 3))
    for name, field in settings.model_fields.items():
        kind, meaning = plain_type(field.annotation), str(field.description)
        choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
        if choices:
            meaning += "; one of " + ", ".join(f"`{choice}`" for choice in choices)
        default = "" if field.default in (None, ()) else f"`{field.default}`"
        spellings = [f"`{spelling[name]}`" for spelling in columns.values()]
        lines.append(
            f"| {' | '.join([f'`{name}`', *spellings, default, unit_of(field), meaning])} |"
        )
    return "\n".join(lines) + "\n"


def updated(text: str) -> str:
    """The page's text with the tables as they should be."""
    tables = {
        "losses": table(MaceSettings),
        "labels": table(DataSettings, {"option of `piwsl`": OPTIONS, "flag of MACE": FLAGS}),
        "teacher": table(TeacherSettings),
        "sample": table(SampleSettings),
    }
    for name, new in tables.items():
        begin = f"<!-- {name}: made by scripts/settings_table.py -->\n"
        head, rest = text.split(begin)
        text = head + begin + new + rest[rest.index(f"<!-- end of {name} -->") :]
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    old = PAGE.read_text(encoding="utf-8")
    if parser.parse_args().check:
        sys.exit(int(updated(old) != old))
    PAGE.write_text(updated(old), encoding="utf-8")
