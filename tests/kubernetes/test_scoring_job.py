"""The Jobs that score files: valid, as confined as the service's pods, and in agreement with each other."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from credit_risk_model import __version__

ROOT = Path(__file__).parents[2]
FOLDERS = ("kubernetes/scoring", "kubernetes_overlays/scoring_minikube", "kubernetes_overlays/scoring_production")
JOBS = ("credit-risk-scoring", "credit-risk-scoring-join")
NAMESPACE = "model-scoring"
LABELS = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "component", "part-of")}


@pytest.fixture(scope="module", params=FOLDERS)
def scoring(request: pytest.FixtureRequest, kustomize: Callable[[str], Any]) -> Any:
    """All objects of scoring that one command applies."""
    return kustomize(request.param)


@pytest.fixture(scope="module")
def settings(scoring: Any) -> dict[str, str]:
    """What both Jobs are told."""
    return scoring.one("ConfigMap")["data"]


@pytest.fixture(scope="module")
def jobs(scoring: Any) -> list[dict[str, Any]]:
    """The Job that scores and the one that joins."""
    named = {item["metadata"]["name"]: item for item in scoring.of("Job")}
    return [named[name] for name in JOBS]


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
def test_objects_fit_the_schemas_of_kubernetes(scoring: Any, version: str) -> None:
    """No field is misspelt or of a wrong type, in the oldest Kubernetes that is served and the newest that is known."""
    for item in scoring:
        kubernetes_validate.validate(item, version, strict=True)


def test_objects_are_those_that_scoring_needs(scoring: Any) -> None:
    """They stand in one namespace, which is not the service's, and carry the labels that Kubernetes recommends."""
    names = sorted((item["kind"], re.sub("-[a-z0-9]{10}$", "", item["metadata"]["name"])) for item in scoring)
    assert names == [
        ("ConfigMap", "credit-risk-scoring-settings"),
        *(("Job", name) for name in JOBS),
        ("Namespace", NAMESPACE),
        ("NetworkPolicy", "credit-risk-scoring"),
        ("PersistentVolumeClaim", "loans"),
    ]
    for item in scoring:
        assert item["apiVersion"] in {"v1", "batch/v1", "networking.k8s.io/v1"}
        if item["kind"] != "Namespace":
            assert item["metadata"]["namespace"] == NAMESPACE
            assert set(item["metadata"]["labels"]) == LABELS


def test_the_service_is_applied_without_it(objects: Any) -> None:
    """A Job would run with every deployment of the service, and take the room of its pods."""
    assert objects.of("Job") == []
    assert {item["metadata"].get("namespace") for item in objects} == {None, "model-services"}


def test_the_volume_can_be_applied_before_the_jobs(scoring: Any) -> None:
    """Namespace, claim and network policy have a label of their own, by which kubectl picks them."""
    label = ("app.kubernetes.io/component", "scoring-volume")
    picked = {item["kind"] for item in scoring if label in item["metadata"]["labels"].items()}
    assert picked == {"Namespace", "PersistentVolumeClaim", "NetworkPolicy"}
    assert f"--selector {'='.join(label)}" in (ROOT / "kubernetes" / "README.md").read_text()


def test_job_and_pods_have_the_same_labels(job: dict[str, Any]) -> None:
    """Every label's value may be one, the instance is the Job's name, and pods have what the Job has."""
    metadata = job["metadata"]
    assert metadata["labels"] == job["spec"]["template"]["metadata"]["labels"]
    assert metadata["labels"]["app.kubernetes.io/instance"] == metadata["name"]
    for value in metadata["labels"].values():
        assert re.fullmatch("[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value)


def test_pods_open_no_connection(scoring: Any, job: dict[str, Any]) -> None:
    """The network policy means the pods of both Jobs, and lets nothing in or out."""
    policy = scoring.one("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert (sorted(policy["policyTypes"]), policy["ingress"], policy["egress"]) == (["Egress", "Ingress"], [], [])


def test_pods_meet_the_restricted_standard(scoring: Any, pod: dict[str, Any]) -> None:
    """The namespace refuses what breaks the Pod Security standard `restricted`, and these pods keep it."""
    labels = scoring.one("Namespace")["metadata"]["labels"]
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
    assert container["image"].rpartition("/")[2] == f"credit_risk_model_scoring:{__version__}"
    assert "--tag credit_risk_model_scoring:$(VERSION)" in (ROOT / "Makefile").read_text()


def test_variables_are_single_and_hold_no_secret(settings: dict[str, str], container: dict[str, Any]) -> None:
    """Each is set once, none takes the place of the index that the Job gives, and none is named like a secret."""
    names = [*settings, *(variable["name"] for variable in container.get("env", []))]
    assert len(names) == len(set(names))
    assert "JOB_COMPLETION_INDEX" not in names
    assert not [name for name in names if re.search("SECRET|PASSWORD|TOKEN|KEY|CREDENTIAL", name)]


def test_volumes_that_are_mounted_exist(scoring: Any, pod: dict[str, Any], container: Any) -> None:
    """Every mount has its volume, every volume its mount, and the claim is the one that is applied."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert (
        volumes["loans"]["persistentVolumeClaim"]["claimName"]
        == scoring.one("PersistentVolumeClaim")["metadata"]["name"]
    )


def test_jobs_are_told_the_same(scoring: Any, container: dict[str, Any]) -> None:
    """Both have their settings from the one ConfigMap."""
    assert container["envFrom"] == [{"configMapRef": {"name": scoring.one("ConfigMap")["metadata"]["name"]}}]


def test_there_is_a_pod_for_every_shard(jobs: list[dict[str, Any]], settings: dict[str, str]) -> None:
    """The Job's indexes are the shards."""
    spec = jobs[0]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == int(settings["SHARDS"])
    assert spec["parallelism"] <= spec["completions"]


def test_the_join_waits_until_it_is_let_run(jobs: list[dict[str, Any]]) -> None:
    """Both Jobs are applied together, and only the one that scores begins."""
    assert [job["spec"].get("suspend", False) for job in jobs] == [False, True]


def test_production_scores_by_the_registrys_image(kustomize: Callable[[str], Any]) -> None:
    """Both Jobs pull from the registry, and the overlay says what is scored."""
    production = kustomize("kubernetes_overlays/scoring_production")
    containers = [job["spec"]["template"]["spec"]["containers"][0] for job in production.of("Job")]
    assert {container["image"].count("/") for container in containers} == {1}
    assert {container["imagePullPolicy"] for container in containers} == {"Always"}
    base = kustomize("kubernetes/scoring").one("ConfigMap")["data"]
    assert production.one("ConfigMap")["data"] == base | {"SHARDS": "16"}


def test_a_volume_of_one_node_keeps_the_pods_together(kustomize: Callable[[str], Any]) -> None:
    """With a ReadWriteOnce claim each scoring pod must run where the others do; the first may run anywhere."""
    minikube = kustomize("kubernetes_overlays/scoring_minikube")
    assert minikube.one("PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteOnce"]
    (job,) = (job for job in minikube.of("Job") if job["metadata"]["name"] == JOBS[0])
    template = job["spec"]["template"]
    (term,) = template["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    # A pod that its own rule does not mean would find no node: no pod that is meant could be the first.
    assert term["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_the_nightly_variant_is_one_pod_for_the_whole_file(nightly: Any, version: str) -> None:
    """A CronJob takes the place of both Jobs, with the registry's image, and its pod is confined as theirs are."""
    assert nightly.of("Job") == []
    cron_job = nightly.one("CronJob")
    kubernetes_validate.validate(cron_job, version, strict=True)
    assert set(cron_job["metadata"]["labels"]) == LABELS
    template = cron_job["spec"]["jobTemplate"]["spec"]["template"]
    assert template["metadata"]["labels"] == cron_job["metadata"]["labels"]
    (container,) = template["spec"]["containers"]
    assert container["image"].count("/") == 1
    assert container["imagePullPolicy"] == "Always"
    assert "--shard" not in container["args"][0]
    job = yaml.safe_load((ROOT / "kubernetes" / "scoring" / "scoring_job.yaml").read_text())["spec"]["template"]["spec"]
    (jobs_container,) = job["containers"]
    same = ("securityContext", "resources", "volumeMounts", "env")
    assert {name: container[name] for name in same} == {name: jobs_container[name] for name in same}
    assert {**template["spec"], "containers": []} == {**job, "containers": []}
    policy = nightly.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert policy.items() <= template["metadata"]["labels"].items()


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
