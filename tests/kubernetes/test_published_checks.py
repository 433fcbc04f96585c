"""What kube-linter, kube-score and Polaris check by default, as far as it concerns these manifests.

The lists are those that the three projects publish (kube-linter's `default_checks.go`, kube-score's
`README_CHECKS.md` and the checks that its source adds, Polaris' `default.yaml`). Each check is either met, by a test
here that names it, or stands in kubernetes/README.md with the reason why it does not apply.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

PUBLISHED = {
    "kube-linter": """
        dangling-service deprecated-service-account-field docker-sock drop-net-raw-capability duplicate-env-var
        env-var-secret host-ipc host-network host-pid invalid-target-ports latest-tag liveness-port mismatching-selector
        no-anti-affinity no-extensions-v1beta no-read-only-root-fs non-existent-service-account pdb-max-unavailable
        pdb-min-available pdb-unhealthy-pod-eviction-policy privilege-escalation-container privileged-container
        readiness-port run-as-non-root sensitive-host-mounts ssh-port startup-port unsafe-sysctls
        unset-cpu-requirements unset-memory-requirements
    """,
    "kube-score": """
        container-ephemeral-storage-request-and-limit container-image-pull-policy container-image-tag
        container-resources container-security-context-privileged
        container-security-context-readonlyrootfilesystem container-security-context-user-group-id cronjob-has-deadline
        deployment-has-host-podantiaffinity deployment-has-poddisruptionbudget deployment-replicas deployment-strategy
        deployment-targeted-by-hpa-does-not-have-replicas-configured environment-variable-key-duplication
        horizontalpodautoscaler-has-target ingress-targets-service label-values networkpolicy-targets-pod
        pod-networkpolicy pod-probes pod-topology-spread-constraints poddisruptionbudget-has-policy
        service-targets-pod service-type stable-version statefulset-has-host-podantiaffinity
        statefulset-has-poddisruptionbudget
    """,
    "Polaris": """
        automountServiceAccountToken clusterrolePodExecAttach clusterrolebindingClusterAdmin
        clusterrolebindingPodExecAttach cpuLimitsMissing cpuRequestsMissing dangerousCapabilities
        deploymentMissingReplicas gatewayAllowedRoutesAll gatewayCrossNamespaceCertificateRef
        gatewayInsecureFrontendValidation gatewayTLSMissing hostIPCSet hostNetworkSet hostPIDSet hostPathSet hostPortSet
        hostProcess hpaMaxAvailability hpaMinAvailability httpRouteBackendTLSMissing httpRouteCrossNamespaceBackendRef
        httpRouteInsecureListener httpRouteWildcardOrEmptyHost insecureCapabilities
        kgatewayBackendTLSVerificationDisabled linuxHardening livenessProbeMissing memoryLimitsMissing
        memoryRequestsMissing metadataAndInstanceMismatched missingNetworkPolicy missingPodDisruptionBudget
        notReadOnlyRootFilesystem pdbDisruptionsIsZero pdbMinAvailableGreaterThanHPAMinReplicas priorityClassNotSet
        privilegeEscalationAllowed procMount pullPolicyNotAlways readinessProbeMissing rolePodExecAttach
        rolebindingClusterAdminClusterRole rolebindingClusterAdminRole rolebindingClusterRolePodExecAttach
        rolebindingRolePodExecAttach runAsPrivileged runAsRootAllowed sensitiveConfigmapContent
        sensitiveContainerEnvVar tagNotSpecified tlsSettingsMissing topologySpreadConstraint
    """,
}

met: set[str] = set()


def meets(checks: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Say which published checks a test stands for."""
    met.update(checks.split())
    return lambda test: test


def matches(selector: dict[str, str], objects: Any) -> bool:
    """Whether a selector that is not empty finds the Deployment's pods."""
    return bool(selector) and selector.items() <= objects.pod["metadata"]["labels"].items()


@meets("dangling-service service-targets-pod mismatching-selector networkpolicy-targets-pod pod-networkpolicy")
def test_selectors_match(objects: Any) -> None:
    """Deployment, Service and network policy select the pods."""
    assert matches(objects.one("Deployment")["spec"]["selector"]["matchLabels"], objects)
    assert matches(objects.one("Service")["spec"]["selector"], objects)
    assert matches(objects.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"], objects)


@meets("deprecated-service-account-field non-existent-service-account automountServiceAccountToken")
def test_the_service_account_exists_and_has_no_token(objects: Any) -> None:
    """The account is named by today's field, is among the objects, and neither it nor the pod mounts a token."""
    assert "serviceAccount" not in objects.pod["spec"]
    assert objects.pod["spec"]["serviceAccountName"] == objects.one("ServiceAccount")["metadata"]["name"]
    assert objects.pod["spec"]["automountServiceAccountToken"] is False
    assert objects.one("ServiceAccount")["automountServiceAccountToken"] is False


@meets("docker-sock sensitive-host-mounts host-ipc host-network host-pid unsafe-sysctls ssh-port")
@meets("hostIPCSet hostNetworkSet hostPIDSet hostPathSet hostPortSet hostProcess procMount")
def test_nothing_of_the_node_is_shared(objects: Any) -> None:
    """No namespace, path, port, process or kernel setting of the node."""
    spec = objects.pod["spec"]
    assert not {"hostIPC", "hostNetwork", "hostPID", "hostUsers"} & set(spec)
    assert not {"sysctls", "windowsOptions"} & set(spec["securityContext"])
    assert not any("hostPath" in volume for volume in spec["volumes"])
    assert objects.container["ports"] == [{"name": "http", "containerPort": 8000, "protocol": "TCP"}]
    assert "procMount" not in objects.container["securityContext"]


@meets("drop-net-raw-capability no-read-only-root-fs privilege-escalation-container privileged-container")
@meets("container-security-context-privileged container-security-context-readonlyrootfilesystem")
@meets("dangerousCapabilities insecureCapabilities linuxHardening notReadOnlyRootFilesystem")
@meets("privilegeEscalationAllowed runAsPrivileged")
def test_the_container_can_do_nothing_special(objects: Any) -> None:
    """It has no capability, gains no privilege, and its root filesystem is read-only."""
    assert objects.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@meets("run-as-non-root runAsRootAllowed container-security-context-user-group-id")
def test_user_and_group_are_high_numbers(objects: Any) -> None:
    """Not root, and above the numbers that nodes use themselves."""
    context = objects.pod["spec"]["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 10_000
    assert context["runAsGroup"] > 10_000


@meets("duplicate-env-var environment-variable-key-duplication env-var-secret sensitiveContainerEnvVar")
def test_environment_variables_are_single_and_hold_no_secret(objects: Any) -> None:
    """Each is set once, and none is named like a secret."""
    names = [variable["name"] for variable in objects.container["env"]]
    assert len(names) == len(set(names))
    assert not [name for name in names if re.search("(?i)secret|password|token|key|credential", name)]


@meets("sensitiveConfigmapContent")
def test_the_config_map_holds_no_secret(objects: Any) -> None:
    """Neither its keys nor its values look like one."""
    for key, value in objects.one("ConfigMap")["data"].items():
        assert not re.search("(?i)secret|password|token|bearer|_key", key)
        assert not re.search("(?i)-BEGIN .*PRIVATE KEY-", value)


@meets("invalid-target-ports liveness-port readiness-port startup-port")
def test_ports_have_valid_names_and_probes_use_them(objects: Any) -> None:
    """A port's name is one by the rules for services, and every probe asks a port of the container."""
    (port,) = objects.container["ports"]
    assert re.fullmatch("(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?", port["name"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert objects.container[probe]["httpGet"]["port"] == port["name"]


@meets("pod-probes readinessProbeMissing livenessProbeMissing")
def test_readiness_and_liveness_are_probed_differently(objects: Any) -> None:
    """Both probes are there, and they are not the same."""
    assert objects.container["readinessProbe"]["httpGet"] != objects.container["livenessProbe"]["httpGet"]


@meets("latest-tag container-image-tag tagNotSpecified")
def test_the_image_has_a_tag_that_is_a_version(objects: Any) -> None:
    """Neither no tag nor `latest`."""
    assert re.search(r":\d+\.\d+\.\d+$", objects.container["image"])


@meets("container-image-pull-policy pullPolicyNotAlways service-type")
def test_production_pulls_always_and_opens_no_node_port(production: Any) -> None:
    """Where there is a registry it is asked, and where there are nodes their ports stay closed."""
    assert production.container["imagePullPolicy"] == "Always"
    assert production.one("Service")["spec"]["type"] == "ClusterIP"


@meets("no-anti-affinity deployment-has-host-podantiaffinity topologySpreadConstraint pod-topology-spread-constraints")
def test_pods_avoid_each_other(objects: Any) -> None:
    """Anti-affinity by host, and spread constraints that are complete."""
    spec = objects.pod["spec"]
    (rule,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert rule["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert matches(rule["podAffinityTerm"]["labelSelector"]["matchLabels"], objects)
    for constraint in spec["topologySpreadConstraints"]:
        assert constraint["maxSkew"] > 0
        assert constraint["topologyKey"]
        assert constraint["whenUnsatisfiable"] in {"DoNotSchedule", "ScheduleAnyway"}
        assert matches(constraint["labelSelector"]["matchLabels"], objects)


@meets("no-extensions-v1beta stable-version")
def test_api_versions_are_stable(objects: Any) -> None:
    """No alpha, no beta."""
    assert {item["apiVersion"] for item in objects} == {
        "v1",
        "apps/v1",
        "autoscaling/v2",
        "networking.k8s.io/v1",
        "policy/v1",
    }


@meets("pdb-max-unavailable pdb-min-available pdb-unhealthy-pod-eviction-policy pdbDisruptionsIsZero")
@meets("deployment-has-poddisruptionbudget missingPodDisruptionBudget poddisruptionbudget-has-policy")
@meets("pdbMinAvailableGreaterThanHPAMinReplicas")
def test_the_disruption_budget_lets_nodes_be_drained(objects: Any) -> None:
    """It covers the pods, lets one go at a time, and never protects a pod that is not ready."""
    budget = objects.one("PodDisruptionBudget")["spec"]
    assert matches(budget["selector"]["matchLabels"], objects)
    assert budget["maxUnavailable"] == 1
    assert "minAvailable" not in budget
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@meets("unset-cpu-requirements unset-memory-requirements container-resources")
@meets("cpuLimitsMissing cpuRequestsMissing memoryLimitsMissing memoryRequestsMissing")
@meets("container-ephemeral-storage-request-and-limit")
def test_resources_are_requested_and_limited(objects: Any) -> None:
    """Processor, memory and disk."""
    for kind in ("requests", "limits"):
        assert set(objects.container["resources"][kind]) == {"cpu", "memory", "ephemeral-storage"}


@meets("horizontalpodautoscaler-has-target hpaMaxAvailability hpaMinAvailability deployment-replicas")
def test_the_autoscaler_scales_the_deployment(objects: Any) -> None:
    """It targets the Deployment, keeps at least two pods, and has room above them."""
    autoscaler, deployment = objects.one("HorizontalPodAutoscaler")["spec"], objects.one("Deployment")
    assert autoscaler["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert 2 <= autoscaler["minReplicas"] < autoscaler["maxReplicas"]


@meets("deployment-targeted-by-hpa-does-not-have-replicas-configured")
def test_only_the_autoscaler_says_how_many_pods(objects: Any) -> None:
    """The Deployment has no number of its own."""
    assert "replicas" not in objects.one("Deployment")["spec"]


@meets("deployment-strategy")
def test_updates_roll(objects: Any) -> None:
    """A Deployment behind a Service is replaced pod by pod."""
    assert objects.one("Deployment")["spec"]["strategy"]["type"] == "RollingUpdate"


@meets("cronjob-has-deadline")
def test_the_nightly_scoring_is_started_in_time_or_not_at_all(nightly: Any) -> None:
    """It is left out where it would begin too late, or beside the one of the night before."""
    spec = nightly.one("CronJob")["spec"]
    assert spec["startingDeadlineSeconds"] > 0
    assert spec["concurrencyPolicy"] == "Forbid"


@meets("ingress-targets-service tlsSettingsMissing")
def test_the_ingress_has_a_service_and_a_certificate(production_with: Callable[..., Any]) -> None:
    """Each of its paths leads to the Service that is there, each of its hosts has TLS."""
    objects = production_with("ingress")
    spec = objects.one("Ingress")["spec"]
    backends = [path["backend"]["service"]["name"] for rule in spec["rules"] for path in rule["http"]["paths"]]
    assert set(backends) == {objects.one("Service")["metadata"]["name"]}
    assert {rule["host"] for rule in spec["rules"]} == {host for tls in spec["tls"] for host in tls["hosts"]}


@meets("gatewayAllowedRoutesAll gatewayCrossNamespaceCertificateRef gatewayTLSMissing")
@meets("httpRouteCrossNamespaceBackendRef httpRouteInsecureListener httpRouteWildcardOrEmptyHost")
def test_gateway_and_route_keep_to_tls_and_to_their_namespace(production_with: Callable[..., Any]) -> None:
    """Certificates and Services are those of their own namespace; the route has a host, and a listener with TLS."""
    objects = production_with("gateway")
    gateway, route = (objects.one(kind)["spec"] for kind in ("Gateway", "HTTPRoute"))
    (listener,) = gateway["listeners"]
    assert listener["protocol"] == "HTTPS"
    assert listener["allowedRoutes"]["namespaces"]["from"] == "Same"
    references = [*listener["tls"]["certificateRefs"], *route["rules"][0]["backendRefs"]]
    assert len(references) == 2
    assert not any("namespace" in reference for reference in references)
    assert [parent["sectionName"] for parent in route["parentRefs"]] == [listener["name"]]
    assert route["hostnames"]
    assert not any("*" in host for host in route["hostnames"])


@meets("label-values metadataAndInstanceMismatched")
def test_labels_are_valid(objects: Any) -> None:
    """Every label's value may be one, and the instance is the Deployment's name."""
    for item in objects:
        for value in item["metadata"]["labels"].values():
            assert re.fullmatch("[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value)
    deployment = objects.one("Deployment")["metadata"]
    assert deployment["labels"]["app.kubernetes.io/instance"] == deployment["name"]


def test_every_published_check_is_met_or_excused() -> None:
    """No default check of the three tools is forgotten, and none is both met and excused."""
    readme = (ROOT / "kubernetes" / "README.md").read_text()
    rows = re.findall(r"^\| (kube-linter|kube-score|Polaris) \| (.+?) \| .+ \|$", readme, re.MULTILINE)
    published = {tool: set(names.split()) for tool, names in PUBLISHED.items()}
    for tool, names in published.items():
        excused = {name for row_tool, row in rows if row_tool == tool for name in re.findall("`(.+?)`", row)}
        assert excused <= names, tool
        assert names - excused == names & met, tool
    assert met <= set().union(*published.values())
