"""The site: `make docs` writes it to build/docs, which opens from a folder without a network."""

import importlib
import inspect
import os
import sys
from pathlib import Path

import typer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ["COLUMNS"] = "80"  # of the help of commands

import rs_otl  # noqa: E402

project = "rs-otl"
release = version = rs_otl.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
templates_path = ["_templates"]
exclude_patterns = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_title = f"rs-otl {release}"
html_show_sourcelink = False
html_theme_options = {
    "navbar_center": [],  # all pages are in the sidebar
    "navigation_with_keys": False,
    "show_prev_next": False,
}
html_sidebars = {"**": ["sidebar.html"]}
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Pages name each other by file and heading, as they do where they are read without the site.
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
nb_execution_mode = "off"  # a test executes them
suppress_warnings = ["myst.header", "misc.highlighting_failure"]
autosummary_ignore_module_all = False
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
autodoc_class_signature = "mixed"
napoleon_use_ivar = True

# The rooms with public names, in the order of an image's way.
ROOMS = (
    *("datasets", "augment", "clustering", "models", "trainers", "evaluation"),
    *("export", "geo", "runs", "reproduce", "bench", "recipe", "spec", "sensors"),
)


def write_reference(*_: object) -> None:
    """Write the pages of commands and names, from the program itself."""
    folder = HERE / "reference"
    folder.mkdir(exist_ok=True)
    _write(folder / "commands.md", _commands())
    _write(folder / "api.rst", _names())


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:  # else it is built again
        path.write_text(text, encoding="utf-8")


def _commands() -> str:
    from rs_otl.cli import app

    parts = ["# Commands\n\nWhat `--help` prints.\n"]

    def add(command: object, words: tuple[str, ...], parent: object = None) -> None:
        with command.make_context(words[-1], [], parent=parent, resilient_parsing=True) as context:  # type: ignore[attr-defined]
            title = "#" * min(2, len(words) + 1) + f" `{' '.join(words)}`"
            parts.append(f"{title}\n\n```text\n{command.get_help(context)}\n```\n")  # type: ignore[attr-defined]
            for name in getattr(command, "commands", {}):
                add(command.commands[name], (*words, name), context)  # type: ignore[attr-defined]

    add(typer.main.get_command(app), ("rs-otl",))
    return "\n".join(parts)


def _names() -> str:
    parts = [_title("Names", "="), "Every public name, by room.\n", _title("rs_otl", "-")]
    parts += [
        f".. py:data:: rs_otl.{name}\n\n   The same as :py:obj:`rs_otl.{module}.{attribute}`.\n"
        for name, (module, attribute) in rs_otl._SOURCES.items()
    ]
    for room in ROOMS:
        name = f"rs_otl.{room}"
        module = importlib.import_module(name)
        public = getattr(module, "__all__", _defined(module))
        described = [one for one in public if callable(getattr(module, one))]
        summary = (module.__doc__ or "").partition("\n\n")[0]
        listed = "\n".join(f"   {name}.{one}" for one in described)
        parts.append(
            f"\n{_title(name, '-')}\n{summary}\n\n"
            f".. autosummary::\n   :toctree: names\n   :nosignatures:\n\n{listed}\n"
        )
        parts += [
            f".. py:data:: {name}.{one}\n\n   {_value(getattr(module, one))}\n"
            for one in public
            if one not in described
        ]
    return "\n".join(parts)


def _defined(module: object) -> list[str]:
    """Return the functions and classes of a module that says no ``__all__``."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__  # type: ignore[attr-defined]
    ]


def _value(value: object) -> str:
    """Return what a constant is: its keys, its items, or itself."""
    if isinstance(value, dict):
        return "Keys: " + ", ".join(f"``{key}``" for key in value)
    return f"``{', '.join(value) if isinstance(value, tuple) else value}``"


def _title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"


def setup(app: object) -> None:
    """Write the reference before autosummary looks for pages."""
    app.connect("config-inited", write_reference)  # type: ignore[attr-defined]
