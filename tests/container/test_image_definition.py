"""What the Dockerfile says, and that image, manifests and configuration say the same."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from credit_risk_model import __version__

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OVERLAY = ROOT / "kubernetes_overlays" / "production" / "kustomization.yaml"


@pytest.fixture(scope="module")
def deployment() -> dict[str, Any]:
    """The Deployment as it stands."""
    documents = yaml.safe_load_all((ROOT / "kubernetes" / "model_service.yaml").read_text())
    return next(document for document in documents if document["kind"] == "Deployment")


def stage(name: str) -> str:
    """Give the instructions of a stage, each on one line."""
    joined = DOCKERFILE.replace("\\\n", " ")
    (found,) = re.findall(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", joined, re.MULTILINE | re.DOTALL)
    return str(found)


def instruction(name: str) -> str:
    """Give what follows the service's last instruction of this name, or that of the stage that it is made from."""
    return re.findall(rf"^{name} (.*)$", stage("runtime") + stage("service"), re.MULTILINE)[-1]


def test_hadolint_finds_nothing() -> None:
    """The Dockerfile keeps the rules of its linter, but for those that it names with a reason."""
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    assert hadolint, "install the packages of requirements.txt"
    answer = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (0, "")


def test_version_is_one(deployment: dict[str, Any]) -> None:
    """Package, image, manifests, overlay and configuration name the same version."""
    configuration = yaml.safe_load((ROOT / "configuration" / "rest_configuration.yaml").read_text())
    folders = ("kubernetes", "kubernetes_overlays", "configuration")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.yaml")]
    manifests = "".join(path.read_text() for path in paths)
    versions = [
        *re.findall("^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE),
        *re.findall(r"-t credit_risk_model_service:(\S+)", DOCKERFILE),
        deployment["spec"]["template"]["spec"]["containers"][0]["image"].partition(":")[2],
        configuration["version"],
        *re.findall("newTag: (.*)", manifests),
        *re.findall("app.kubernetes.io/version: (.*)", manifests),
    ]
    assert set(versions) == {__version__}


def test_user_is_one(deployment: dict[str, Any]) -> None:
    """Image and pod run as the same numeric user and group, which is not root."""
    context = deployment["spec"]["template"]["spec"]["securityContext"]
    assert instruction("USER") == f"{context['runAsUser']}:{context['runAsGroup']}" == "10001:10001"


def test_port_is_one(deployment: dict[str, Any]) -> None:
    """The server listens where image and pod say that it does."""
    command = json.loads(instruction("CMD"))
    (port,) = deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert command[command.index("--port") + 1] == instruction("EXPOSE") == str(port["containerPort"]) == "8000"
    assert command[command.index("--host") + 1] == "0.0.0.0"  # noqa: S104  # inside the container


def test_image_name_is_one(deployment: dict[str, Any]) -> None:
    """The overlay replaces the image that the Deployment names, and `make image` tags it so."""
    (image,) = yaml.safe_load(OVERLAY.read_text())["images"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].partition(":")[0] == image["name"] == "credit_risk_model_service"
    assert image["newName"].rpartition("/")[2] == image["name"]


def test_the_command_stands_in_the_image_alone(deployment: dict[str, Any]) -> None:
    """The manifests start what the image starts, so that the two can't differ."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert not {"command", "args"} & set(container)


def test_configuration_has_the_same_place_in_image_and_pod(deployment: dict[str, Any]) -> None:
    """The ConfigMap covers the configuration that the image brings along."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (variable,) = container["env"]
    assert f"REST_CONFIG={variable['value']}" in instruction("ENV").split()


def test_build_stages_start_from_the_base_that_is_asked_for() -> None:
    """One argument replaces the base image everywhere."""
    assert re.search("^ARG BASE_IMAGE=python:3.11-slim-bookworm$", DOCKERFILE, re.MULTILINE)
    bases = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, re.MULTILINE)
    assert bases[:3] == [("${BASE_IMAGE}", "build"), ("build", "scoring-build"), ("${BASE_IMAGE}", "runtime")]


def test_the_service_is_what_is_built_by_default() -> None:
    """The last stage is the service's; scoring is built where it is asked for."""
    *_, scoring, last = re.findall(r"^FROM .*$", DOCKERFILE, re.MULTILINE)
    assert (scoring, last) == ("FROM runtime AS scoring", "FROM runtime AS service")


def test_service_and_scoring_have_nothing_of_each_other() -> None:
    """Neither image takes code or packages of the other from the stages that build."""
    assert "mv credit_risk_model/service credit_risk_model/scoring ." in stage("build")
    copied = {name: re.findall("^COPY --from=(.*)$", stage(name), re.MULTILINE) for name in ("service", "scoring")}
    assert copied == {
        "service": ["build /service/packages packages", "build /service/service credit_risk_model/service"],
        "scoring": [
            "scoring-build /service/scoring_packages packages",
            "scoring-build /service/scoring credit_risk_model/scoring",
        ],
    }


def test_scoring_is_pinned_as_everything_is() -> None:
    """The scoring image has the extra's packages and what they need, at the versions that the tests run with."""
    pins = [
        dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("scoring_requirements.txt", "requirements.txt")
    ]
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["scoring"]
    names = [re.findall(r"^[\w-]+", requirement)[0].lower() for requirement in extra]
    assert "kept = !/^(scipy|narwhals)==/" in stage("scoring-build")
    assert pins[0].items() <= pins[1].items()
    assert set(names) <= pins[0].keys()


def test_only_what_the_image_needs_is_sent_to_the_builder() -> None:
    """Everything is kept out that is not let in by name: data, git, environments, tests."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line for line in lines if line.startswith("!")} == {
        "!LICENSE",
        "!configuration",
        "!credit_risk_model",
        "!scoring_requirements.txt",
        "!service_requirements.txt",
    }
    assert {"configuration/kustomization.yaml", "credit_risk_model/training"} <= set(lines)
