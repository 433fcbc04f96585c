"""The Jobs that score files: valid, as confined as the service's pods, and in agreement with each other."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from credit_risk_model import __version__

ROOT = Path(__file__).parents[2]
FILES = ("scoring_namespace.yaml", "scoring_job.yaml", "scoring_join.yaml")
NAMESPACE = "model-scoring"
LABELS = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "component", "part-of")}


def environment(job: dict[str, Any]) -> dict[str, Any]:
    """The variables of a Job's container; None for those that the cluster fills in."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value") for variable in container["env"]}


@pytest.fixture(scope="module")
def scoring() -> list[dict[str, Any]]:
    """All objects of scoring."""
    paths = [ROOT / "kubernetes" / name for name in FILES]
    return [item for path in paths for item in yaml.safe_load_all(path.read_text())]


@pytest.fixture(scope="module")
def jobs(scoring: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The Job that scores and the one that joins."""
    return [item for item in scoring if item["kind"] == "Job"]


@pytest.fixture(scope="module", params=[0, 1], ids=["scoring", "join"])
def job(request: pytest.FixtureRequest, jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """Each of the two Jobs."""
    return jobs[request.param]


@pytest.fixture(scope="module")
def pod(job: dict[str, Any]) -> dict[str, Any]:
    """What a Job says of its pods."""
    return job["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    """A pod's only container."""
    (only,) = pod["containers"]
    return only


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_objects_fit_the_schemas_of_kubernetes(scoring: list[dict[str, Any]], version: str) -> None:
    """No field is misspelt or of a wrong type, in the oldest Kubernetes that is served and the newest that is known."""
    for item in scoring:
        kubernetes_validate.validate(item, version, strict=True)


def test_objects_are_those_that_scoring_needs(scoring: list[dict[str, Any]]) -> None:
    """They stand in one namespace, which is not the service's, and carry the labels that Kubernetes recommends."""
    assert [(item["kind"], item["metadata"]["name"]) for item in scoring] == [
        ("Namespace", NAMESPACE),
        ("PersistentVolumeClaim", "loans"),
        ("NetworkPolicy", "credit-risk-scoring"),
        ("Job", "credit-risk-scoring"),
        ("Job", "credit-risk-scoring-join"),
    ]
    for item in scoring[1:]:
        assert item["metadata"]["namespace"] == NAMESPACE
        assert set(item["metadata"]["labels"]) == LABELS
        assert item["apiVersion"] in {"v1", "batch/v1", "networking.k8s.io/v1"}


def test_the_service_is_applied_without_it(scoring: list[dict[str, Any]]) -> None:
    """A Job would run with every deployment of the service, and take the room of its pods."""
    resources = yaml.safe_load((ROOT / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    assert not set(FILES) & set(resources)


def test_job_and_pods_have_the_same_labels(job: dict[str, Any]) -> None:
    """Every label's value may be one, the instance is the Job's name, and pods have what the Job has."""
    metadata = job["metadata"]
    assert metadata["labels"] == job["spec"]["template"]["metadata"]["labels"]
    assert metadata["labels"]["app.kubernetes.io/instance"] == metadata["name"]
    for value in metadata["labels"].values():
        assert re.fullmatch("[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value)


def test_pods_open_no_connection(scoring: list[dict[str, Any]], job: dict[str, Any]) -> None:
    """The network policy means the pods of both Jobs, and lets nothing in or out."""
    policy = next(item for item in scoring if item["kind"] == "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert (sorted(policy["policyTypes"]), policy["ingress"], policy["egress"]) == (["Egress", "Ingress"], [], [])


def test_pods_meet_the_restricted_standard(scoring: list[dict[str, Any]], pod: dict[str, Any]) -> None:
    """The namespace refuses what breaks the Pod Security standard `restricted`, and these pods keep it."""
    labels = scoring[0]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {kind for volume in pod["volumes"] for kind in volume} == {"name", "persistentVolumeClaim", "emptyDir"}


def test_pods_are_confined_as_the_services_are(model_service: Any, pod: dict[str, Any], container: Any) -> None:
    """User, groups, filesystem, capabilities, system calls and tokens are those of the Deployment's pods."""
    services = model_service.pod["spec"]
    assert pod["securityContext"] == services["securityContext"] | {
        "fsGroup": services["securityContext"]["runAsGroup"]
    }
    assert container["securityContext"] == model_service.container["securityContext"]
    for field in ("automountServiceAccountToken", "enableServiceLinks"):
        assert pod[field] is services[field] is False
    assert not {"hostIPC", "hostNetwork", "hostPID", "hostUsers", "serviceAccount"} & set(pod)
    assert "ports" not in container


def test_resources_are_requested_and_limited(container: dict[str, Any]) -> None:
    """Processor, memory and disk; of the processor as much as the threads use."""
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert set(requests) == set(limits) == {"cpu", "memory", "ephemeral-storage"}
    assert requests["cpu"] == limits["cpu"]


def test_the_image_is_the_scoring_image(container: dict[str, Any]) -> None:
    """It has the tag of this version, as `make scoring-image` gives it."""
    assert container["image"] == f"credit_risk_model_scoring:{__version__}"
    assert "--tag credit_risk_model_scoring:$(VERSION)" in (ROOT / "Makefile").read_text()


def test_variables_are_single_and_hold_no_secret(job: dict[str, Any], container: dict[str, Any]) -> None:
    """Each is set once, none takes the place of the index that the Job gives, and none is named like a secret."""
    names = [variable["name"] for variable in container["env"]]
    assert len(names) == len(set(names))
    assert "JOB_COMPLETION_INDEX" not in names
    assert not [name for name in names if re.search("SECRET|PASSWORD|TOKEN|KEY|CREDENTIAL", name)]


def test_volumes_that_are_mounted_exist(scoring: list[dict[str, Any]], pod: dict[str, Any], container: Any) -> None:
    """Every mount has its volume, every volume its mount, and the claim is the one that is applied."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert volumes["loans"]["persistentVolumeClaim"]["claimName"] == scoring[1]["metadata"]["name"]


def test_there_is_a_pod_for_every_shard(jobs: list[dict[str, Any]]) -> None:
    """The Job's indexes are the shards, and what is joined are their parts."""
    scoring, join = jobs
    assert scoring["spec"]["completionMode"] == "Indexed"
    assert str(scoring["spec"]["completions"]) == environment(scoring)["SHARDS"] == environment(join)["SHARDS"]
    assert environment(scoring)["SCORES"] == environment(join)["SCORES"]


def test_jobs_end(job: dict[str, Any]) -> None:
    """Neither tries for ever, nor stays for ever when it is done."""
    spec = job["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["activeDeadlineSeconds"] > 0
    assert spec["ttlSecondsAfterFinished"] > 0
    assert {"backoffLimit", "backoffLimitPerIndex"} & set(spec)


def test_wrong_options_fail_at_once(jobs: list[dict[str, Any]]) -> None:
    """What the command refuses in one shard it refuses in all; a node that leaves counts as no failure."""
    (ignore, fail) = jobs[0]["spec"]["podFailurePolicy"]["rules"]
    assert (ignore["action"], ignore["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (fail["action"], fail["onExitCodes"]["values"]) == ("FailJob", [2])
    (container,) = jobs[0]["spec"]["template"]["spec"]["containers"]
    assert fail["onExitCodes"]["containerName"] == container["name"]
