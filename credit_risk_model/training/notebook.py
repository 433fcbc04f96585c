"""Runs the notebook step by step: `python -m credit_risk_model.training.notebook NOTEBOOK OUTPUT -p name value ...`.

The kernel is always this Python, whatever kernels the notebook, JUPYTER_PATH or the user's folders name. The executed
notebook is written once, at the end, whole or not at all. If a cell fails, it is written up to that cell.
"""

import argparse
import ast
import asyncio
import errno
import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from papermill.parameterize import parameterize_notebook
from tqdm import tqdm

from credit_risk_model import errors
from credit_risk_model.errors import ConfigurationError, CreditRiskError
from credit_risk_model.whole_file import write_whole

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
BAR = "{desc}: {n_fmt} of {total_fmt} cells |{bar:30}| {elapsed}"
_SELF_EXPLANATORY = {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, CreditRiskError)
}
_SELF_EXPLANATORY.add("SystemExit")
"""Exceptions whose message is shown without a traceback."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class NotebookError(CreditRiskError):
    """A step of the notebook failed; the message starts with the step's name."""


class Interrupted(Exception):
    """A signal asked the run to end."""


class _ThisPython(KernelSpecManager):
    """Returns this Python's kernel for every requested name."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())


class _Client(NotebookClient):
    """Runs a notebook; `step` is the last heading before the running cell.

    Step names are shown on the bar, or written to standard output if standard error is not a terminal. The cells' logs
    go to standard output.
    """

    def __init__(self, notebook: NotebookNode, title: str, **options: Any) -> None:
        super().__init__(notebook, coalesce_streams=True, startup_timeout=120, **options)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        self.bar = tqdm(total=len(cells), desc=title, bar_format=BAR, disable=None, leave=False)
        self.step = title
        self.interrupted = False
        self.on_cell_start = self._start_cell
        self.on_cell_executed = lambda **_: self.bar.update()

    def _start_cell(self, cell: NotebookNode, cell_index: int) -> None:
        task = asyncio.current_task()
        assert task
        for name in (signal.SIGINT, signal.SIGTERM):  # nbclient's own handlers only end the kernel
            asyncio.get_running_loop().add_signal_handler(name, self._interrupt, task)
        if cell.cell_type == "markdown" and (heading := _find_last_heading(cell.source)):
            self.step = heading
            self.bar.set_description_str(heading)
            if self.bar.disable:
                tqdm.write(heading)

    def _interrupt(self, task: "asyncio.Task[None]") -> None:
        self.interrupted = True
        self.shutdown_kernel = "immediate"
        task.cancel()

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        output = super().process_message(msg, cell, cell_index)
        if output and output.output_type == "stream":
            for line in re.split(r"[\r\n]+", output.text):
                if line.strip():
                    tqdm.write(line)
        return output

    async def run(self, folder: Path) -> None:
        """Run all cells; the kernel's files go into the folder, so that the user's IPython settings don't apply."""
        clock = asyncio.create_task(self._keep_time())
        try:
            with (folder / "log").open("wb") as log:
                await self.async_execute(
                    cleanup_kc=True, env={**os.environ, "IPYTHONDIR": str(folder)}, stderr=log, stdout=log
                )
        finally:
            clock.cancel()
            self.bar.close()

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.bar.refresh()


def run_notebook(path: Path, output: Path, parameters: Mapping[str, Any]) -> list[Path]:
    """Run a notebook with parameters as papermill sets them.

    Returns:
        The files written: the executed notebook, and its copy under the number of the archive that it packaged.

    Raises:
        ConfigurationError: The notebook can't be read, its output can't be written, or a parameter is unknown.
        NotebookError: A step failed with an error of this package, or its kernel died.
        CellExecutionError: A step failed otherwise.
        Interrupted: SIGINT or SIGTERM ended the run.
    """
    notebook = _prepare(path, parameters)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(output.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
            try:
                _execute(notebook, path.stem, Path(folder))
            finally:
                _write(notebook, output)
        copy = _name_copy(notebook, output)
        if copy:
            _write(notebook, copy)
    except OSError as error:
        raise ConfigurationError(f"{output} can't be written: {error.strerror or error}.") from error
    return [output, copy] if copy else [output]


def _execute(notebook: NotebookNode, title: str, folder: Path) -> None:
    manager = AsyncKernelManager(
        kernel_name=KERNEL["name"],
        kernel_spec_manager=_ThisPython(),
        connection_file=str(folder / "connection.json"),
        transport="ipc",  # sockets in the folder, which only this user can reach; a TCP port is open to other users
        ip=str(folder / "socket"),
        shutdown_wait_time=30,  # time to remove its worker processes' shared memory
    )
    client = _Client(notebook, title, km=manager)
    try:
        asyncio.run(client.run(folder))
    except CellExecutionError as error:
        if error.ename in _SELF_EXPLANATORY:
            raise NotebookError(f"{client.step}: {_join_lines(error.evalue)}") from error
        raise
    except (RuntimeError, asyncio.CancelledError) as error:
        if client.interrupted:
            raise Interrupted(f"{client.step}: interrupted.") from error
        sys.stdout.write((folder / "log").read_text(errors="replace"))
        raise NotebookError(
            f"{client.step}: {_join_lines(str(error))}. A kernel dies when memory runs out: close other programs, or "
            "train on fewer loans."
        ) from error


def _prepare(path: Path, parameters: Mapping[str, Any]) -> NotebookNode:
    """Read the notebook, clear its outputs, and set the parameters."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}.") from error
    except Exception as error:  # nbformat's errors have no common base class
        raise ConfigurationError(f"{path} is not a notebook: {_join_lines(str(error))[:200]}") from error
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.setdefault("tags", [])
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    known = _list_parameters(notebook)
    for name in parameters:
        if name not in known:
            raise ConfigurationError(f"{path} has no parameter {name!r}; it has: {', '.join(known) or 'none'}.")
    notebook.metadata = NotebookNode(kernelspec=NotebookNode(KERNEL), papermill=NotebookNode())
    if known:
        notebook = parameterize_notebook(notebook, dict(parameters), kernel_name="python3", language="python")
    return notebook


def _list_parameters(notebook: NotebookNode) -> list[str]:
    sources = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.tags]
    assignments = [node for source in sources for node in ast.parse(source).body]
    targets = [getattr(node, "targets", [getattr(node, "target", None)])[0] for node in assignments]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _find_last_heading(markdown: str) -> str | None:
    found: list[str] = re.findall(r"^#{1,6} +(.+?)[ #]*$", markdown, re.MULTILINE)
    return found[-1] if found else None


def _name_copy(notebook: NotebookNode, output: Path) -> Path | None:
    """Name the copy after the archive, whose name is in the output of the packaging cell: `'3.zip'`."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and "training.package()" in cell.source:
            for shown in cell.outputs:
                name = re.search(r"([^/'\"]+)\.zip", shown.get("data", {}).get("text/plain", ""))
                if name:
                    return output.with_name(f"{output.stem}.{name[1]}{output.suffix}")
    return None


def _write(notebook: NotebookNode, path: Path) -> None:
    write_whole(path, f"{nbformat.writes(notebook)}\n".encode())


def _join_lines(message: str) -> str:
    return " ".join(message.split())


def _parse_value(text: str) -> Any:
    """Parse a parameter as papermill does: None, a boolean or a number, else a text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if value is None or isinstance(value, bool | int | float) else text


def main(arguments: list[str] | None = None) -> None:
    """Run a notebook from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m credit_risk_model.training.notebook", description="Run a notebook step by step."
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("output", type=Path, help="executed notebook to write; an existing one is replaced")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    options = parser.parse_args(arguments)
    kept = f"Notebook up to this step: {options.output}\n"
    try:
        parameters = {name: _parse_value(value) for name, value in options.parameter}
        for written in run_notebook(options.notebook, options.output, parameters):
            sys.stdout.write(f"Executed notebook: {written}\n")
    except NotebookError as error:
        sys.stdout.write(kept)
        parser.exit(1, f"{error}\n")
    except CreditRiskError as error:
        parser.exit(1, f"{error}\n")
    except CellExecutionError as error:
        sys.stdout.write(kept)
        parser.exit(1, f"{str(error) if sys.stderr.isatty() else _COLOURS.sub('', str(error))}\n")
    except Interrupted as error:
        sys.stdout.write(kept)
        parser.exit(130, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted before the first step.\n")


if __name__ == "__main__":
    main()
