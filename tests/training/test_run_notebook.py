import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from processes import unmeasured_environment

PARAMETERS = new_code_cell("number = 1\ntext = None", metadata={"tags": ["parameters"]})
REFUSED = "from credit_risk_model.errors import ModelRefusedError\nraise ModelRefusedError('It is worse.\\nTry again.')"


def command(folder: Path, *options: str) -> list[str]:
    """The command that runs the folder's notebook into its `out`."""
    module = "credit_risk_model.training.notebook"
    return [sys.executable, "-m", module, str(folder / "in.ipynb"), str(folder / "out/run.ipynb"), *options]


def write_notebook(folder: Path, *steps: tuple[str, str]) -> None:
    """Write a notebook with these headings and the code below each; its metadata name a kernel that isn't there."""
    cells = [new_markdown_cell("# Title"), PARAMETERS]
    for heading, source in steps:
        cells += [new_markdown_cell(f"## {heading}\n\nSome words."), new_code_cell(source)]
    foreign = {"kernelspec": {"name": "julia-1.9", "display_name": "Julia", "language": "julia"}}
    nbformat.write(new_notebook(cells=cells, metadata=foreign), folder / "in.ipynb")


def run(folder: Path, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the folder's notebook with these options and environment variables."""
    return subprocess.run(
        command(folder, *options), env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def shown(folder: Path, name: str = "run") -> list[str]:
    """What the executed notebook's code cells show as results, and the names of their errors."""
    notebook = nbformat.read(folder / f"out/{name}.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.get("ename") or output.get("data", {}).get("text/plain", "") for output in outputs]


def test_steps_and_logs_are_written(tmp_path: Path) -> None:
    """Without a terminal, each step and each log message of a cell is a line."""
    log = "import logging\nlogging.warning('Few loans.')"
    write_notebook(tmp_path, ("Data", log), ("Fit", "print('fitted')"))
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    written = f"Executed notebook: {tmp_path}/out/run.ipynb"
    assert done.stdout.splitlines() == ["Title", "Data", "WARNING:root:Few loans.", "Fit", "fitted", written]
    assert os.listdir(tmp_path / "out") == ["run.ipynb"]


def test_bar_on_a_terminal_names_the_step(tmp_path: Path) -> None:
    """On a terminal a bar shows the step that runs and how many cells are done."""
    write_notebook(tmp_path, ("Fit", "import time\ntime.sleep(1.5)"))
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))  # on one without a size no bar is drawn
    with subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=terminal) as process:
        os.close(terminal)
        drawn = b""
        try:
            while part := os.read(master, 1000):
                drawn += part
        except OSError:  # how a terminal says that its other side is gone
            pass
    os.close(master)
    assert process.returncode == 0
    assert re.search(rb"Fit: 2 of 3 cells \|\W+\| 00:0\d", drawn), drawn


def test_hostile_kernels_are_not_run(tmp_path: Path) -> None:
    """The kernel is always this Python, regardless of the environment's kernels and IPython settings."""
    kernel = {"argv": ["/bin/false", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    for name in ("python3", "julia-1.9"):
        for data in ("jupyter", "home/.local/share/jupyter", "data"):
            (tmp_path / data / "kernels" / name).mkdir(parents=True)
            (tmp_path / data / "kernels" / name / "kernel.json").write_text(json.dumps(kernel))
    (tmp_path / "home/.ipython/profile_default/startup").mkdir(parents=True)
    (tmp_path / "home/.ipython/profile_default/startup/hostile.py").write_text("raise SystemExit(1)")
    write_notebook(tmp_path, ("Look", "import sys\nsys.executable"))
    done = run(
        tmp_path,
        HOME=str(tmp_path / "home"),
        JUPYTER_PATH=str(tmp_path / "jupyter"),
        JUPYTER_DATA_DIR=str(tmp_path / "data"),
        JUPYTER_PREFER_ENV_PATH="0",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert shown(tmp_path) == [repr(sys.executable)]
    assert nbformat.read(tmp_path / "out/run.ipynb", as_version=4).metadata.kernelspec.name == "python3"


def test_parameters_are_injected(tmp_path: Path) -> None:
    """Parameters are set in a separate cell, which replaces an earlier run's, and are parsed as numbers or texts."""
    write_notebook(tmp_path, ("Look", "(number, text)"))
    assert run(tmp_path, "-p", "number", "2.5").returncode == 0
    (tmp_path / "out/run.ipynb").replace(tmp_path / "in.ipynb")
    assert run(tmp_path, "-p", "text", "2015-12-01").returncode == 0
    assert shown(tmp_path) == ["(1, '2015-12-01')"]
    cells = nbformat.read(tmp_path / "out/run.ipynb", as_version=4).cells
    assert [cell.metadata.get("tags") for cell in cells].count(["injected-parameters"]) == 1


def test_executed_notebook_is_kept_under_the_archives_number(tmp_path: Path) -> None:
    """The run's notebook is copied under the number that the packaging cell shows."""
    package = (
        "from types import SimpleNamespace\ntraining = SimpleNamespace(package=lambda: '3.zip')\ntraining.package()"
    )
    write_notebook(tmp_path, ("Package", package))
    done = run(tmp_path)
    assert done.stdout.endswith(f"Executed notebook: {tmp_path}/out/run.3.ipynb\n")
    assert shown(tmp_path, "run.3") == shown(tmp_path) == ["'3.zip'"]


@pytest.mark.parametrize(
    ("source", "message", "name"),
    [
        (REFUSED, "Package: It is worse. Try again.\n", "ModelRefusedError"),
        ("raise SystemExit('Do not serve it.')", "Package: Do not serve it.\n", "SystemExit"),
    ],
)
def test_packages_errors_are_one_line(tmp_path: Path, source: str, message: str, name: str) -> None:
    """An error that the package raises on purpose is one line with its step, and the notebook up to there is kept."""
    write_notebook(tmp_path, ("Data", "'read'"), ("Package", source), ("After", "'not run'"))
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (1, message)
    assert done.stdout.endswith(f"Notebook up to this step: {tmp_path}/out/run.ipynb\n")
    assert [text for text in shown(tmp_path) if text] == ["'read'", name]


def test_other_errors_keep_their_traceback(tmp_path: Path) -> None:
    """An unexpected error shows its traceback, and the notebook up to that cell is kept."""
    write_notebook(tmp_path, ("Fit", "1 / 0"))
    done = run(tmp_path)
    assert done.returncode == 1
    assert "----> 1 1 / 0\n\nZeroDivisionError: division by zero" in done.stderr
    assert shown(tmp_path) == ["ZeroDivisionError"]


def test_dead_kernel_is_one_line(tmp_path: Path) -> None:
    """A killed kernel is reported in one line with the probable cause."""
    write_notebook(tmp_path, ("Fit", "import os\nos.write(2, b'its last words')\nos.kill(os.getpid(), 9)"))
    done = run(tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("Fit: Kernel died. A kernel dies when memory runs out")
    assert "its last words" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_is_one_line(tmp_path: Path, number: int) -> None:
    """An interrupted run stops its kernel, keeps the notebook, logs one line and exits with 130."""
    source = "import os, time\nprint('kernel', os.getpid(), flush=True)\ntime.sleep(60)"
    write_notebook(tmp_path, ("Fit", source))
    with subprocess.Popen(
        command(tmp_path), env=unmeasured_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        kernel = next(int(line.split()[1]) for line in process.stdout if line.startswith("kernel"))
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "Fit: interrupted.\n")
    with pytest.raises(ProcessLookupError, match="No such process"):
        os.kill(kernel, 0)
    assert os.listdir(tmp_path / "out") == ["run.ipynb"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("-p", "unknown", "1"), "in.ipynb has no parameter 'unknown'; it has: number, text."),
        ((), "out/run.ipynb can't be written: "),
    ],
)
def test_what_cannot_work_is_refused_before_the_run(tmp_path: Path, options: Any, line: str) -> None:
    """An unknown parameter and an output that can't be written are refused in one line before any cell runs."""
    (tmp_path / "out").write_text("in the way")
    write_notebook(tmp_path, ("Fit", "print('ran')"))
    done = run(tmp_path, *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert line in done.stderr


@pytest.mark.parametrize(("content", "line"), [(None, "can't be read: No such file"), ("{}", "is not a notebook: ")])
def test_unreadable_notebook_is_one_line(tmp_path: Path, content: str | None, line: str) -> None:
    """A notebook that is missing or no notebook is named."""
    if content is not None:
        (tmp_path / "in.ipynb").write_text(content)
    done = run(tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert line in done.stderr
