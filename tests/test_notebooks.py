"""The notebooks run as they are, show what they would show now, and define nothing: their code is in `analysis`.

`python tests/test_notebooks.py` runs them and writes them with what they show now.
"""

import ast
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from offmodel.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def read(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def executed(path: Path) -> Any:
    """The notebook run from top to bottom, without times and versions, so that a new run changes what has changed.

    It sees an empty mirror of the public data sets, wherever it runs: their problems are not committed.
    """
    notebook = read(path)
    resources = {"metadata": {"path": str(ROOT)}}
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", record_timing=False, resources=resources)
    with TemporaryDirectory() as mirror:
        client.execute(env={**os.environ, "OFFMODEL_DATA": mirror})
    notebook.metadata = METADATA
    return notebook


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook: Any) -> dict[str, list[dict[str, str]]]:
    """By cell, all that its outputs say; not their pictures, whose bytes differ between builds of a font library."""
    found = {}
    for cell in code_cells(notebook):
        outputs = [dict(output.get("data", {output.output_type: output.get("text", "")})) for output in cell.outputs]
        found[cell.id] = [
            {kind: text for kind, text in output.items() if not kind.startswith("image/")} for output in outputs
        ]
    return found


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS] == [
        "01_degradation.ipynb",
        "02_read_completions.ipynb",
        "03_recovery.ipynb",
        "04_dft.ipynb",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs_are_those_of_the_committed_results(path: Path) -> None:
    assert texts(read(path)) == texts(executed(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_was_committed_with_its_outputs(path: Path) -> None:
    cells = code_cells(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run out of order, or not at all"
    assert sum(bool(cell.outputs) for cell in cells) >= len(cells) - 2  # not: what imports, and what checks
    assert path.stat().st_size < 320_000
    assert str(ROOT) not in path.read_text(encoding="utf-8")
    assert read(path).metadata == METADATA


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_figures_were_committed_with_it(path: Path) -> None:
    for cell in code_cells(read(path)):
        drawn = [output for output in cell.outputs if "<Figure" in output.get("data", {}).get("text/plain", "")]
        assert all("image/png" in output["data"] for output in drawn)
        assert len(drawn) == cell.source.count("FIGURES[")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_defines_nothing(path: Path) -> None:
    for cell in code_cells(read(path)):
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef), cell.source


if __name__ == "__main__":
    for one in NOTEBOOKS:
        nbformat.write(executed(one), one)
