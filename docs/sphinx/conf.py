"""Sphinx's settings for the API reference; `make reference` builds it into build/reference."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).parent))
import backticks
import public_names
import rnncore

project = "rnncore"
author = "the rnncore authors"
version = release = rnncore.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
html_theme = "furo"
html_title = f"rnncore {release}"
html_show_sphinx = False
html_copy_source = False

nitpicky = True  # every reference resolves, but for those to PyTorch
nitpick_ignore_regex = [("py:.*", r"torch\.nn\..*")]
python_use_unqualified_type_names = True
add_module_names = False
autosummary_generate = False
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # the docstrings say the types, with shapes
autodoc_member_order = "groupwise"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

_log = logging.getLogger(__name__)


def skip_member(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out what a class has from elsewhere: from tuple, Exception or scikit-learn."""
    member = getattr(member, "fget", None) or getattr(member, "func", member)
    module = getattr(member, "__module__", None)
    return True if callable(member) and not str(module).startswith("rnncore") else None


def link_names(
    app: Sphinx, what: str, name: str, owner: Any, options: Any, lines: list[str]
) -> None:
    """Turn each name in single backticks into a link, or into code where it is a parameter."""
    text, unknown = backticks.linked("\n".join(lines), owner, name)
    for word in unknown:
        _log.warning("%s: `%s` is no public name and no parameter of it", name, word)
    lines[:] = text.split("\n")


def demand_every_name(app: Sphinx, error: Exception | None) -> None:
    """Warn of public names that the build has no entry for."""
    if error is None:
        found = app.env.get_domain("py").objects
        for home in sorted(set(public_names.homes().values()) - set(found)):
            _log.warning("the reference has no entry for %s", home)


def setup(app: Sphinx) -> None:
    """Connect the functions above; names are linked before numpydoc makes sections."""
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-docstring", link_names, priority=100)
    app.connect("build-finished", demand_every_name)
