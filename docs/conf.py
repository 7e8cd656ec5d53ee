"""Settings of the documentation site (`make docs`)."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]
os.environ.setdefault("MPLBACKEND", "Agg")

from command_tree import write_command_reference  # noqa: E402 -- from this checkout
from sample_report import make_sample_report  # noqa: E402

import agents  # noqa: E402
import cryptoenv  # noqa: E402
import pretrain  # noqa: E402

for package in (pretrain, agents):  # what they import on first use belongs in the reference, too
    vars(package).update({name: getattr(package, name) for name in package.__all__})
write_command_reference(ROOT / "docs" / "reference" / "commands.md")
make_sample_report(ROOT / "docs" / "reference" / "sample-report.html")

project = "cryptoenv"
author = "the cryptoenv authors"
copyright = "the cryptoenv authors, MIT licence"
version = release = cryptoenv.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "docstring_markup",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["images"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
smartquotes = False  # "--option" stays two hyphens

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # fields of a dataclass are described once, by its docstring
nitpicky = False

# Links into other projects' pages need the network; a build without one has to succeed.
intersphinx_mapping = {}
intersphinx_timeout = 3

html_theme = "furo"
html_title = "cryptoenv"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {"sidebar_hide_name": False, "navigation_with_keys": True}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
