"""The image: what is in it, and what it may do."""

import json
import re
import shutil
import subprocess
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
import asyncio, importlib.util, json, os, pathlib, shutil
service, library = pathlib.Path("/service"), pathlib.Path(asyncio.__file__).parents[1]
sources = [*service.rglob("*.py"), *library.glob("*.py"), *library.glob("asyncio/*.py")]
programs = "cc gcc g++ make git sudo curl wget jupyter pytest uvicorn pip pip3"
packages = "numpy scipy pandas narwhals sklearn joblib flaml deepchecks matplotlib pytest notebook tests"
packages += " pip ensurepip setuptools wheel"
files = [pathlib.Path(folder, name) for folder, _, names in os.walk("/usr") for name in names]
print(json.dumps({
    "service": sorted(path.name for path in service.iterdir()),
    "programs": [name for name in programs.split() if shutil.which(name)],
    "packages": [name for name in packages.split() if importlib.util.find_spec(name)],
    "modules": [name for name in ("scoring", "training") if (service / "credit_risk_model" / name).exists()],
    "not_compiled": [str(path) for path in sources if not list(path.parent.glob(f"__pycache__/{path.stem}.*.pyc"))],
    "sources": len(sources),
    "caches": [str(path) for path in map(pathlib.Path, ("/root/.cache", "/tmp/pip")) if path.exists()],
    "privileged": [str(path) for path in files if not path.is_symlink() and path.stat().st_mode & 0o6000],
    "files": len(files),
    "apt": [path.name for path in pathlib.Path("/var/lib/apt/lists").glob("*Packages*")],
}))
"""


def canonical(name: str) -> str:
    """A package's name and version as indexes compare names."""
    return re.sub("[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def content(podman: Podman, image: str) -> dict[str, Any]:
    """What a look around in the image finds."""
    return json.loads(podman.run("run", "--rm", "--network=none", "--user=0", image, "python", "-c", LOOK))


def test_image_is_small(podman: Podman, image: str, measurements: dict[str, float]) -> None:
    """It takes at most 350 MB, unpacked, with its base."""
    size = podman.inspect(image)["Size"]
    measurements["image_megabytes"] = round(size / 1e6)
    assert size <= LARGEST


def test_image_says_what_it_is(podman: Podman, base: str, image: str, build_date: str, revision: str) -> None:
    """Title, description, version, revision, base, time of the build, licence and source stand in the OCI's labels."""
    labels = podman.inspect(image)["Config"]["Labels"]
    prefix = "org.opencontainers.image."
    own = {name.removeprefix(prefix): value for name, value in labels.items() if name.startswith(prefix)}
    assert own.pop("description")
    assert own == {
        "title": "Credit Risk Model Service",
        "version": __version__,
        "created": build_date,
        "revision": revision,
        "base.name": base,
        "licenses": "MIT",
        "source": "",
    }


def test_image_holds_only_what_the_service_needs(content: dict[str, Any]) -> None:
    """Neither tools, caches and tests nor code and packages of training and scoring, nor what makes somebody root."""
    assert content["service"] == ["LICENSE", "configuration", "credit_risk_model", "packages"]
    assert content["files"] > 1000
    for unwanted in ("programs", "packages", "modules", "caches", "apt", "privileged"):
        assert content[unwanted] == [], unwanted


@pytest.mark.parametrize("name", ["service", "scoring"])
def test_the_list_of_packages_is_the_images(podman: Podman, name: str, request: pytest.FixtureRequest) -> None:
    """`make sbom` lists the Python packages that are in an image, no more and no less, by version and digest."""
    image = request.getfixturevalue({"service": "image", "scoring": "scoring_image"}[name])
    list_packages = "import glob; print(*glob.glob('/service/*packages/*.dist-info'))"
    installed = podman.run("run", "--rm", "--network=none", image, "python", "-c", list_packages).split()
    subprocess.run(["make", "sbom"], cwd=ROOT, check=True, capture_output=True)  # noqa: S607
    found = json.loads((ROOT / "build" / f"credit_risk_model_{name}-{__version__}.cdx.json").read_text())
    listed = [f"{part['name']}-{part['version']}" for part in found["components"]]
    assert sorted(map(canonical, listed)) == sorted(canonical(Path(path).stem) for path in installed)
    assert all(reference["hashes"] for part in found["components"] for reference in part["externalReferences"])


def test_an_image_is_built_twice_alike(podman: Podman, base: str) -> None:
    """Built again from nothing, the image has the same digest: no byte of it, no mode and no time differs."""
    digests = []
    for number in (1, 2):
        name = f"localhost/again:{number}"
        podman.build(name, ROOT, "--no-cache", "--timestamp=0", f"--build-arg=BASE_IMAGE={base}")
        digests.append(podman.inspect(name)["Id"])
    assert digests[0] == digests[1]


def test_byte_code_is_in_the_image(content: dict[str, Any]) -> None:
    """Neither the service nor what it uses of Python is compiled at the start, when nothing could be kept."""
    assert content["sources"] > 100
    assert content["not_compiled"] == []


def test_user_is_a_number_and_not_root(podman: Podman, image: str) -> None:
    """A cluster that refuses root can see that this isn't."""
    assert podman.inspect(image)["Config"]["User"] == "10001:10001"


def test_no_image_is_made_of_a_damaged_archive(podman: Podman, base: str, tmp_path: Path) -> None:
    """What could never be ready fails in the build, which says why."""
    for name in ("Dockerfile", ".dockerignore", "LICENSE", "service_requirements.txt"):
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
