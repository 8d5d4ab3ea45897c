"""Hostile texts, and notebooks made by hand."""

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat

from auditkit.reporting.exporter import AuditReportExporter

ROOT = Path(__file__).parents[2]

PAYLOADS = (
    "<script>alert('script')</script>",
    "</script><script>alert('closed')</script>",
    "<img src=x onerror=alert('img')>",
    "<svg onload=alert('svg')><circle/></svg>",
    "<iframe srcdoc=\"<script>alert('frame')</script>\"></iframe>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/meta'>",
    "<a href=\"javascript:alert('link')\">click</a>",
    "<style>body{background:url(https://evil.example/css)}</style>",
    "<link rel=stylesheet href=https://evil.example/link.css>",
    "<form action=https://evil.example/form><button autofocus onfocus=alert('focus')>",
    "![image](https://evil.example/markdown.png)",
    "[link](javascript:alert('markdown'))",
    "# heading\n<b onmouseover=alert('bold')>bold</b>",
    "$\\href{javascript:alert('math')}{x}$",
    "{{ 7 * 7 }}{% raw %}",
    "datum.count > 0 || alert('vega')",
    "\"); import os; os.system('false') #",
    "'; DROP TABLE events; --",
    "gpj\u202eexe",
    "\x1b[31mred\x1b[0m",
    "zero\u200bwidth\ufeff",
    "]]>&lt;&amp;<!--",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A report on disk and its text."""

    path: Path
    html: str


def exported(document: Any, name: str = "notebook", *, static: bool = False) -> str:
    """Return the report of an executed notebook."""
    exporter = AuditReportExporter(static=static)  # type: ignore[no-untyped-call]
    html, _ = exporter.from_notebook_node(document, {"metadata": {"name": name}})
    return html


def code(source: str, *outputs: Any, number: int | None = 1, tags: Sequence[str] = ()) -> dict[str, Any]:
    """Return a code cell that was run, or with `number=None` one that was not."""
    return {
        "cell_type": "code",
        "source": source,
        "execution_count": number,
        "outputs": list(outputs),
        "metadata": {"tags": list(tags)} if tags else {},
    }


def prose(source: str) -> dict[str, Any]:
    """Return a markdown cell."""
    return {"cell_type": "markdown", "source": source, "metadata": {}}


def notebook(*cells: dict[str, Any], **metadata: Any) -> Any:
    """Return a notebook of these cells."""
    return nbformat.from_dict(  # type: ignore[no-untyped-call]
        {"nbformat": 4, "nbformat_minor": 4, "metadata": metadata, "cells": list(cells)}
    )


def display(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return an output with these forms."""
    return {"output_type": "display_data", "data": data, "metadata": metadata or {}}


def shown(value: Any) -> dict[str, Any]:
    """Return the output of a value that shows itself."""
    made = value._repr_mimebundle_()
    return display(*made) if isinstance(made, tuple) else display(made)


def raised(name: str, message: str) -> dict[str, Any]:
    """Return the output of an exception."""
    return {
        "output_type": "error",
        "ename": name,
        "evalue": message,
        "traceback": [f"\x1b[31m{name}\x1b[0m: {message}"],
    }


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text.append(data)


def run_here(path: Path, **parameters: object) -> Any:
    """Return a notebook run in this process, without a kernel: its cells with what their last line shows.

    Parameters are assigned behind the cell tagged `parameters`, as papermill does.
    """
    document = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    names: dict[str, Any] = {}
    for number, cell in enumerate(cell for cell in document.cells if cell.cell_type == "code"):
        body = ast.parse(cell.source).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body=body, type_ignores=[]), str(path), "exec"), names)  # noqa: S102 -- our notebook
        if "parameters" in cell.metadata.get("tags", []):
            names.update(parameters)
        cell.execution_count, cell.outputs = number + 1, []
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), str(path), "eval"), names)  # noqa: S307 -- as above
            cell.outputs = [nbformat.from_dict(shown(value))]  # type: ignore[no-untyped-call]
    return document


def elements(html: str) -> list[tuple[str, dict[str, str]]]:
    """Return the elements of a page with their attributes, as a parser of HTML sees them."""
    parser = _Elements()
    parser.feed(html)
    return parser.found


def text_of(html: str) -> str:
    """Return the text of a page, as a parser of HTML sees it, without its scripts."""
    parser = _Elements()
    parser.feed(html)
    return "".join(parser.text)


def scripts_of(html: str) -> tuple[list[str], list[Any]]:
    """Return the scripts of a page that a browser runs, and what those hold that are only data."""
    parser = _Elements()
    parser.feed(html)
    kinds = [attributes for name, attributes in parser.found if name == "script"]
    run = [text for kind, text in zip(kinds, parser.scripts, strict=True) if kind in ({}, {"type": "module"})]
    data = [
        text for kind, text in zip(kinds, parser.scripts, strict=True) if kind == {"type": "application/json"}
    ]
    packed = {"type": "application/octet-stream", "id": "events"}
    assert len(run) + len(data) + kinds.count(packed) == len(kinds)
    assert kinds.count(packed) <= 1
    return run, [json.loads(text) for text in data]
