"""The nbconvert exporter `auditreport`: an executed notebook as one HTML file that loads nothing and runs nothing.

The template escapes everything by default; what it prints as markup was made by `prose` and `drawing`.  The
file's own policy forbids scripts, requests and every style but the one in it.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from nbconvert.exporters.templateexporter import TemplateExporter
from traitlets import default

from auditkit.plaintext import label, visible
from auditkit.reporting import screen
from auditkit.reporting.page import make_page

_TEMPLATES = Path(__file__).parent / "templates"
_NAME = "auditreport"


class AuditReportExporter(TemplateExporter):
    """Exports to an audit report: `jupyter nbconvert --to auditreport`, and JupyterLab's export menu."""

    export_from_notebook = "Audit report"
    output_mimetype = "text/html"

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
        environment.filters.update(moment=screen.moment_words, visible=visible, label=label)
        return environment

    def from_notebook_node(  # type: ignore[override]  # as in nbconvert's own text exporters
        self, nb: Any, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """Return the report of an executed notebook, and nbconvert's resources."""
        # Past the parent, whose rendering knows nothing of pages.
        copied, made = super(TemplateExporter, self).from_notebook_node(nb, resources, **kw)
        name = made.get("metadata", {}).get("name") or "notebook"
        style = (_TEMPLATES / _NAME / "style.css").read_text(encoding="utf-8")
        html = self.template.render(
            page=make_page(copied, name=str(name)),
            style=Markup(style),  # noqa: S704 -- our own file
            policy=_policy(style),
            screen=screen,
        )
        return html, made


def _policy(style: str) -> str:
    """Return the content security policy: nothing, but this style sheet and pictures inside the file."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
