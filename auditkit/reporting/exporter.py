"""The nbconvert exporter `auditreport`: an executed notebook as one HTML file that loads nothing.

The template escapes everything by default; what it prints as markup was made by `prose`, `drawing` and `figures`.
The file's own policy forbids every request, and every script and style but those in it, which it names by digest.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from nbconvert.exporters.templateexporter import TemplateExporter
from traitlets import Bool, default

from auditkit.reporting import screen
from auditkit.reporting.bundle import vega_bundle
from auditkit.reporting.page import make_page
from auditkit.reporting.rows import table_rows
from auditkit.text import label, visible

_TEMPLATES = Path(__file__).parent / "templates"
_NAME = "auditreport"


class AuditReportExporter(TemplateExporter):
    """Exports to an audit report: `jupyter nbconvert --to auditreport`, and JupyterLab's export menu."""

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
        return [str(_TEMPLATES)]

    def _create_environment(self) -> Environment:
        environment: Environment = super()._create_environment()  # type: ignore[no-untyped-call]
        environment.autoescape = True
        environment.filters.update(moment=screen.moment_words, visible=visible, label=label, rows=table_rows)
        return environment

    def from_notebook_node(  # type: ignore[override]  # as in nbconvert's own text exporters
        self, nb: Any, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """Return the report of an executed notebook, and nbconvert's resources."""
        # Past the parent, whose rendering knows nothing of pages.
        copied, made = super(TemplateExporter, self).from_notebook_node(nb, resources, **kw)
        name = made.get("metadata", {}).get("name") or "notebook"
        page = make_page(copied, name=str(name), static=self.static)
        style = _own("style.css")
        scripts = [] if self.static else _scripts(live=page.live)
        html = self.template.render(
            page=page,
            static=self.static,
            style=Markup(style),  # noqa: S704 -- our own file
            scripts=[Markup(script) for script in scripts],  # noqa: S704 -- our own files, and Vega
            policy=_policy(style, scripts),
            screen=screen,
        )
        return html, made


def _own(name: str) -> str:
    return (_TEMPLATES / _NAME / name).read_text(encoding="utf-8")


def _scripts(*, live: bool) -> list[str]:
    """Return the scripts of a page, without Vega where it has no chart."""
    own = "".join(map(_own, ("tables.js", "charts.js", "page.js")))
    return [*([vega_bundle()] if live else []), f'(function () {{\n"use strict";\n{own}}})();\n']


def _policy(style: str, scripts: Sequence[str]) -> str:
    """Return the content security policy: nothing, but this style sheet, these scripts, and pictures inside the file."""
    allowed = f"script-src {' '.join(map(_digest, scripts))}; " if scripts else ""
    return f"default-src 'none'; {allowed}style-src {_digest(style)}; img-src data:; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
