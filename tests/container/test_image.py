"""The image: what is in it, and what it may do."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import SHIPPED
from container.engine import EngineError, Podman

from credit_risk_model import __version__

pytestmark = pytest.mark.container

ROOT = Path(__file__).parents[2]
LARGEST = 350_000_000  # bytes

LOOK = """
import asyncio, importlib.util, json, pathlib, shutil
service, library = pathlib.Path("/service"), pathlib.Path(asyncio.__file__).parents[1]
sources = [*service.rglob("*.py"), *library.glob("*.py"), *library.glob("asyncio/*.py")]
names = "cc gcc g++ make git sudo curl wget jupyter pytest uvicorn"
packages = "numpy scipy pandas narwhals sklearn joblib flaml deepchecks matplotlib pytest notebook tests"
print(json.dumps({
    "service": sorted(path.name for path in service.iterdir()),
    "programs": [name for name in names.split() if shutil.which(name)],
    "packages": [name for name in packages.split() if importlib.util.find_spec(name)],
    "modules": [name for name in ("scoring", "training") if (service / "credit_risk_model" / name).exists()],
    "not_compiled": [str(path) for path in sources if not list(path.parent.glob(f"__pycache__/{path.stem}.*.pyc"))],
    "sources": len(sources),
    "caches": [str(path) for path in map(pathlib.Path, ("/root/.cache", "/tmp/pip")) if path.exists()],
    "apt": [path.name for path in pathlib.Path("/var/lib/apt/lists").glob("*Packages*")],
}))
"""


@pytest.fixture(scope="module")
def content(podman: Podman, image: str) -> dict[str, Any]:
    """What a look around in the image finds."""
    return json.loads(podman.run("run", "--rm", "--network=none", "--user=0", image, "python", "-c", LOOK))


def test_image_is_small(podman: Podman, image: str, measurements: dict[str, float]) -> None:
    """It takes at most 350 MB, unpacked, with its base."""
    size = podman.inspect(image)["Size"]
    measurements["image_megabytes"] = round(size / 1e6)
    assert size <= LARGEST


def test_image_says_what_it_is(podman: Podman, image: str, build_date: str) -> None:
    """Title, description, version, time of the build, licence and source stand in the labels of the OCI."""
    labels = podman.inspect(image)["Config"]["Labels"]
    prefix = "org.opencontainers.image."
    own = {name.removeprefix(prefix): value for name, value in labels.items() if name.startswith(prefix)}
    assert own.pop("description")
    assert own == {
        "title": "Credit Risk Model Service",
        "version": __version__,
        "created": build_date,
        "licenses": "MIT",
        "source": "",
    }


def test_image_holds_only_what_the_service_needs(content: dict[str, Any]) -> None:
    """Neither tools, caches and tests nor the code and the packages of training and scoring are in it."""
    assert content["service"] == ["configuration", "credit_risk_model", "packages"]
    for unwanted in ("programs", "packages", "modules", "caches", "apt"):
        assert content[unwanted] == [], unwanted


def test_byte_code_is_in_the_image(content: dict[str, Any]) -> None:
    """Neither the service nor what it uses of Python is compiled at the start, when nothing could be kept."""
    assert content["sources"] > 100
    assert content["not_compiled"] == []


def test_user_is_a_number_and_not_root(podman: Podman, image: str) -> None:
    """A cluster that refuses root can see that this isn't."""
    assert podman.inspect(image)["Config"]["User"] == "10001:10001"


def test_no_image_is_made_of_a_damaged_archive(podman: Podman, base: str, tmp_path: Path) -> None:
    """What could never be ready fails in the build, which says why."""
    for name in ("Dockerfile", ".dockerignore", "service_requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("configuration", "credit_risk_model"):
        shutil.copytree(ROOT / name, tmp_path / name)
    archive = tmp_path / "credit_risk_model" / "model_files" / SHIPPED.name
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(EngineError, match=r"ModelArchiveError: \d+\.zip: its SHA-256 is"):
        podman.build("localhost/never:1", tmp_path, f"--build-arg=BASE_IMAGE={base}")


def test_memory_limit_ends_what_exceeds_it(podman: Podman, image: str) -> None:
    """The limits under which the other tests run are real: one byte too many, and the kernel ends the process."""
    allocate = "bytearray(300 * 2**20)"
    limits = ("--memory=256m", "--memory-swap=256m")
    podman.run("run", "--rm", "--network=none", *limits, image, "python", "-c", allocate, status=137)
    podman.run("run", "--rm", "--network=none", image, "python", "-c", allocate)
