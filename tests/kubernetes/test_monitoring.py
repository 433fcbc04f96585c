"""Alerts were seen to fire and to be silent, on rules that a real Prometheus takes, over metrics that there are."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import pytest
import yaml
from kubernetes.monitoring import ALERTS, COMPONENT, DASHBOARD, GROUPS, PANELS, ROOT
from processes import find_tool

from credit_risk_model import archive
from credit_risk_model.drift.counting import Counted
from credit_risk_model.drift.judging import MIN_EXPECTED, MIN_LOANS_FOR_MEAN, Z_OF_SCORE, judge
from credit_risk_model.service.drift import DriftCount

CASES = Path(__file__).with_name("alerts.yaml")


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


def write_series(count: DriftCount, times: int) -> list[dict[str, str]]:
    """What Prometheus scrapes where in each quarter of an hour the same loans are answered, as promtool reads it."""
    series: list[dict[str, str]] = []
    for line in count.lines():
        name, value = line.rsplit(" ", 1)
        labels = name.replace("{", '{namespace="a",pod="1",', 1)
        grows = name.split("{")[0].endswith("_total")
        series.append({"series": labels, "values": f"0+{value}x{times + 3}" if grows else f"{value}x{times + 3}"})
    return series


def judge_day(found: archive.Archive, count: DriftCount, times: int) -> list[tuple[str, str, float | None]]:
    """What `credit_risk_model.drift` computes of a day in which the same loans were answered so many times.

    Returns:
        Each recorded series' name, its labels, and its value.
    """
    tests: list[tuple[str, str, float | None]] = []
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
    return tests


def test_rules_judge_drift_as_the_command_does(archive_path: Path, tmp_path: Path) -> None:
    """Prometheus computes loans, statistic, threshold and PSI of each feature as `credit_risk_model.drift` does."""
    found = archive.read(archive_path)
    count = DriftCount(found)
    rng, golden = np.random.default_rng(0), found.golden
    for place in rng.integers(len(golden), size=300).tolist():
        count.add(golden[place].loan, golden[place].risk_probability)
    times = 96  # a day, in each quarter of an hour of which the same loans were answered
    expected = [
        {
            # Sums of floats in another order differ in their last bits.
            "expr": f"abs(credit_risk:drift_{name}{{{labels}}} / {value} - 1) < bool 1e-6",
            "eval_time": f"{(times + 2) * 15}m",
            "exp_samples": [{"labels": f"{{{labels}}}", "value": 1}],
        }
        for name, labels, value in judge_day(found, count, times)
    ]
    assert len(expected) > 100
    groups = [{**group, "interval": "15m"} for group in GROUPS if group["name"].endswith("drift")]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    test = {"interval": "15m", "input_series": write_series(count, times), "promql_expr_test": expected}
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
