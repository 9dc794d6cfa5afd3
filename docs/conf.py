"""Settings of the documentation: `python -m sphinx -W docs build/docs`. It needs derf installed with the extra docs."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # for tables.py
sys.path.insert(0, str(HERE.parent))  # for benchmarks, which is no part of the package

import derf  # noqa: E402
import tables  # noqa: E402

project = "derf"
copyright = "The derf developers, Apache-2.0"
version = release = derf.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
]
exclude_patterns = ["generated/*"]
html_theme = "furo"
html_title = "derf"
html_static_path = ["_static"]
html_css_files = ["derf.css"]
templates_path = []

nitpicky = True  # a name in a docstring that leads nowhere is an error under -W
nitpick_ignore_regex = [
    # Other projects' names, which are not looked up on the network, and names of types that are not documented.
    ("py:.*", r"(torch|nn|collections|numpy|rich|typing|os|pathlib|types|transformers|lightning)(\..*)?"),
    (
        "py:.*",
        r"(Tensor|Model|Start|Selector|Forward|Mask|Function|Adapter|Path|Any|Callable|Iterable|Sequence|Mapping)",
    ),
    (
        "py:class",
        r"[a-z_]+",
    ),  # names before a colon, as in "alpha, shift: as those of Derf", which napoleon takes for types
]

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # Args say it in words
napoleon_google_docstring = True
napoleon_use_ivar = True
python_use_unqualified_type_names = True

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.strikethrough"]
nb_execution_mode = "force"  # the notebook runs in each build, and an error in it fails the build
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"

copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True


def setup(app):
    """Write the pages' tables from the committed results before the pages are read."""
    app.connect("config-inited", lambda app, config: tables.write(HERE / "generated"))
