"""How the documentation is built: `make docs`; the pages are in docs/_build/html."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_site"))
sys.path.insert(0, str(HERE.parent / "src"))
os.environ.pop("MPLBACKEND", None)  # or the pages that are executed would show no figures

from chainrule import __version__  # noqa: E402

project = "chainrule"
author = "chainrule developers"
copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "numpydoc",
    "myst_nb",
    "draw_page",
    "generated_pages",
    "source_pages",
]
exclude_patterns = ["_build", "auto_examples/*.ipynb", "auto_examples/*.py", "gallery"]
suppress_warnings = ["config.cache"]
nitpicky = False

# Markdown.
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
# [`name`](source:src/chainrule/x.py#L1) leads to a page that shows the file; see source_pages.py.
myst_url_schemes = {
    "http": None,
    "https": None,
    "mailto": None,
    "source": None,
}
# Notebooks are executed, and an error in one ends the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_code_prompt_show = "The code of this figure"
nb_code_prompt_hide = "Hide the code"

# MathJax comes from a package: nothing is fetched, neither to build nor to read.
mathjax_path = "mathjax/tex-chtml.js"

# The application programming interface. Names in single backquotes are code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# The gallery.
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_",
    "only_warn_on_example_error": False,
    "abort_on_example_error": True,
    "within_subsection_order": "gallery_style.order",
    "capture_repr": (),
    "show_memory": False,
    "parallel": 2,
    "show_signature": False,
    "remove_config_comments": True,
    "reset_modules": ("gallery_style.use",),
    "copyfile_regex": r"$^",
    "image_srcset": ["2x"],
    "min_reported_time": 1,
    "download_all_examples": False,
}
# It warns of blanks in the whole path. Links hold what is below this folder alone; if a name there
# has one, the warning ends the build.
if not any(" " in each.name for each in (HERE / "gallery").iterdir()):
    logging.getLogger("sphinx.sphinx-gallery").addFilter(
        lambda record: not str(record.msg).startswith("Example file name(s) with spaces found")
    )
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# The looks.
html_theme = "pydata_sphinx_theme"
html_title = "chainrule"
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "logo": {"text": "chainrule", "alt_text": "chainrule"},
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": [], "hundred-lines": []}


def copy_mathjax(app, error):
    """Copy what MathJax needs to draw formulas, a tenth of the package."""
    if error is None:
        package = distribution("sphinx-mathjax-offline")
        source = Path(str(package.locate_file("sphinx-mathjax-offline/static/mathjax")))
        target = Path(app.outdir) / "_static" / "mathjax"
        for part in ("tex-chtml.js", "output/chtml/fonts"):
            (target / part).parent.mkdir(parents=True, exist_ok=True)
            if (source / part).is_dir():
                shutil.copytree(source / part, target / part, dirs_exist_ok=True)
            else:
                shutil.copyfile(source / part, target / part)


def setup(app):
    """Register the copying."""
    app.connect("build-finished", copy_mathjax)
