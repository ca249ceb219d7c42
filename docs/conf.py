"""Sphinx's configuration: `make docs` builds the site from docs/ into build/docs."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

import piwsl_plugins
from piwsl_plugins.fields import Settings, unit_of

project = "piwsl-plugins"
author = project_copyright = "piwsl-plugins contributors"
release = version = piwsl_plugins.__version__
html_title = f"{project} {release}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_fence_as_directive = ["math"]  # as GitHub writes equations
myst_heading_anchors = 3
# The two hosts cannot share an environment, so that tests/test_tutorials.py executes the notebooks,
# each in its host's; the figures that they make stand beside them.
nb_execution_mode = "off"
copybutton_prompt_text = r"^\$ "
copybutton_prompt_is_regexp = True

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

DATA = "piwsl_plugins/datasets/formaldehyde_ccsdt_cbs"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"source_directory": "docs/"}


def describe_settings(
    app: Sphinx, what: str, name: str, thing: type, options: object, lines: list[str]
) -> None:
    """Take the bars of a docstring for norms, and list the fields of a settings class."""
    lines[:] = [re.sub(r"(?<!`)\|", r"\\|", line) for line in lines]
    if what == "class" and issubclass(thing, Settings):
        for key, field in thing.model_fields.items():
            unit = f" ({unit_of(field)})" if unit_of(field) else ""
            default = "" if field.is_required() else f"; default ``{field.default!r}``"
            lines += ["", f":ivar {key}: {field.description}{unit}{default}"]


def skip_constants(
    app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object
) -> bool | None:
    """A module's numbers and names are not its interface."""
    return True if what == "module" and not callable(thing) else None


def lead_to_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """On the site the data set's README, to which a link on GitHub leads, is a page."""
    source[0] = source[0].replace(f"](../{DATA}/README.md)", "](formaldehyde.md)")


def setup(app: Sphinx) -> None:
    """Connect what is done with docstrings and pages."""
    app.connect("autodoc-process-docstring", describe_settings)
    app.connect("autodoc-skip-member", skip_constants)
    app.connect("source-read", lead_to_pages)
