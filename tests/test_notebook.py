import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import RELEASED, ROOT, SHIPPED

from credit_risk_model import archive
from credit_risk_model.features import AGE_KNOWN
from credit_risk_model.training import cleaning

NOTEBOOK = ROOT / "notebooks" / "credit_risk_model.ipynb"


@pytest.fixture(scope="module")
def committed() -> nbformat.NotebookNode:
    """The notebook as it was run for the shipped archive."""
    return nbformat.read(NOTEBOOK, as_version=4)


def test_notebook_runs_from_a_clean_kernel(book_path: Path, tmp_path: Path) -> None:
    """Run top to bottom on a small synthetic book, it writes an archive that the service reads."""
    output = tmp_path / "9.zip"
    parameters = {"data": book_path, "output": output, "max_iter": 1, "max_trees": 40, "max_leaves": 31}
    parameters |= {"widen_bounds": True}
    options = [part for name, value in parameters.items() for part in ("-p", name, str(value))]
    command = [sys.executable, "-m", "credit_risk_model.training.notebook", str(NOTEBOOK), str(tmp_path / "run.ipynb")]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    steps = done.stdout.splitlines()
    assert steps.index("Data") < steps.index("Search") < steps.index("Fit") < steps.index("Package")
    assert (tmp_path / "run.9.ipynb").read_bytes() == (tmp_path / "run.ipynb").read_bytes()
    found = archive.read(output).metadata
    assert (found.model_version, found.data.kind, set(found.models)) == ("9", "synthetic", {"age_known", "age_unknown"})
    assert found.cleaning[-1].step == cleaning.STEP_OF_WIDENING[0]
    cells = [cell for cell in nbformat.read(tmp_path / "run.ipynb", as_version=4).cells if cell.cell_type == "code"]
    errors = [output.text for cell in cells for output in cell.outputs if output.get("name") == "stderr"]
    # The one thing that may be said on the way is how far the search is.
    assert not [text for text in errors if text.strip() and "search, age" not in text]


def test_committed_run_is_whole_and_in_order(committed: nbformat.NotebookNode) -> None:
    """Every code cell was run once, in order, without an error."""
    cells = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]


def test_committed_run_made_the_shipped_archive(committed: nbformat.NotebookNode) -> None:
    """The notebook's outputs show the shipped archive's own hyper-parameters and cut-off."""
    served = archive.read(SHIPPED)
    if served.sha256 != RELEASED:
        pytest.skip("the configuration names another archive than the released one")
    shipped = served.metadata
    text = "\n".join(
        output.data["text/plain"]
        for cell in committed.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "execute_result"
    )
    for name, record in shipped.models.items():
        assert name in text
        assert str(round(float(record.hyperparameters["learning_rate"]), 6)) in text
    assert f"{shipped.cut_off:.4f}" in text


def test_cells_only_call_the_package(committed: nbformat.NotebookNode) -> None:
    """No cell defines a function or a class, loops over rows or trains on its own."""
    for cell in committed.cells:
        if cell.cell_type == "code":
            assert not re.search(r"^\s*(def|class|for|while|lambda)\b", cell.source, re.MULTILINE), cell.source
            assert not re.search(r"import (lightgbm|sklearn|flaml|deepchecks)", cell.source), cell.source


def test_no_output_shows_a_borrowers_row(committed: nbformat.NotebookNode) -> None:
    """No table has the fields as its columns, and no output lists loans."""
    for cell in committed.cells:
        for output in cell.get("outputs", []):
            head = str(output.get("data", {}).get("text/html", "")).split("</thead>")[0]
            assert sum(f">{name}<" in head for name in AGE_KNOWN.names) == 0
