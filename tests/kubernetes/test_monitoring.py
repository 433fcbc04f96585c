"""Alerts were seen to fire and to be silent, on rules that a real Prometheus takes, over metrics that there are."""

import json
import math
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import numpy as np
import pytest
import yaml
from conftest import Service, find_tool, process

from credit_risk_model import archive
from credit_risk_model.drift.counting import Counted
from credit_risk_model.drift.judging import MIN_EXPECTED, MIN_LOANS_FOR_MEAN, Z_OF_SCORE, judge
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.service.drift import DriftCount

ROOT = Path(__file__).parents[2]
COMPONENT = ROOT / "kubernetes_overlays" / "monitoring"
CASES = Path(__file__).with_name("alerts.yaml")
GROUPS: list[dict[str, Any]] = yaml.safe_load((COMPONENT / "prometheus_rule.yaml").read_text())["spec"]["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
DASHBOARD: dict[str, Any] = json.loads((COMPONENT / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = [rule for rule in RULES if "alert" in rule]

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


def promtool(folder: Path, *arguments: str) -> str:
    """Run Prometheus' own tool in a folder; give what it says where it finds something."""
    done = subprocess.run([find_tool("promtool"), *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_alerts_fire_and_are_silent_when_they_should(tmp_path: Path) -> None:
    """Each alert has a case in which it fires and one in which it does not, and does so."""
    # The cases tell labels only: what an alert says is for people.
    groups = [
        {**group, "rules": [{key: rule[key] for key in rule if key != "annotations"} for rule in group["rules"]]}
        for group in GROUPS
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    (tmp_path / CASES.name).write_text(CASES.read_text())
    assert promtool(tmp_path, "check", "rules", "rules.yaml") == ""
    assert promtool(tmp_path, "test", "rules", CASES.name) == ""
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in ALERTS}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_rules_judge_drift_as_the_command_does(archive_path: Path, tmp_path: Path) -> None:
    """Prometheus computes loans, statistic, threshold and PSI of each feature as `credit_risk_model.drift` does."""
    found = archive.read(archive_path)
    count = DriftCount(found)
    rng, golden = np.random.default_rng(0), found.golden
    for place in rng.integers(len(golden), size=300).tolist():
        count.add(golden[place].loan, golden[place].risk_probability)
    times = 96  # a day, in each quarter of an hour of which the same loans were answered
    series: list[dict[str, str]] = []
    tests: list[tuple[str, str, float | None]] = []
    for line in count.lines():
        name, value = line.rsplit(" ", 1)
        labels = name.replace("{", '{namespace="a",pod="1",', 1)
        grows = name.split("{")[0].endswith("_total")
        series.append({"series": labels, "values": f"0+{value}x{times + 3}" if grows else f"{value}x{times + 3}"})
    for reference in found.metadata.reference:
        counted = count.counted(reference.age)
        day = Counted(
            [[number * times for number in numbers or ()] for numbers in counted.counts],
            counted.total * times,
            counted.loans * times,
        )
        *features, mean = judge(reference, day)
        of_age = f'namespace="a",model_version="test",age="{reference.age}"'
        tests.append(("mean_distance:increase1d", of_age, mean.statistic))
        for one in features:
            of_feature = f'{of_age},feature="{one.feature}"'
            tests += [
                ("loans:increase1d", of_feature, one.loans),
                ("chi_square:increase1d", of_feature, one.statistic),
                ("chi_square:threshold", of_feature, one.threshold),
                ("psi:increase1d", of_feature, one.psi),
            ]
    expected = [
        {
            # Sums of floats in another order differ in their last bits.
            "expr": f"abs(credit_risk:drift_{name}{{{labels}}} / {value} - 1) < bool 1e-6",
            "eval_time": f"{(times + 2) * 15}m",
            "exp_samples": [{"labels": f"{{{labels}}}", "value": 1}],
        }
        for name, labels, value in tests
    ]
    assert len(expected) > 100
    groups = [{**group, "interval": "15m"} for group in GROUPS if group["name"].endswith("drift")]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    test = {"interval": "15m", "input_series": series, "promql_expr_test": expected}
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "15m", "tests": [test]})
    )
    assert promtool(tmp_path, "test", "rules", "test.yaml") == ""
    rules = {rule["alert"]: rule["expr"] for rule in ALERTS}
    assert f">= {MIN_EXPECTED}" in rules["CreditRiskDrift"]
    assert f"> {Z_OF_SCORE} ^ 2" in rules["CreditRiskMeanProbabilityDrift"]
    assert f">= {MIN_LOANS_FOR_MEAN}" in rules["CreditRiskMeanProbabilityDrift"]


def test_each_alert_has_its_page_in_the_runbook() -> None:
    """Whoever is woken finds what an alert means and what to do, under its name."""
    text = (ROOT / "docs" / "runbook.md").read_text()
    sections = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=\n\n###|\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(sections) == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"]
        assert len(sections[rule["alert"]]) > 80


def test_burn_rates_of_the_runbook_are_those_of_the_rules() -> None:
    """Alerts compare both windows with the runbook's burn rate, times what the objective leaves."""
    text = (ROOT / "docs" / "runbook.md").read_text()
    (objective,) = re.findall(r"^\| availability \| ([\d.]+) %", text, re.MULTILINE)
    rows = re.findall(r"^\| (CreditRisk\w+) \| ([\d.]+) \| over ([\d.]+) % \| (\w+) and (\w+) \|", text, re.MULTILINE)
    assert [row[0] for row in rows] == [rule["alert"] for rule in ALERTS if "BudgetBurns" in rule["alert"]]
    expressions = {rule["alert"]: rule["expr"] for rule in ALERTS}
    for name, rate, percent, *windows in rows:
        threshold = round(float(rate) * (100 - float(objective)) / 100, 6)
        assert float(percent) / 100 == pytest.approx(threshold)
        compared = re.findall(r"credit_risk:errors:ratio_rate(\w+) > ([\d.]+)", expressions[name])
        assert compared == [(window, str(threshold)) for window in windows]


def test_component_finds_the_pods(model_service: Any) -> None:
    """The monitor selects the Deployment's pods by their labels, and asks the port that they name."""
    monitor = yaml.safe_load((COMPONENT / "pod_monitor.yaml").read_text())
    pod = model_service.pod
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in model_service.container["ports"]}
    kustomization = yaml.safe_load((COMPONENT / "kustomization.yaml").read_text())
    files = {*kustomization["resources"], "kustomization.yaml", "dashboard.json"}
    assert files == {path.name for path in COMPONENT.iterdir()}


def test_component_can_be_added_to_an_overlay(production_with_monitoring: Any) -> None:
    """Put together by kustomize, the overlay has both objects, in the namespace of the pods."""
    for kind in ("PodMonitor", "PrometheusRule"):
        assert production_with_monitoring.one(kind)["metadata"]["namespace"] == "model-services"


def test_dashboard_is_found_by_grafana(production_with_monitoring: Any) -> None:
    """It lies in a ConfigMap with the label that Grafana's sidecar looks for, always by the same name."""
    (found,) = (
        item for item in production_with_monitoring.of("ConfigMap") if "grafana_dashboard" in item["metadata"]["labels"]
    )
    kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)
    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == (
        "credit-risk-model-dashboard",
        "model-services",
    )
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {name: json.loads(text) for name, text in found["data"].items()} == {"credit_risk_model.json": DASHBOARD}


def test_panels_have_their_places_and_say_what_they_show() -> None:
    """No panel covers another; each has title, description and unit, and asks the chosen data source and namespace."""
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "namespace"}
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"] in {"bytes", "percentunit", "reqps", "s", "short"}
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all('namespace="$namespace"' in target["expr"] for target in panel["targets"])


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
    first, second = (service.address.removeprefix("http://") for service in services)
    groups = [
        {
            **group,
            "interval": "1s",
            "rules": [{**rule, "for": "0s"} if "alert" in rule else rule for rule in group["rules"]],
        }
        for group in GROUPS
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    settings = PROMETHEUS.format(first=first, second=second, alertmanager=alertmanager)
    (tmp_path / "prometheus.yaml").write_text(settings)
    address = free_address()
    command = [program, "--config.file=prometheus.yaml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
    model = "/api/models/credit_risk_model/prediction"
    batch = "/api/models/credit_risk_batch/prediction"

    def ask(path: str) -> Any:
        return get_json(address, f"v1/{path}")["data"]

    with process(command, tmp_path):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for service in services:
                httpx.post(service.address + model, json=EXAMPLE_LOAN)
                httpx.post(service.address + model, json={})
                httpx.post(service.address + batch, json={"loans": [EXAMPLE_LOAN] * 20})
            time.sleep(0.2)
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
