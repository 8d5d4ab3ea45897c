"""Run our notebooks and save them with their outputs: `python tests/execute_notebooks.py`.

Who ran them, when and on which machine is taken out again, so that running them twice changes nothing; but for what the
tour shows of the moment, in cells that are tagged for it.  What they make goes away.
"""

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"


def look_alike(folder: Path) -> Path:
    """Return a folder with the data beside it, in which a notebook may leave what it makes."""
    (folder / "data").symlink_to(ROOT / "data")
    (folder / "notebooks").mkdir()
    return folder / "notebooks"


def execute(path: Path) -> None:
    """Run one notebook, and write its outputs into it."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder:
        place = look_alike(Path(folder))
        resources = {"metadata": {"path": str(place)}}
        NotebookClient(notebook, resources=resources, store_widget_state=False).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("metadata", {}).pop("application/vnd.auditkit.cover+json", None)
    text = nbformat.writes(notebook).replace(folder, "/home/analyst/auditkit")  # type: ignore[no-untyped-call]
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    for notebook_path in sorted(NOTEBOOKS.glob("*.ipynb")):
        execute(notebook_path)
