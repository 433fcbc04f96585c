"""The ways to the service: who is let in, the Ingress, the Gateway with its route, and the canary."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCHEMAS = yaml.safe_load(Path(__file__).with_name("gateway_api.yaml").read_text())
VERSIONS = ("1.30", kubernetes_validate.latest_version())
HOST = "credit-risk.example.com"
OPEN = "/api/models"


def validate(item: dict[str, Any]) -> None:
    """Compare an object with the schema of its API, of Kubernetes itself in the oldest and the newest version."""
    if item["apiVersion"] == "gateway.networking.k8s.io/v1":
        jsonschema.validate(item["spec"], {"$defs": SCHEMAS["$defs"], **SCHEMAS[item["kind"]]})
        return
    for version in VERSIONS:
        kubernetes_validate.validate(item, version, strict=True)


@pytest.fixture
def entrance(production_with: Callable[..., Any]) -> Any:
    """The production overlay with both ways in, and only their two namespaces let in."""
    return production_with("callers", "ingress", "gateway")


@pytest.fixture(scope="module")
def canary(kustomize: Callable[[str], Any]) -> Any:
    """What is applied beside the service."""
    return kustomize("kubernetes_overlays/canary")


def test_objects_of_the_entrance_fit_their_schemas(entrance: Any) -> None:
    """No field of policy, Ingress, Gateway and route is misspelt or of a wrong type; all stand beside the Service."""
    for kind in ("NetworkPolicy", "Ingress", "Gateway", "HTTPRoute"):
        validate(entrance.one(kind))
        assert entrance.one(kind)["metadata"]["namespace"] == "model-services"


def test_a_misspelt_field_of_a_route_is_noticed(entrance: Any) -> None:
    """The schema of the Gateway API's fields is strict."""
    route = copy.deepcopy(entrance.one("HTTPRoute"))
    route["spec"]["rules"][0]["backendRefs"][0]["wieght"] = 1
    with pytest.raises(jsonschema.ValidationError, match="wieght"):
        validate(route)


def test_two_namespaces_are_let_in(entrance: Any, production: Any) -> None:
    """With the component only the namespaces of the entrance and of Prometheus reach the port; without it all do."""
    (rule,) = entrance.one("NetworkPolicy")["spec"]["ingress"]
    names = [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in rule["from"]]
    assert names == ["ingress-nginx", "monitoring"]
    assert {"from": rule.pop("from")}
    assert [rule] == production.one("NetworkPolicy")["spec"]["ingress"]


def test_the_ingress_leads_to_the_service_by_tls(entrance: Any) -> None:
    """Its host has a certificate, its only path leads to a port that the Service has."""
    spec, service = entrance.one("Ingress")["spec"], entrance.one("Service")
    assert spec["tls"] == [{"hosts": [HOST], "secretName": "credit-risk-model-tls"}]
    (rule,) = spec["rules"]
    (path,) = rule["http"]["paths"]
    assert (rule["host"], path["path"], path["pathType"]) == (HOST, OPEN, "Prefix")
    (port,) = service["spec"]["ports"]
    assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": port["name"]}}


def test_the_gateway_takes_tls_and_its_own_namespaces_routes(entrance: Any) -> None:
    """Its only listener ends TLS by a certificate of its own namespace, and takes routes of no other."""
    (listener,) = entrance.one("Gateway")["spec"]["listeners"]
    assert (listener["protocol"], listener["hostname"], listener["port"]) == ("HTTPS", HOST, 443)
    assert listener["tls"] == {"mode": "Terminate", "certificateRefs": [{"name": "credit-risk-model-tls"}]}
    assert listener["allowedRoutes"] == {"namespaces": {"from": "Same"}}


def test_the_route_joins_the_gateway_and_the_service(entrance: Any) -> None:
    """It hangs on the listener with TLS, has its host, and leads to a port that the Service has."""
    spec, gateway, service = (entrance.one(kind) for kind in ("HTTPRoute", "Gateway", "Service"))
    spec = spec["spec"]
    (listener,) = gateway["spec"]["listeners"]
    assert spec["parentRefs"] == [{"name": gateway["metadata"]["name"], "sectionName": listener["name"]}]
    assert spec["hostnames"] == [listener["hostname"]]
    (rule,) = spec["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": OPEN}}]
    (port,) = service["spec"]["ports"]
    assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": port["port"]}]


def test_the_canary_shares_nothing_with_the_service(canary: Any, production: Any) -> None:
    """None of its objects has the name of one of the service's, so that it can be deleted; it is one pod."""
    names = [{(item["kind"], item["metadata"]["name"]) for item in objects} for objects in (canary, production)]
    assert not names[0] & names[1]
    assert {item["kind"] for item in canary} == {
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }
    assert {item["metadata"]["namespace"] for item in canary} == {"model-services"}
    assert canary.one("Deployment")["spec"]["replicas"] == 1
    for item in canary:
        validate(item)


def selectors(objects: Any) -> list[dict[str, str]]:
    """Everything that selects pods, but for monitoring."""
    spec = objects.pod["spec"]
    terms = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    return [
        objects.one("Deployment")["spec"]["selector"]["matchLabels"],
        objects.one("Service")["spec"]["selector"],
        objects.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        objects.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(rule["labelSelector"]["matchLabels"] for rule in spec["topologySpreadConstraints"]),
        *(term["podAffinityTerm"]["labelSelector"]["matchLabels"] for term in terms),
    ]


def test_each_selects_its_own_pods(canary: Any, production: Any) -> None:
    """No selector of the one finds pods of the other, and every one finds its own."""
    for own, other in ((canary, production), (production, canary)):
        for selector in selectors(own):
            assert selector.items() <= own.pod["metadata"]["labels"].items()
            assert not selector.items() <= other.pod["metadata"]["labels"].items()


def test_the_canary_can_have_the_services_components(kustomize: Callable[[str], Any], tmp_path: Path) -> None:
    """With its commented line the canary has the service's API keys, and lets in those whom the service lets in."""
    for folder in ("configuration", "kubernetes", "kubernetes_overlays"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    path = tmp_path / "kubernetes_overlays" / "canary" / "kustomization.yaml"
    path.write_text(path.read_text().replace("# components:", "components:"))
    canary = kustomize(str(path.parent))
    assert "keys" in {volume["name"] for volume in canary.pod["spec"]["volumes"]}
    (rule,) = canary.one("NetworkPolicy")["spec"]["ingress"]
    assert len(rule["from"]) == 2
    assert not {item["kind"] for item in canary} & {"Namespace", "ResourceQuota", "HorizontalPodAutoscaler"}


def test_the_canary_is_scraped_and_fits_in_the_quota(canary: Any, production_with: Callable[..., Any]) -> None:
    """The monitor finds its pod, which is as large as the service's: the quota has room for one of these."""
    monitored = production_with("monitoring")
    selector = monitored.one("PodMonitor")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= canary.pod["metadata"]["labels"].items()
    assert selector.items() <= monitored.pod["metadata"]["labels"].items()
    assert canary.container["resources"] == monitored.container["resources"]


def test_the_canary_gets_its_share(canary: Any, production_with: Callable[..., Any]) -> None:
    """With the component the route sends five of a hundred requests to the canary's Service."""
    routed = production_with("gateway", "canary_weights")
    validate(routed.one("HTTPRoute"))
    (rule,) = routed.one("HTTPRoute")["spec"]["rules"]
    services = [objects.one("Service") for objects in (routed, canary)]
    assert rule["backendRefs"] == [
        {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"], "weight": weight}
        for service, weight in zip(services, (95, 5), strict=True)
    ]


def test_the_shadow_gets_copies_alone(canary: Any, production_with: Callable[..., Any]) -> None:
    """With the component each request is answered by the service, and a copy of it goes to the canary's Service."""
    routed = production_with("gateway", "shadow")
    validate(routed.one("HTTPRoute"))
    (rule,) = routed.one("HTTPRoute")["spec"]["rules"]
    assert [backend["name"] for backend in rule["backendRefs"]] == [routed.one("Service")["metadata"]["name"]]
    (mirror,) = rule["filters"]
    service = canary.one("Service")
    target = {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}
    assert mirror == {"type": "RequestMirror", "requestMirror": {"backendRef": target}}
