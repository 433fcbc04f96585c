import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from processes import Service, unmeasured_environment

CASES = re.compile(r"(\d+) generated, (\d+) passed")


@pytest.fixture(scope="module")
def report(shipped: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What schemathesis says of the running service, asked by the contract: the same cases each time."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        str(ROOT / "service_contract.yaml"),
        f"--url={shipped.address}",
        "--checks=all",
        "--mode=all",
        "--max-examples=800",
        "--generation-deterministic",
        "--continue-on-failure",
        "--no-color",
    ]
    # Its own code is not what `make test` measures, and takes twice as long when it is.
    environment = unmeasured_environment()
    folder = tmp_path_factory.mktemp("fuzzing")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    return done.stdout + done.stderr


@pytest.mark.long
def test_thousands_of_requests_are_answered_as_the_contract_says(report: str) -> None:
    """No request, right or wrong, gets a 5xx or a status, content type, header or body that the contract lacks.

    What the contract allows is accepted, what it forbids refused.
    """
    cases = CASES.search(report)
    assert cases, report
    generated, passed = map(int, cases.groups())
    assert generated == passed >= 3000


def test_every_operation_is_asked(report: str) -> None:
    """None of the contract's operations is left out, and none could only be asked in vain."""
    assert re.search(r"Selected: (\d+)/\1\n +Tested: \1\n", report), report
    assert "Warnings:" not in report
