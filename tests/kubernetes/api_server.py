"""A stand-in for Kubernetes' API server: enough of it for kubectl to look around, read an object and send its changes.

It keeps what it is sent and decides nothing: what an API server makes of a request is Kubernetes' own to test.
"""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

KINDS = {
    "v1": {
        "ConfigMap": "configmaps",
        "Namespace": "namespaces",
        "PersistentVolumeClaim": "persistentvolumeclaims",
        "ResourceQuota": "resourcequotas",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
    },
    "apps/v1": {"Deployment": "deployments", "ReplicaSet": "replicasets"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "batch/v1": {"CronJob": "cronjobs", "Job": "jobs"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
}
"""What it knows, by API version: each kind and its name in paths."""


@dataclass(frozen=True)
class Request:
    """A request that would change something."""

    method: str
    path: str
    query: dict[str, str]
    content_type: str
    body: Any


def prefix(version: str) -> str:
    """Give the path below which a version of the API is served."""
    return f"/api/{version}" if "/" not in version else f"/apis/{version}"


def place(item: dict[str, Any]) -> str:
    """Give the path of an object."""
    namespace = item["metadata"].get("namespace")
    within = f"/namespaces/{namespace}" if namespace else ""
    plural = KINDS[item["apiVersion"]][item["kind"]]
    return f"{prefix(item['apiVersion'])}{within}/{plural}/{item['metadata']['name']}"


def describe() -> dict[str, Any]:
    """Give what kubectl asks before it sends anything, by path: groups, resources, and that it may leave validation."""
    groups = [version.partition("/") for version in KINDS if "/" in version]
    versions = [(group, {"groupVersion": f"{group}/{version}", "version": version}) for group, _, version in groups]
    answers: dict[str, Any] = {
        "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {"name": group, "versions": [version], "preferredVersion": version} for group, version in versions
            ],
        },
        "/openapi/v3": {
            "paths": {prefix(version)[1:]: {"serverRelativeURL": f"/openapi/v3{prefix(version)}"} for version in KINDS}
        },
    }
    for version, kinds in KINDS.items():
        answers[prefix(version)] = describe_resources(version, kinds)
        answers[f"/openapi/v3{prefix(version)}"] = describe_paths(version, kinds)
    return answers


def describe_resources(version: str, kinds: dict[str, str]) -> dict[str, Any]:
    """Give the kinds of an API version, and what may be done with their objects."""
    return {
        "kind": "APIResourceList",
        "groupVersion": version,
        "resources": [
            {
                "name": plural,
                "singularName": kind.lower(),
                "kind": kind,
                "namespaced": kind != "Namespace",
                "verbs": ["create", "delete", "get", "list", "patch", "watch"],
            }
            for kind, plural in kinds.items()
        ],
    }


def describe_paths(version: str, kinds: dict[str, str]) -> dict[str, Any]:
    """Give the OpenAPI document of an API version: its server validates what is sent to each path."""
    group, _, number = version.rpartition("/")
    return {
        "openapi": "3.0.0",
        "paths": {
            f"{prefix(version)}/{plural}/{{name}}": {
                "patch": {
                    "parameters": [{"name": "fieldValidation", "in": "query"}],
                    "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind},
                }
            }
            for kind, plural in kinds.items()
        },
    }


class _Connection(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        found = self.server.known.get(path) or self.server.api_server.read(path)
        self.answer(200, found) if found else self.refuse()

    def do_PATCH(self) -> None:
        api_server, change = self.server.api_server, self.receive()
        api_server.changes.append(change)
        states = api_server.becomes.get(change.path) or [None]
        self.answer(200, states[0] or api_server.objects.get(change.path, change.body))

    def do_POST(self) -> None:
        self.do_PATCH()

    def do_DELETE(self) -> None:
        api_server, change = self.server.api_server, self.receive()
        if found := api_server.objects.pop(change.path, None):
            api_server.changes.append(change)
            self.answer(200, found)
        else:
            self.refuse()

    def receive(self) -> Request:
        target = urlsplit(self.path)
        body = yaml.safe_load(self.rfile.read(int(self.headers["Content-Length"])))  # JSON is YAML
        query = dict(parse_qsl(target.query))
        return Request(self.command, target.path, query, self.headers.get("Content-Type", ""), body)

    def refuse(self) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        self.answer(404, status)

    def answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    """Accepts the connections of kubectl."""

    def __init__(self, api_server: "ApiServer") -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.api_server = api_server
        self.known = describe()


@dataclass
class ApiServer:
    """What kubectl talks to.

    Attributes:
        objects: What can be read, by path. What is sent is not put there, what is deleted is taken away.
        becomes: How an object reads once it has been sent, by path: one after the other, the last for ever.
        changes: Each request that would change something, in order.
    """

    objects: dict[str, Any] = field(default_factory=dict)
    becomes: dict[str, list[Any]] = field(default_factory=dict)
    changes: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def read(self, path: str) -> Any:
        """Give what is at a path, None where there is nothing."""
        states = self.becomes.get(path)
        if states and any(change.path == path and change.method == "PATCH" for change in self.changes):
            return states.pop(0) if len(states) > 1 else states[0]
        return self.objects.get(path)

    def write_kubeconfig(self, path: Path) -> None:
        """Write the settings by which kubectl finds it."""
        cluster = {"server": f"http://127.0.0.1:{self._server.server_port}"}
        settings = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stand-in", "cluster": cluster}],
            "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": ""}}],
            "current-context": "stand-in",
        }
        path.write_text(yaml.safe_dump(settings))

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
