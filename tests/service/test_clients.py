import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, rounded
from processes import Service, find_tool

from credit_risk_model.examples import EXAMPLE_ANSWER, EXAMPLE_EXPLANATION, EXAMPLE_LOAN

PAGE = (ROOT / "docs" / "how-to" / "call-the-service.md").read_text(encoding="utf-8")
WITH_HTTPX, WITH_CLIENT = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run_example(code: str, address: str) -> dict[str, Any]:
    """The names that an example of the page defines, asked of a service."""
    known: dict[str, Any] = {"loan": dict(EXAMPLE_LOAN)}
    assert "http://127.0.0.1:8000" in code
    exec(compile(code.replace("http://127.0.0.1:8000", address), "call-the-service.md", "exec"), known)  # noqa: S102
    return known


def test_example_with_httpx_gets_the_decision(shipped: Service) -> None:
    """The page's five lines of httpx ask the service for the example's decision."""
    assert run_example(WITH_HTTPX, shipped.address)["decision"] == EXAMPLE_ANSWER["credit_risk"]


@pytest.fixture(scope="module")
def client(shipped: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The client that the page's command generates from the contract, imported, and connected to the service."""
    folder = tmp_path_factory.mktemp("client")
    (line,) = re.findall(r"^\$ (openapi-python-client .*)", PAGE, re.MULTILINE)
    program, *arguments = shlex.split(line.replace("build/client", str(folder / "client")))
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it runs ruff
    command = [find_tool(str(Path(sys.executable).parent / program)), *arguments, "--fail-on-warning"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PATH": tools}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder / "client"))
    import credit_risk_model_service_client as package  # noqa: PLC0415  # it was not there before
    from credit_risk_model_service_client import models  # noqa: PLC0415
    from credit_risk_model_service_client.api.models import get_model_metadata  # noqa: PLC0415
    from credit_risk_model_service_client.api.predictions import (  # noqa: PLC0415
        credit_risk_batch_prediction,
        credit_risk_explanation_prediction,
        credit_risk_model_prediction,
    )

    with package.Client(base_url=shipped.address) as connected:
        yield SimpleNamespace(
            connected=connected,
            models=models,
            predict=credit_risk_model_prediction.sync_detailed,
            predict_batch=credit_risk_batch_prediction.sync,
            explain=credit_risk_explanation_prediction.sync,
            describe=get_model_metadata.sync,
        )
    sys.path.remove(str(folder / "client"))


@pytest.mark.usefixtures("client")
def test_example_with_the_generated_client_gets_the_decision(shipped: Service) -> None:
    """The page's example of the generated client asks the service for the example's decision."""
    assert run_example(WITH_CLIENT, shipped.address)["decision"] == EXAMPLE_ANSWER["credit_risk"]


def test_generated_client_reads_every_answer(client: SimpleNamespace) -> None:
    """A prediction, a batch, an explanation and the metadata come back as the contract's types, with all they hold."""
    loan = client.models.CreditRiskModelInput.from_dict(EXAMPLE_LOAN)
    answer = client.predict(client=client.connected, body=loan)
    assert answer.status_code == 200
    assert rounded(answer.parsed.to_dict()) == rounded(EXAMPLE_ANSWER)
    batch = client.predict_batch(client=client.connected, body=client.models.CreditRiskBatchInput(loans=[loan, loan]))
    assert rounded(batch.to_dict()) == rounded({"predictions": [EXAMPLE_ANSWER, EXAMPLE_ANSWER]})
    asked = client.models.CreditRiskExplanationInput.from_dict({**EXAMPLE_LOAN, "max_reasons": 2})
    explained = client.explain(client=client.connected, body=asked)
    assert rounded(explained.to_dict()) == rounded(EXAMPLE_EXPLANATION)
    described = client.describe("credit_risk_model", client=client.connected)
    assert described.qualified_name == "credit_risk_model"


def test_generated_client_reads_a_refusal(client: SimpleNamespace) -> None:
    """What the service refuses comes back as the contract's error, with the field that is wrong."""
    loan = client.models.CreditRiskModelInput.from_dict(EXAMPLE_LOAN)
    loan.loan_amount = 1
    answer = client.predict(client=client.connected, body=loan)
    assert answer.status_code == 400
    assert isinstance(answer.parsed, client.models.Error)
    (message,) = answer.parsed.messages
    assert message.startswith("Field 'body, loan_amount' has error 'greater_than_equal'")
