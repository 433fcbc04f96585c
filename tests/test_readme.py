import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, rounded
from processes import find_tool

from credit_risk_model.examples import EXAMPLE_ANSWER, EXAMPLE_LOAN

README = (ROOT / "README.md").read_text(encoding="utf-8")
TRIED_ELSEWHERE = {
    "curl -s": "below",
    "kubectl -n": "kubernetes/test_apply.py",
    "curl $(minikube": "container/test_deployment.py asks a pod so",
    "minikube start": "needs a cluster",
    "minikube image": "needs a cluster",
}
"""Commands by their beginnings, and where they are tried, or why they are not."""


def commands_of(text: str) -> list[str]:
    """The commands of a page's console blocks, each on one line, without comments."""
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in re.findall(r"^ *\$ ((?:[^\n]*\\\n)*[^\n]*)", block, re.MULTILINE)]
    return [part.strip() for line in lines for part in re.split(r" && ", re.sub(r"\s{2,}#.*", "", line))]


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until_ready(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the service of a process is ready."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health/ready", timeout=10):
                return
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of what `make run` serves, in this environment in place of one that it would make."""
    environment, port = tmp_path_factory.mktemp("environment"), free_port()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (environment / part).symlink_to(Path(sys.prefix) / part)
    (environment / ".installed").touch()
    command = next(command for command in commands_of(README) if command == "make run").split()
    options = ["--old-file", "service_requirements.txt", f"SERVICE={environment}", f"PORT={port}"]
    with subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            wait_until_ready(port, process)
            yield port
        finally:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGTERM)


def test_first_request_gets_the_answer_beside_it(port: int) -> None:
    """What the README's `make run` serves answers its curl command with the line below the command."""
    find_tool("curl")
    block = README.split("```console\n")[1].split("```")[0]
    command, shown = block[block.index("$ curl") + 2 :].rsplit("'\n", 1)
    asked = command.replace(":8000/", f":{port}/") + "'"
    assert asked != command + "'"
    done = subprocess.run([find_tool("bash"), "-c", asked], capture_output=True, text=True, check=True)
    assert rounded(json.loads(done.stdout)) == rounded(json.loads(shown))
    assert json.loads(command.split("-d '")[1]) == EXAMPLE_LOAN
    assert json.loads(shown) == EXAMPLE_ANSWER


def test_scoring_command_scores(tmp_path: Path) -> None:
    """The README's command scores a file of loans that have ids."""
    (command,) = (each for each in commands_of(README) if each.startswith("python -m credit_risk_model.scoring "))
    loans = pd.DataFrame([{"id": number, **EXAMPLE_LOAN} for number in (7, 8, 9)])
    pq.write_table(pa.Table.from_pandas(loans), tmp_path / "loans.parquet")
    program, *arguments = shlex.split(command)
    assert program == "python"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *arguments], cwd=tmp_path, check=True, env=environment, timeout=120)
    scores = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert [score["id"] for score in scores] == [7, 8, 9]
    assert [score["risk_probability"] for score in scores] == [pytest.approx(EXAMPLE_ANSWER["risk_probability"])] * 3


@pytest.mark.parametrize("command", sorted({*commands_of(README)} - {"make run"}))
def test_every_command_is_tried(command: str) -> None:
    """Each command of the README is tried, or known to the Makefile with its settings, or named with what tries it."""
    if command.replace('"', "").startswith(tuple(TRIED_ELSEWHERE)):
        return
    words = [word for word in shlex.split(command) if not re.match(r"[A-Z_]+=", word)]
    if words[0] == "make":
        settings = [word for word in shlex.split(command) if "=" in word]
        make = [find_tool("make"), "--dry-run"]
        subprocess.run([*make, *words[1:], *settings], cwd=ROOT, check=True, capture_output=True)
        known = (ROOT / "Makefile").read_text()
        assert all(re.search(rf"^{setting.split('=')[0]} \?=", known, re.MULTILINE) for setting in settings)
    elif words[:2] == ["pip", "install"]:
        (extra,) = re.findall(r"^\.\[(\w+)\]$", words[2])
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert extra in project["optional-dependencies"]
    else:
        assert words[:2] == ["python", "-m"]


def test_it_fits_two_screens_and_leads_on() -> None:
    """The README has at most 120 lines, no table of status codes, and names only files that are there."""
    assert len(README.splitlines()) <= 120
    assert not re.search(r"\b(401|408|413|415|431|503)\b", README)
    named = {*re.findall(r"`((?:docs|kubernetes\w*|configuration|notebooks)/[\w./-]*)`", README)}
    assert len(named) > 10
    for name in named | {*re.findall(r"\]\((.*?)\)", README)}:
        assert (ROOT / name).exists(), name


def test_picture_is_drawn_from_its_text() -> None:
    """docs/parts.svg is what docs/picture.py draws of docs/parts.yaml, and asks nothing of the internet."""
    program = "import runpy, sys; sys.stdout.write(runpy.run_path('docs/picture.py')['draw']())"
    drawn = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    picture = (ROOT / "docs" / "parts.svg").read_text(encoding="utf-8")
    assert picture == drawn, "Run `make reference`."
    assert re.findall(r"https?://[^\"\s]+|url\((?!#)", picture) == ["http://www.w3.org/2000/svg"]
