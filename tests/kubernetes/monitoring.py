"""The overlay's rules and dashboard, as their files hold them."""

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPONENT = ROOT / "kubernetes_overlays" / "monitoring"
GROUPS: list[dict[str, Any]] = yaml.safe_load((COMPONENT / "prometheus_rule.yaml").read_text())["spec"]["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
DASHBOARD: dict[str, Any] = json.loads((COMPONENT / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = [rule for rule in RULES if "alert" in rule]
