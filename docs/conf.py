"""How the documentation is built: `make docs`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from voicecall import __version__  # noqa: E402  (found by the line above)

project = "voicecall"
author = copyright = "The voicecall maintainers"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "generated",
]
exclude_patterns = ["_generated", "_ext"]
# A name that leads nowhere is an error; those of the standard library are not followed.
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# JSON5 is JavaScript to the highlighter, which knows no better.
highlight_language = "none"

html_theme = "furo"
html_title = f"voicecall {version}"
html_show_sphinx = False
