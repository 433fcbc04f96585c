"""What kubectl sends to a cluster, by a real kubectl and a stand-in for the cluster's API server."""

import copy
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.api_server import ApiServer, Request, place
from processes import find_tool

ROOT = Path(__file__).parents[2]
SCALED = 6
NAME = "credit-risk-model-deployment"


@pytest.fixture
def cluster(production: Any) -> Iterator[ApiServer]:
    """A cluster with the Deployment that was once applied with two replicas, and was scaled since."""
    former = copy.deepcopy(production.one("Deployment"))
    former["spec"]["replicas"] = 2
    running = copy.deepcopy(former)
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(former)}
    running["metadata"]["annotations"] |= applied
    running["metadata"]["resourceVersion"] = "1"
    running["spec"]["replicas"] = SCALED
    server = ApiServer({place(running): running})
    yield server
    server.stop()


@pytest.fixture
def run(cluster: ApiServer, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The function that runs a command which finds the cluster and no other."""
    cluster.write_kubeconfig(tmp_path / "kubeconfig")
    environment = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "kubeconfig")}

    def start(*command: str) -> subprocess.CompletedProcess[str]:
        program = find_tool(command[0])
        return subprocess.run(
            [program, *command[1:]],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return start


def manifests(cluster: ApiServer) -> list[Request]:
    """What was sent of the manifests. What kubectl once noted on an object it keeps, as another manager."""
    return [change for change in cluster.changes if change.query["fieldManager"] != "kubectl-last-applied"]


def deploy_command(run: Callable[..., Any], *options: str) -> list[str]:
    """The command by which `make deploy` applies the manifests."""
    lines = run("make", "--dry-run", "deploy", "OVERLAY=production", *options).stdout.splitlines()
    (line,) = (line for line in lines if line.startswith("kubectl apply"))
    return line.split()


def test_deploying_leaves_the_autoscalers_number_alone(cluster: ApiServer, production: Any, run: Any) -> None:
    """`make deploy` sends each object whole, by server-side apply, under one name, and no number of replicas."""
    done = run(*deploy_command(run))
    assert done.returncode == 0, done.stderr
    sent = manifests(cluster)
    assert {change.path: change.body for change in sent} == {place(item): item for item in production}
    for change in sent:
        assert (change.method, change.content_type) == ("PATCH", "application/apply-patch+yaml")
        assert change.query["fieldManager"] == "kubectl"
        assert change.query["fieldValidation"] == "Strict"
    (deployment,) = (change.body for change in sent if change.body["kind"] == "Deployment")
    assert "replicas" not in deployment["spec"]


def test_deploying_takes_nothing_from_others_unless_it_is_told_to(cluster: ApiServer, run: Any) -> None:
    """What somebody else has changed since stops `make deploy`, but for APPLY_OPTIONS=--force-conflicts."""
    run(*deploy_command(run))
    assert {change.query.get("force", "false") for change in manifests(cluster)} == {"false"}
    cluster.changes.clear()
    run(*deploy_command(run, "APPLY_OPTIONS=--force-conflicts"))
    assert {change.query["force"] for change in manifests(cluster)} == {"true"}


def revision(deployment: dict[str, Any], number: int) -> dict[str, Any]:
    """The ReplicaSet that a Deployment's controller made for its n-th revision."""
    labels = {"pod-template-hash": str(number)}
    template = copy.deepcopy(deployment["spec"]["template"])
    template["metadata"]["labels"] |= labels
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME, "uid": "1", "controller": True}
    return {
        "metadata": {
            "name": f"{NAME}-{number}",
            "uid": f"{NAME}-{number}",
            "namespace": "model-services",
            "labels": template["metadata"]["labels"],
            "annotations": {"deployment.kubernetes.io/revision": str(number)},
            "ownerReferences": [owner],
        },
        "spec": {"replicas": 0, "template": template, "selector": deployment["spec"]["selector"]},
    }


def test_undo_brings_back_image_and_configuration(cluster: ApiServer, production: Any, run: Any) -> None:
    """The README's `rollout undo` names the former image and the former ConfigMap again, whatever the new version's."""
    former = production.one("Deployment")
    newer = copy.deepcopy(former)
    pod = newer["spec"]["template"]["spec"]
    pod["containers"][0]["image"] = "registry.example.com/credit_risk_model_service@sha256:" + "1" * 64
    pod["volumes"][0]["configMap"]["name"] = "model-service-configuration-newer"
    newer["metadata"] |= {"uid": "1", "annotations": {"deployment.kubernetes.io/revision": "2"}}
    cluster.objects[place(newer)] = newer
    replica_sets = "/apis/apps/v1/namespaces/model-services/replicasets"
    items = [revision(former, 1), revision(newer, 2)]
    cluster.objects[replica_sets] = {"kind": "ReplicaSetList", "apiVersion": "apps/v1", "items": items}
    (command,) = re.findall(r"^\$ (kubectl .* rollout undo \S+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    done = run(*command.split())
    assert done.returncode == 0, done.stderr
    (change,) = cluster.changes
    assert change.path == place(former)
    (template,) = (patch["value"] for patch in change.body if patch["path"] == "/spec/template")
    assert template["spec"]["containers"][0]["image"] == former["spec"]["template"]["spec"]["containers"][0]["image"]
    assert template["spec"]["volumes"] == former["spec"]["template"]["spec"]["volumes"]


JOBS = "/apis/batch/v1/namespaces/model-scoring/jobs/"
SCORING, JOIN = f"{JOBS}credit-risk-scoring", f"{JOBS}credit-risk-scoring-join"


def job(path: str, *conditions: str) -> dict[str, Any]:
    """A Job that these conditions are true of."""
    status = {"conditions": [{"type": "Suspended", "status": "False"}]}
    status["conditions"] += [{"type": condition, "status": "True"} for condition in conditions]
    metadata = {"name": path.rpartition("/")[2], "namespace": "model-scoring"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {}, "status": status}


def test_scoring_in_a_cluster_joins_what_was_scored(cluster: ApiServer, run: Any) -> None:
    """`make score-job` takes former Jobs away, applies the overlay, and lets the join run once all is scored."""
    cluster.objects |= {SCORING: job(SCORING, "Complete"), JOIN: job(JOIN, "Failed")}
    cluster.becomes[SCORING] = [job(SCORING), job(SCORING, "SuccessCriteriaMet"), job(SCORING, "Complete")]
    cluster.becomes[JOIN] = [job(JOIN), job(JOIN), job(JOIN, "Complete")]
    done = run("make", "score-job", "POLL_SECONDS=0.1")
    assert done.returncode == 0, done.stderr
    steps = [(change.method, change.path) for change in cluster.changes if change.path in (SCORING, JOIN)]
    assert steps == [("DELETE", SCORING), ("DELETE", JOIN), ("PATCH", SCORING), ("PATCH", JOIN), ("PATCH", JOIN)]
    applied, resumed = (change for change in cluster.changes if (change.method, change.path) == ("PATCH", JOIN))
    assert applied.body["spec"]["suspend"] is True
    assert resumed.body == {"spec": {"suspend": False}}
    assert len(cluster.becomes[JOIN]) == 1


def test_scoring_that_fails_is_not_waited_for(cluster: ApiServer, run: Any) -> None:
    """`make score-job` fails when the Job does, says how to find out why, and joins nothing."""
    cluster.becomes[SCORING] = [job(SCORING), job(SCORING, "FailureTarget"), job(SCORING, "FailureTarget", "Failed")]
    done = run("make", "score-job", "POLL_SECONDS=0.1")
    assert done.returncode != 0
    assert "credit-risk-scoring has failed: kubectl -n model-scoring describe job credit-risk-scoring" in done.stderr
    assert [change.path for change in cluster.changes if change.path == JOIN] == [JOIN]


def test_scoring_that_is_taken_away_is_not_waited_for(cluster: ApiServer, run: Any) -> None:
    """`make score-job` also ends where the Job is gone."""
    cluster.becomes[SCORING] = [None]
    done = run("make", "score-job", "POLL_SECONDS=0.1")
    assert done.returncode != 0
    assert "NotFound" in done.stderr


def test_the_volume_comes_without_the_jobs(cluster: ApiServer, run: Any) -> None:
    """The command of kubernetes/README.md applies what the file of loans needs, and starts nothing."""
    readme = (ROOT / "kubernetes" / "README.md").read_text()
    (command,) = re.findall(r"^\$ (kubectl apply .*scoring-volume)$", readme, re.MULTILINE)
    done = run(*command.split())
    assert done.returncode == 0, done.stderr
    kinds = {change.body["kind"] for change in cluster.changes}
    assert kinds == {"Namespace", "PersistentVolumeClaim", "NetworkPolicy"}


def test_client_side_apply_would_take_the_autoscalers_number_away(
    cluster: ApiServer, production: Any, run: Any
) -> None:
    """Without `--server-side` kubectl sends null for a number that was once applied: six pods would become one."""
    command = [part for part in deploy_command(run) if part != "--server-side"]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    (change,) = (change for change in cluster.changes if change.path == place(production.one("Deployment")))
    assert change.body["spec"] == {"replicas": None}
