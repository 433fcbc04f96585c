"""The image, built once, and what the tests of running containers share."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest
from container.engine import EngineError, Podman
from container.load import Load

from credit_risk_model import __version__

ROOT = Path(__file__).parents[2]
IMAGE = f"localhost/credit_risk_model_service:{__version__}"
SCORING_IMAGE = f"localhost/credit_risk_model_scoring:{__version__}"
MEASUREMENTS = ROOT / "build" / "container_measurements.json"


def give_up(reason: str) -> NoReturn:
    """Skip the containers' tests, or fail where they have been declared indispensable."""
    if os.environ.get("CONTAINER_TESTS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Podman with storage and settings of its own; it leaves nothing behind."""
    if os.geteuid() != 0:
        give_up("Needs root: limits and networks of containers are tested as a node sets them")
    engine = Podman(tmp_path_factory.mktemp("podman"))
    try:
        engine.run("info")
    except (EngineError, FileNotFoundError) as error:
        give_up(f"Podman is not installed, or can't run here: {error}")
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def build_date() -> str:
    """When the image is built."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="session")
def revision() -> str:
    """What the image is built from."""
    return "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="session")
def base(podman: Podman) -> str:
    """The image that the service's starts from, by its digest."""
    try:
        name = podman.base_image()
        podman.run("run", "--rm", "--network=none", name, "python3", "--version")
    except EngineError as error:
        give_up(f"No container can be run here: {error}")
    return f"{name.rpartition(':')[0]}@{podman.inspect(name)['Digest']}"


@pytest.fixture(scope="session")
def image(podman: Podman, base: str, build_date: str, revision: str) -> str:
    """The image of the service."""
    arguments = {"BASE_IMAGE": base, "BUILD_DATE": build_date, "REVISION": revision}
    podman.build(IMAGE, ROOT, *(f"--build-arg={name}={value}" for name, value in arguments.items()))
    return IMAGE


@pytest.fixture(scope="session")
def scoring_image(podman: Podman, base: str, image: str) -> str:
    """The image that scores files, of the layers that it shares with the service's."""
    podman.build(SCORING_IMAGE, ROOT, "--target=scoring", f"--build-arg=BASE_IMAGE={base}")
    return SCORING_IMAGE


@pytest.fixture(scope="session")
def measurements() -> Iterator[dict[str, float]]:
    """What tests measure on their way: build/container_measurements.json keeps it."""
    found: dict[str, float] = {}
    yield found
    MEASUREMENTS.parent.mkdir(exist_ok=True)
    MEASUREMENTS.write_text(json.dumps(found, indent=1))


@pytest.fixture
def start_load(tmp_path: Path) -> Iterator[Callable[..., Load]]:
    """Start a load of predictions; what still runs at the end of the test is ended."""
    started: list[Load] = []

    def start(address: str, seconds: float, connections: int, reuse: bool = True) -> Load:
        endpoints = tmp_path / f"endpoints-{len(started)}"
        endpoints.write_text(address)
        started.append(Load(endpoints, seconds, connections, reuse))
        return started[-1]

    yield start
    for load in started:
        load.stop()
