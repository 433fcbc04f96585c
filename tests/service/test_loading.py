"""What a service is while its models load, and once they are loaded or refused."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import SHIPPED
from processes import Service, lines_of
from raw_client import JSON, LOAN, PREDICTION

from credit_risk_model import archive
from credit_risk_model.examples import EXAMPLE_LOAN


def test_pinned_archive_is_loaded_and_any_other_refused(
    start_service: Callable[..., Service], archive_path: Path
) -> None:
    """With a digest in the YAML, the service gets ready on that archive, and stays unready with any other."""
    digest = archive.sha256(archive_path.read_bytes())
    good = start_service(archive=str(archive_path), sha256=digest)
    good.wait_for("/api/health/ready")
    assert [line["sha256"] for line in lines_of(good, 1, body="loaded")] == [digest]
    bad = start_service(archive=str(archive_path), sha256="0" * 64)
    bad.wait_for("/api/health", status=503)
    assert bad.get("/api/health/ready")[0] == 503
    assert f"its SHA-256 is {digest}, but the configuration pins" in bad.log.read_text()


def test_model_not_loaded_is_a_503_to_come_back_to(
    start_service: Callable[..., Service], archive_path: Path, tmp_path: Path
) -> None:
    """While the model loads the process is healthy, not ready, and sends predictions away for a second."""
    pipe = tmp_path / "1.zip"
    os.mkfifo(pipe)  # reading it waits until somebody writes
    service = start_service(archive=str(pipe))
    service.wait_for("/api/health")
    assert service.get("/api/health/startup")[0] == 503
    assert service.get("/api/health/ready")[0] == 503
    answer = httpx.post(service.address + PREDICTION, content=LOAN, headers=JSON)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert httpx.get(f"{service.address}/api/models/credit_risk_model/metadata").status_code == 503
    pipe.unlink()
    service.process.kill()


def test_refused_archive_sends_predictions_away(start_service: Callable[..., Service], tmp_path: Path) -> None:
    """With a model that can't be trusted, predictions are refused and not found missing."""
    service = start_service(archive=str(tmp_path / "1.zip"))
    service.wait_for("/api/health", status=503)
    assert httpx.post(service.address + PREDICTION, content=LOAN, headers=JSON).status_code == 503


def test_service_that_is_told_to_end_while_it_loads_does_not_become_ready(
    start_service: Callable[..., Service], archive_path: Path
) -> None:
    """Models that are loaded after SIGTERM welcome no traffic that nobody will be there to answer."""
    service = start_service(
        archive=str(archive_path),
        more_models=("models_for_tests.SlowToLoadModel",),
        settings={"drain_timeout_seconds": 30},
    )
    service.wait_for("/api/health")
    service.process.send_signal(signal.SIGTERM)
    statuses, asked_since_start = set(), 0
    with httpx.Client(base_url=service.address) as client:
        while asked_since_start < 50:  # as long as requests come, the drain goes on
            statuses.add(client.get("/api/health/ready").status_code)
            asked_since_start += client.get("/api/health/startup").status_code == 200
    assert statuses == {503}
    assert '"body":"ready"' not in service.log.read_text()


def test_champion_and_challenger_stand_side_by_side(start_service: Callable[..., Service], archive_path: Path) -> None:
    """By `model_name` one service answers from two archives, each with its batch and explanation."""
    parts = {
        "model.CreditRiskModel": "model",
        "batch.CreditRiskBatch": "batch",
        "explanation.CreditRiskExplanation": "why",
    }
    challenger = tuple(
        {
            "class_path": f"credit_risk_model.prediction.{part}",
            "configuration": {"archive": str(archive_path), "model_name": f"challenger_{name}"},
        }
        for part, name in parts.items()
    )
    champion = ("credit_risk_model.prediction.batch.CreditRiskBatch",)
    service = start_service(archive=str(SHIPPED), more_models=(*champion, *challenger))
    service.wait_for("/api/health/ready")

    def ask(model: str, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
        answer = httpx.post(f"{service.address}/api/models/{model}/prediction", json=body)
        return answer.json(), answer.headers["X-Model-Version"]

    shipped = archive.read(SHIPPED).metadata.model_version
    first, version = ask("credit_risk_model", EXAMPLE_LOAN)
    assert version == shipped
    second, version = ask("challenger_model", EXAMPLE_LOAN)
    assert version == "test"
    assert first["risk_probability"] != second["risk_probability"]
    batch = {"loans": [EXAMPLE_LOAN]}
    assert ask("credit_risk_batch", batch) == ({"predictions": [first]}, shipped)
    assert ask("challenger_batch", batch) == ({"predictions": [second]}, "test")
    explained, version = ask("challenger_why", EXAMPLE_LOAN)
    assert (explained["risk_probability"], version) == (second["risk_probability"], "test")
    paths = httpx.get(f"{service.address}/openapi.json").json()["paths"]
    assert "/api/models/challenger_why/prediction" in paths
    told = httpx.get(f"{service.address}/api/models/challenger_model/metadata").json()
    assert (told["qualified_name"], told["archive"]["version"]) == ("challenger_model", "test")
    metrics = httpx.get(f"{service.address}/metrics").text
    assert 'credit_risk_cut_off{model="challenger_model"} 0.3\n' in metrics


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (None, "models: two are named credit_risk_model. Set `model_name` in the configuration of one."),
        ("a/b", "model_name is 'a/b': set 1 to 64 lower-case letters, digits or underscores."),
        (5, "model_name is '5': set 1 to 64 lower-case letters, digits or underscores."),
    ],
)
def test_name_that_can_not_be_stops_the_start(
    start_service: Callable[..., Service], archive_path: Path, name: Any, words: str
) -> None:
    """Two models of one name, or a name that can't stand in a path, are told in one line before anything is loaded."""
    configuration = {"archive": str(archive_path)} | ({} if name is None else {"model_name": name})
    other = {"class_path": "credit_risk_model.prediction.model.CreditRiskModel", "configuration": configuration}
    service = start_service(archive=str(archive_path), more_models=(other,))
    assert service.process.wait(30) == 1
    assert lines_of(service)[-1]["body"] == f"The service can't start: {words}"


def test_refused_archive_is_told_in_a_line(start_service: Callable[..., Service], tmp_path: Path) -> None:
    """What is wrong with it stands in the log, without the stack of where that was noticed."""
    service = start_service(archive=str(tmp_path / "1.zip"))
    service.wait_for("/api/health", status=503)
    text = service.log.read_text()
    assert "The model credit_risk_model is not loaded: 1.zip: no such file." in text
    assert "Traceback" not in text
