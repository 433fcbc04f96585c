"""The manifests are valid, refer only to what is there, and their numbers add up."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from credit_risk_model.service.server.server import GRACEFUL_SECONDS
from credit_risk_model.service.settings import read_settings

ROOT = Path(__file__).parents[2]
NAMESPACE = "model-services"
UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
MARGIN = 4
OLDEST = "1.30"
LABELS = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "component", "part-of")}


def quantity(text: str) -> float:
    """Read a Kubernetes quantity."""
    match = re.fullmatch(r"(\d+)(|m|Ki|Mi|Gi)", text)
    assert match, f"{text} is no quantity"
    return int(match[1]) * UNITS[match[2]]


def measured(objects: Any, what: str) -> float:
    """Read a measurement that the Deployment records."""
    return float(objects.one("Deployment")["metadata"]["annotations"][f"model-service/measured-{what}"])


def test_oldest_kubernetes_is_stated() -> None:
    """Whoever applies the manifests is told which version they were made for."""
    assert f"need Kubernetes {OLDEST} or newer" in (ROOT / "kubernetes" / "README.md").read_text()


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_objects_fit_the_schemas_of_kubernetes(objects: Any, version: str) -> None:
    """No field is misspelt or of a wrong type, in the oldest Kubernetes that is served and the newest that is known."""
    for item in objects:
        kubernetes_validate.validate(item, version, strict=True)


def test_a_misspelt_field_does_not_fit_the_schemas(model_service: Any) -> None:
    """The validation that the other tests rely on notices one wrong letter."""
    service = model_service.one("Service")
    broken = {**service, "spec": {**service["spec"], "selectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError, match="selectors"):
        kubernetes_validate.validate(broken, OLDEST, strict=True)


def test_objects_are_those_that_the_service_needs(objects: Any) -> None:
    """One object of each kind, under the names that commands and dashboards use."""
    names = {item["kind"]: item["metadata"]["name"] for item in objects}
    assert re.fullmatch("model-service-configuration-[a-z0-9]{10}", names.pop("ConfigMap"))
    assert names == {
        "Deployment": "credit-risk-model-deployment",
        "HorizontalPodAutoscaler": "credit-risk-model-autoscaler",
        "Namespace": NAMESPACE,
        "NetworkPolicy": "credit-risk-model-network-policy",
        "PodDisruptionBudget": "credit-risk-model-disruption-budget",
        "ResourceQuota": "model-services-resource-quota",
        "Service": "credit-risk-model-service",
        "ServiceAccount": "model-service",
    }


def test_objects_name_their_namespace(objects: Any) -> None:
    """No object lands in whatever namespace a user has selected."""
    assert {item["metadata"].get("namespace") for item in objects if item["kind"] != "Namespace"} == {NAMESPACE}


def test_objects_carry_the_recommended_labels(objects: Any) -> None:
    """Everything of the service is found by the labels that Kubernetes recommends."""
    of_the_service = [item for item in objects if item["kind"] not in {"Namespace", "ResourceQuota"}]
    for metadata in [item["metadata"] for item in of_the_service] + [objects.pod["metadata"]]:
        assert set(metadata["labels"]) == LABELS


def test_selectors_find_the_pods(objects: Any) -> None:
    """Deployment, Service, budget, network policy and the spreading rules all mean the Deployment's pods."""
    spec = objects.pod["spec"]
    spreading = [*spec["topologySpreadConstraints"]]
    spreading += [
        term["podAffinityTerm"]
        for term in spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    ]
    selectors = [
        objects.one("Deployment")["spec"]["selector"]["matchLabels"],
        objects.one("Service")["spec"]["selector"],
        objects.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        objects.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(rule["labelSelector"]["matchLabels"] for rule in spreading),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= objects.pod["metadata"]["labels"].items()


def test_no_selector_holds_the_version(objects: Any) -> None:
    """A new version's pods are found by the same selectors as the old one's."""
    assert "app.kubernetes.io/version" not in objects.one("Deployment")["spec"]["selector"]["matchLabels"]


def test_ports_that_are_referred_to_exist(objects: Any) -> None:
    """Service, probes and network policy name the container's port."""
    container = objects.container
    (service_port,) = objects.one("Service")["spec"]["ports"]
    (rule,) = objects.one("NetworkPolicy")["spec"]["ingress"]
    probes = [container[f"{name}Probe"]["httpGet"]["port"] for name in ("startup", "readiness", "liveness")]
    (port,) = container["ports"]
    assert {service_port["targetPort"], *(port["port"] for port in rule["ports"]), *probes} == {port["name"]}
    assert service_port["port"] == 80


def test_pods_open_no_connection(objects: Any) -> None:
    """The network policy governs both directions and lets nothing out."""
    policy = objects.one("NetworkPolicy")["spec"]
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert policy["egress"] == []


def test_volumes_that_are_mounted_exist(objects: Any) -> None:
    """Every mount has its volume, every volume its mount, and the ConfigMap is the one that is applied."""
    spec = objects.pod["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert {mount["name"] for mount in objects.container["volumeMounts"]} == set(volumes)
    assert volumes["configuration"]["configMap"]["name"] == objects.one("ConfigMap")["metadata"]["name"]
    assert spec["serviceAccountName"] == objects.one("ServiceAccount")["metadata"]["name"]


def test_the_service_reads_the_configuration_that_is_mounted(objects: Any) -> None:
    """REST_CONFIG names a key of the ConfigMap in the place where that is mounted."""
    (mount,) = (mount for mount in objects.container["volumeMounts"] if mount["name"] == "configuration")
    (variable,) = objects.container["env"]
    assert variable["name"] == "REST_CONFIG"
    assert Path(variable["value"]).parent == Path(mount["mountPath"])
    assert Path(variable["value"]).name in objects.one("ConfigMap")["data"]


def test_the_config_map_is_the_configuration(objects: Any) -> None:
    """The file of configuration/ is what the pods mount, and all that they mount."""
    path = ROOT / "configuration" / "rest_configuration.yaml"
    assert objects.one("ConfigMap")["data"] == {path.name: path.read_text()}


def test_another_configuration_is_another_config_map(kustomize: Callable[[str], Any], tmp_path: Path) -> None:
    """A changed configuration gets a ConfigMap of its own, which the new pods name; all else stays as it was."""
    for folder in ("configuration", "kubernetes"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    before = kustomize(str(tmp_path / "kubernetes"))
    path = tmp_path / "configuration" / "rest_configuration.yaml"
    path.write_text(path.read_text().replace("drain_timeout_seconds: 2", "drain_timeout_seconds: 3"))
    after = kustomize(str(tmp_path / "kubernetes"))
    names = [objects.one("ConfigMap")["metadata"]["name"] for objects in (before, after)]
    assert names[0] != names[1]
    for objects, name in zip((before, after), names, strict=True):
        (volume,) = (volume for volume in objects.pod["spec"]["volumes"] if "configMap" in volume)
        assert volume["configMap"].pop("name") == name
        objects.remove(objects.one("ConfigMap"))
    assert before == after


def test_the_quota_holds_the_most_pods_that_there_can_be(objects: Any) -> None:
    """The autoscaler's maximum, a rollout's surge and pods that are ending, and a canary fit in, and no pod more."""
    at_work = objects.one("HorizontalPodAutoscaler")["spec"]["maxReplicas"]
    surge = objects.one("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    ending, canary = at_work, 1
    most = at_work + surge + ending + canary
    quota = objects.one("ResourceQuota")["spec"]["hard"]
    one_pod = {
        f"{kind}.{name}": quantity(amount)
        for kind, amounts in objects.container["resources"].items()
        for name, amount in amounts.items()
    }
    assert {name: quantity(amount) for name, amount in quota.items()} == pytest.approx(
        {"pods": most} | {name: most * amount for name, amount in one_pod.items()}
    )


def test_requests_are_within_limits(objects: Any) -> None:
    """Processor, memory and disk are requested and limited."""
    requests, limits = objects.container["resources"]["requests"], objects.container["resources"]["limits"]
    assert set(requests) == set(limits) == {"cpu", "memory", "ephemeral-storage"}
    assert all(quantity(requests[name]) <= quantity(limits[name]) for name in limits)


def test_memory_request_and_limit_are_above_what_was_measured(objects: Any) -> None:
    """A pod under load stays within what the scheduler reserves for it."""
    mebibytes = measured(objects, "memory-mebibytes")
    resources = objects.container["resources"]
    assert mebibytes <= quantity(resources["requests"]["memory"]) / 2**20
    assert 1.5 * mebibytes <= quantity(resources["limits"]["memory"]) / 2**20


def test_startup_has_four_times_the_measured_time(objects: Any) -> None:
    """A pod that takes four times as long as measured is not killed at its start."""
    probe = objects.container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= MARGIN * measured(objects, "seconds-to-ready")


def test_startup_is_polled_every_second(objects: Any) -> None:
    """No pod waits for a probe when it is ready: one second is the shortest period that Kubernetes has."""
    probe = objects.container["startupProbe"]
    assert probe["periodSeconds"] == 1
    assert "initialDelaySeconds" not in probe


def test_a_rollout_has_time_for_a_slow_start(objects: Any) -> None:
    """A rollout is not reported as stuck while the startup probe still waits."""
    probe, deadline = objects.container["startupProbe"], objects.one("Deployment")["spec"]["progressDeadlineSeconds"]
    assert deadline > probe["periodSeconds"] * probe["failureThreshold"]


def test_liveness_has_four_times_the_slowest_answer_of_a_busy_pod(objects: Any) -> None:
    """A pod under saturating load answers each liveness probe in a quarter of the time that it has."""
    slowest = measured(objects, "seconds-of-busy-liveness")
    assert objects.container["livenessProbe"]["timeoutSeconds"] >= MARGIN * slowest


def test_one_slow_answer_is_no_reason_to_restart(objects: Any) -> None:
    """Liveness must fail several times in a row; startup and liveness succeed at once, as Kubernetes demands."""
    assert objects.container["livenessProbe"]["failureThreshold"] >= 3
    for name in ("startup", "liveness"):
        assert objects.container[f"{name}Probe"].get("successThreshold", 1) == 1


def test_probes_ask_the_endpoints_that_are_made_for_them(objects: Any) -> None:
    """Startup, readiness and liveness are three questions."""
    names = ("startup", "readiness", "liveness")
    assert {name: objects.container[f"{name}Probe"]["httpGet"]["path"] for name in names} == {
        "startup": "/api/health/startup",
        "readiness": "/api/health/ready",
        "liveness": "/api/health",
    }


def test_no_pod_leaves_before_another_is_ready(objects: Any) -> None:
    """A rollout takes no pod away that it has not replaced."""
    assert objects.one("Deployment")["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }


def test_the_grace_period_outlasts_sleep_and_shutdown(objects: Any) -> None:
    """A pod is killed only when it has had its preStop sleep, its drain and the server's own graceful shutdown."""
    program, seconds = objects.container["lifecycle"]["preStop"]["exec"]["command"]
    drain = read_settings(ROOT / "configuration" / "rest_configuration.yaml").drain_timeout_seconds
    assert program == "sleep"
    assert objects.pod["spec"]["terminationGracePeriodSeconds"] > int(seconds) + drain + GRACEFUL_SECONDS


def test_pods_meet_the_restricted_standard(objects: Any) -> None:
    """The namespace refuses what breaks the Pod Security standard `restricted`, and this pod keeps it."""
    labels = objects.one("Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    spec, container = objects.pod["spec"], objects.container["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert {kind for volume in spec["volumes"] for kind in volume} == {"name", "configMap", "emptyDir"}


def test_minikube_uses_the_loaded_image_and_a_port_of_the_node(minikube: Any) -> None:
    """No registry is asked, and the service is reached from outside."""
    assert "/" not in minikube.container["image"]
    assert minikube.container["imagePullPolicy"] == "IfNotPresent"
    (port,) = minikube.one("Service")["spec"]["ports"]
    assert minikube.one("Service")["spec"]["type"] == "NodePort"
    assert 30000 <= port["nodePort"] <= 32767


def test_production_pulls_from_a_registry_and_spreads(production: Any) -> None:
    """The image comes from a registry, three pods are always there, and nodes must share them evenly."""
    assert production.container["image"].count("/") == 1
    assert production.container["imagePullPolicy"] == "Always"
    assert production.one("HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 3
    nodes, _ = production.pod["spec"]["topologySpreadConstraints"]
    assert (nodes["topologyKey"], nodes["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")


def test_no_node_that_takes_no_pods_can_hold_a_rollout_up(production: Any) -> None:
    """Cordoned and tainted nodes, and pods of the former version, don't count when pods are spread."""
    for spread in production.pod["spec"]["topologySpreadConstraints"]:
        assert spread["nodeTaintsPolicy"] == "Honor"
        assert spread["matchLabelKeys"] == ["pod-template-hash"]


def test_api_keys_are_mounted_from_a_secret(production_with_api_keys: Any) -> None:
    """With the component a pod has the Secret's keys, readable and whole, where the configuration's comment says."""
    objects = production_with_api_keys
    kubernetes_validate.validate(objects.one("Deployment"), OLDEST, strict=True)
    (volume,) = (volume for volume in objects.pod["spec"]["volumes"] if volume["name"] == "keys")
    assert volume["secret"] == {"secretName": "credit-risk-model-api-keys", "defaultMode": 0o444}
    (mount,) = (mount for mount in objects.container["volumeMounts"] if mount["name"] == "keys")
    assert mount == {"name": "keys", "mountPath": "/service/keys", "readOnly": True}
    configuration = (ROOT / "configuration" / "rest_configuration.yaml").read_text()
    assert f"#   file: {mount['mountPath']}/api_keys\n" in configuration
    component = (ROOT / "kubernetes_overlays" / "api_keys" / "kustomization.yaml").read_text()
    assert f"file: {mount['mountPath']}/api_keys\n" in component
    assert "--from-file=api_keys\n" in component


def test_api_keys_of_the_comment_can_be_switched_on(tmp_path: Path) -> None:
    """The configuration's commented lines are valid when the comment signs are taken away."""
    text = (ROOT / "configuration" / "rest_configuration.yaml").read_text()
    path = tmp_path / "rest_configuration.yaml"
    path.write_text(re.sub(r"(?m)^  # (api_keys:|  file:|  protect:)", r"  \1", text))
    keys = read_settings(path).api_keys
    assert keys is not None
    assert keys.file == "/service/keys/api_keys"
    assert set(keys.protect) == {"predictions", "metadata", "docs", "metrics"}
