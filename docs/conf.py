"""How the site is built: `make docs`."""

import latentlens

project = "latentlens"
author = "the latentlens authors"
copyright = "2026, the latentlens authors"
release = version = latentlens.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "jupyter_execute", "make_screenshots.py"]
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext"}
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"

autodoc_typehints = "description"
autodoc_member_order = "bysource"
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "pydata_sphinx_theme"
html_title = "latentlens"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": True}
