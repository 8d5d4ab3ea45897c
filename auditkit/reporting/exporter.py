"""The nbconvert exporter `auditreport`: an executed notebook as one HTML file that loads nothing.

The template escapes everything by default; what it prints as markup was made by `markdown` and `chart`.
The file's own policy forbids every request, and every script and style but those in it, which it names by digest.

Vega is one script, kept in the user's cache, as making it takes seconds.  It defines `vegaEmbed` and nothing else that
a page could trip over.  A cached copy counts only if its digest is right; where no cache can be written, the script is
made anew in each process.
"""

import base64
import hashlib
import os
import re
import stat
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment
from markupsafe import Markup
from nbconvert.exporters.templateexporter import TemplateExporter
from traitlets import Bool, default

from auditkit import display
from auditkit.disk.durable import PosixDisk, publish, write_temporary
from auditkit.reporting.cover import (
    FOUND,
    NOT_PROVED,
    STATED,
    compact_rows,
    integrity_rows,
    moment_words,
    outcome_rows,
    population_rows,
    scope_rows,
    source_rows,
    taken_along,
)
from auditkit.reporting.outputs import breakable, table_rows
from auditkit.reporting.page import make_page
from auditkit.text import label, visible

_NAME = "auditreport"
TEMPLATES = Path(__file__).parent / "templates" / _NAME
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_ENDING = re.compile("<(/script|!--)", re.IGNORECASE)
"""What would end or hide a script inside HTML."""


class AuditReportExporter(TemplateExporter):
    """Exports to an audit report: `jupyter nbconvert --to auditreport`, and JupyterLab's export menu.

    Attributes
    ----------
    static : bool, default False
        Write no script at all, for mail gateways; `--AuditReportExporter.static=True` on the command line.
    """

    export_from_notebook = "Audit report"
    output_mimetype = "text/html"
    static = Bool(default_value=False, help="Write no script at all, for mail gateways.").tag(config=True)

    @default("file_extension")
    def _file_extension(self) -> str:
        return ".html"

    @default("template_name")
    def _template_name(self) -> str:
        return _NAME

    @default("extra_template_basedirs")
    def _extra_template_basedirs(self) -> list[str]:
        return [str(TEMPLATES.parent)]

    def _create_environment(self) -> Environment:
        environment: Environment = super()._create_environment()  # type: ignore[no-untyped-call]
        environment.autoescape = True
        environment.filters.update(
            moment=moment_words, visible=visible, breakable=breakable, label=label, rows=table_rows
        )
        environment.globals.update(
            FOUND=FOUND,
            NOT_PROVED=NOT_PROVED,
            STATED=STATED,
            compact_rows=compact_rows,
            integrity_rows=integrity_rows,
            outcome_rows=outcome_rows,
            population_rows=population_rows,
            scope_rows=scope_rows,
            source_rows=source_rows,
            taken_along=taken_along,
        )
        return environment

    def from_notebook_node(  # type: ignore[override]  # as in nbconvert's own text exporters
        self, nb: Any, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """Return the report of an executed notebook.

        Parameters
        ----------
        nb : nbformat.NotebookNode
            The notebook with its outputs; it is not run, and not changed.
        resources : dict, optional
            As in nbconvert; its metadata name the notebook.

        Returns
        -------
        tuple of (str, dict)
            One HTML page, and nbconvert's resources.
        """
        # Past the parent, whose rendering knows nothing of pages.
        copied, made = super(TemplateExporter, self).from_notebook_node(nb, resources, **kw)
        name = made.get("metadata", {}).get("name") or "notebook"
        page = make_page(copied, name=str(name), static=self.static)
        style = template_file("tables.css") + template_file("style.css")
        scripts = [] if self.static else _scripts(live=page.live)
        html = self.template.render(
            page=page,
            static=self.static,
            style=Markup(style),  # noqa: S704 -- our own file
            scripts=[Markup(script) for script in scripts],  # noqa: S704 -- our own files, and Vega
            policy=content_policy(style, scripts),
        )
        return html, made


def template_file(name: str) -> str:
    """Return one of our templates, scripts or style sheets; those of tables are JupyterLab's as well."""
    folder = Path(display.__file__).parent if name.startswith("tables.") else TEMPLATES
    return (folder / name).read_text(encoding="utf-8")


def _scripts(*, live: bool) -> list[str]:
    """Return the scripts of a page, without Vega where it has no chart; the last one, ours, is a module."""
    own = "".join(map(template_file, ("tables.js", "events.js", "charts.js", "page.js")))
    return [*([vega_bundle()] if live else []), own]


def content_policy(style: str, scripts: Sequence[str]) -> str:
    """Return the content security policy: nothing, but this style sheet, these scripts, and pictures inside the file."""
    allowed = f"script-src {' '.join(map(_source, scripts))}; " if scripts else ""
    return f"default-src 'none'; {allowed}style-src {_source(style)}; img-src data:; base-uri 'none'; form-action 'none'"


def _source(text: str) -> str:
    """Return a script or style sheet as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def vega_bundle() -> str:
    """Return the script: Vega, Vega-Lite and vega-embed of the vl-convert that is installed."""
    path = cache_folder() / f"vega-of-vl-convert-{version('vl-convert-python')}.js"
    kept = _read(path)
    if kept is not None:
        return kept
    # Its top-level constants would be every script's; inside a function they are its own.
    licences = template_file("licences.txt")
    made = f"/*\n{licences}*/\n(function () {{\n{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}\n}})();\n"
    made = _ENDING.sub(r"\\x3c\1", made)
    _keep(path, made)
    return made


def cache_folder() -> Path:
    """Return where this user's programs keep what can be made again (XDG base directory specification)."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given.startswith("/") else Path("~/.cache").expanduser()) / "auditkit"


def _read(path: Path) -> str | None:
    """Return the cached script, unless another user owns the file or its folder, or may write to them."""
    try:
        if not all(map(_is_ours_alone, (path.parent, path))):
            return None
        digest, _, script = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return script if digest == _digest(script) else None


def _is_ours_alone(path: Path) -> bool:
    status = path.lstat()
    is_link = stat.S_ISLNK(status.st_mode)
    return (
        not is_link and status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _keep(path: Path, script: str) -> None:
    """Publish the script in the cache; a cache that cannot be written is no error."""
    disk, temporary = PosixDisk(), path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        disk.unlink(temporary)
        write_temporary(disk, temporary, f"{_digest(script)}\n{script}".encode(), _FILE_MODE)
        publish(disk, temporary, path)
    except OSError:
        return


def _digest(script: str) -> str:
    return hashlib.sha256(script.encode()).hexdigest()
