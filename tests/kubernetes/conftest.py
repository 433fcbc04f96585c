"""The manifests, as the files stand and as kustomize puts them together."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import find_tool

ROOT = Path(__file__).parents[2]
FOLDERS = ("kubernetes", "kubernetes_overlays/minikube", "kubernetes_overlays/production")


class Objects(list[dict[str, Any]]):
    """Kubernetes objects that are applied together."""

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Give the objects of a kind."""
        return [item for item in self if item["kind"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        """Give the only object of a kind."""
        (only,) = self.of(kind)
        return only

    @property
    def pod(self) -> dict[str, Any]:
        """The Deployment's pod."""
        return self.one("Deployment")["spec"]["template"]

    @property
    def container(self) -> dict[str, Any]:
        """The pod's only container."""
        (only,) = self.pod["spec"]["containers"]
        return only


def read(*paths: Path) -> Objects:
    """Read the objects of files."""
    return Objects(item for path in paths for item in yaml.safe_load_all(path.read_text()))


def render(folder: str) -> Objects:
    """Let kustomize, which kubectl holds, put a folder together."""
    # An absolute path stands for itself.
    command = [find_tool("kubectl", packaged=False), "kustomize", str(ROOT / folder)]
    return Objects(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


@pytest.fixture(scope="session")
def kustomize() -> Callable[[str], Objects]:
    """The function that puts a folder together."""
    return render


@pytest.fixture(scope="module", params=FOLDERS)
def objects(request: pytest.FixtureRequest) -> Objects:
    """Everything that one command applies."""
    return render(request.param)


@pytest.fixture(scope="module")
def model_service() -> Objects:
    """The objects of model_service.yaml alone."""
    return read(ROOT / "kubernetes" / "model_service.yaml")


@pytest.fixture(scope="module")
def minikube() -> Objects:
    """What is applied to minikube."""
    return render("kubernetes_overlays/minikube")


@pytest.fixture(scope="module")
def production() -> Objects:
    """What is applied to a real cluster."""
    return render("kubernetes_overlays/production")


@pytest.fixture
def production_with(tmp_path: Path) -> Callable[..., Objects]:
    """The function that puts the production overlay together with components."""

    def put_together(*components: str) -> Objects:
        content = {
            "resources": [os.path.relpath(ROOT / "kubernetes_overlays" / "production", tmp_path)],
            "components": [os.path.relpath(ROOT / "kubernetes_overlays" / name, tmp_path) for name in components],
        }
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return render(str(tmp_path))

    return put_together


@pytest.fixture
def production_with_api_keys(production_with: Callable[..., Objects]) -> Objects:
    """What is applied to a real cluster where the service asks for API keys."""
    return production_with("api_keys")


@pytest.fixture
def production_with_monitoring(production_with: Callable[..., Objects]) -> Objects:
    """What is applied to a real cluster with the Prometheus operator."""
    return production_with("monitoring")


@pytest.fixture
def nightly(tmp_path: Path) -> Objects:
    """What is applied where files are scored every night, as the overlay's comment says it."""
    for folder in ("kubernetes", "kubernetes_overlays"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    path = tmp_path / "kubernetes_overlays" / "scoring_production" / "kustomization.yaml"
    path.write_text(re.sub("(?m)^# (components:|  - ../scoring_nightly)", r"\1", path.read_text()))
    return render(str(path.parent))
