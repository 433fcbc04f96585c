"""Rules and dashboard in a real Prometheus, which scrapes real services."""

import json
import math
import re
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubernetes.monitoring import GROUPS, PANELS, RULES
from processes import Service, find_tool, process

from credit_risk_model.examples import EXAMPLE_LOAN

PROMETHEUS = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [rules.yaml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: [{alertmanager}]}}]}}]}}
scrape_configs:
  - job_name: pods
    static_configs:
      - {{targets: [{first}], labels: {{namespace: model-services, pod: first}}}}
      - {{targets: [{second}], labels: {{namespace: model-services, pod: second}}}}
"""


def free_address() -> str:
    """An address that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def get_json(address: str, path: str) -> Any:
    """What a server of this test answers."""
    with urllib.request.urlopen(f"http://{address}/api/{path}", timeout=10) as answer:  # our own
        return json.loads(answer.read())


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Alertmanager that tells nobody."""
    program, folder, address = (
        find_tool("prometheus-alertmanager", "alertmanager"),
        tmp_path_factory.mktemp("alerts"),
        free_address(),
    )
    (folder / "alertmanager.yaml").write_text("{route: {receiver: nobody}, receivers: [{name: nobody}]}")
    options = ["--config.file=alertmanager.yaml", "--storage.path=data", "--cluster.listen-address="]
    with process([program, *options, f"--web.listen-address={address}"], folder):
        yield address


def write_settings(folder: Path, services: list[Service], alertmanager: str) -> None:
    """Write what Prometheus scrapes, and the rules, whose alerts fire as soon as what they are about holds."""
    first, second = (service.address.removeprefix("http://") for service in services)
    groups = [
        {
            **group,
            "interval": "1s",
            "rules": [{**rule, "for": "0s"} if "alert" in rule else rule for rule in group["rules"]],
        }
        for group in GROUPS
    ]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    settings = PROMETHEUS.format(first=first, second=second, alertmanager=alertmanager)
    (folder / "prometheus.yaml").write_text(settings)


def send_traffic(services: list[Service], seconds: float) -> None:
    """Ask each service for a prediction, for one that it refuses, and for a batch, again and again."""
    model = "/api/models/credit_risk_model/prediction"
    batch = "/api/models/credit_risk_batch/prediction"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for service in services:
            httpx.post(service.address + model, json=EXAMPLE_LOAN)
            httpx.post(service.address + model, json={})
            httpx.post(service.address + batch, json={"loans": [EXAMPLE_LOAN] * 20})
        time.sleep(0.2)


@pytest.fixture(scope="module")
def prometheus(
    start_service: Callable[..., Service],
    archive_path: Path,
    alertmanager: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Any]]:
    """A real Prometheus that scrapes two real services under traffic; gives the function that asks it.

    Alerts fire as soon as what they are about holds: nobody waits a quarter of an hour.
    """
    program = find_tool("prometheus")
    tmp_path = tmp_path_factory.mktemp("prometheus")
    key = tmp_path / "key"
    key.write_text("k" * 64)
    services = [
        start_service(
            settings={"drift_batch_share": 1.0, "decisions": {"file": str(tmp_path / name), "key_file": str(key)}},
            more_models=("credit_risk_model.prediction.batch.CreditRiskBatch",),
            archive=str(archive_path),
        )
        for name in ("first.jsonl", "second.jsonl")
    ]
    for service in services:
        service.wait_for("/api/health/ready")
    write_settings(tmp_path, services, alertmanager)
    address = free_address()
    command = [program, "--config.file=prometheus.yaml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]

    def ask(path: str) -> Any:
        return get_json(address, f"v1/{path}")["data"]

    with process(command, tmp_path):
        send_traffic(services, seconds=20)
        yield ask


@pytest.mark.long
def test_a_real_prometheus_evaluates_every_rule(prometheus: Callable[[str], Any]) -> None:
    """No rule has an error, each recorded series has values, and each metric that a rule names is there."""
    targets = prometheus("targets")["activeTargets"]
    assert [target["health"] for target in targets] == ["up", "up"]
    found = [rule for group in prometheus("rules")["groups"] for rule in group["rules"]]
    assert [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] != "ok"] == []
    assert len(found) == len(RULES)
    bare = [re.sub('"[^"]*"', "", rule["expr"]) for rule in RULES]
    names = {name for expression in bare for name in re.findall(r"\bcredit_risk_\w+", expression)}
    names |= {rule["record"] for rule in RULES if "record" in rule}
    for name in names:
        result = prometheus(f"query?query={urllib.parse.quote(name)}")["result"]
        assert result, f"{name} has no series"
    # A ratio of none to some is 0; of none to none it would be nothing.
    (errors,) = prometheus("query?query=credit_risk:errors:ratio_rate5m")["result"]
    assert float(errors["value"][1]) == 0


@pytest.mark.long
def test_alerts_reach_a_real_alertmanager(prometheus: Callable[[str], Any], alertmanager: str) -> None:
    """One loan again and again is not the training's book, which is told by field, with the way into the runbook."""
    firing = {alert["labels"]["alertname"] for alert in prometheus("alerts")["alerts"] if alert["state"] == "firing"}
    assert "CreditRiskDrift" in firing
    # The test's archive bears a date of its own.
    assert firing <= {"CreditRiskDrift", "CreditRiskMeanProbabilityDrift", "CreditRiskArchiveOld"}
    deadline = time.monotonic() + 30
    while not (received := get_json(alertmanager, "v2/alerts")):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert {alert["labels"]["alertname"] for alert in received} == firing
    drifted = [alert for alert in received if alert["labels"]["alertname"] == "CreditRiskDrift"]
    assert {"loan_amount", "risk_probability"} <= {alert["labels"]["feature"] for alert in drifted}
    assert {alert["annotations"]["runbook"] for alert in drifted} == {"docs/runbook.md#creditriskdrift"}


@pytest.mark.long
def test_a_real_prometheus_answers_every_panel(prometheus: Callable[[str], Any]) -> None:
    """Each expression of the dashboard gives numbers, with every label that its legend names."""
    targets = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
    assert len(targets) >= len(PANELS)
    for title, target in targets:
        expression = target["expr"].replace("$namespace", "model-services").replace("$__rate_interval", "10s")
        assert "$" not in expression, title
        result = prometheus(f"query?query={urllib.parse.quote(expression)}")["result"]
        assert result, f"{title}: {expression} has no series"
        assert any(math.isfinite(float(series["value"][1])) for series in result), f"{title}: {expression} is no number"
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
            assert all(series["metric"].get(label) for series in result), f"{title}: no {label}"
