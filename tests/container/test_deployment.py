"""The Deployment's pod: run as the manifest says, probed by the kubelet's rules, disturbed, loaded, replaced."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import SHIPPED, rounded
from container.engine import Podman
from container.kubelet import Pod, running
from container.load import Load
from processes import find_tool

from credit_risk_model import __version__
from credit_risk_model.examples import EXAMPLE_ANSWER, EXAMPLE_LOAN

pytestmark = pytest.mark.container

PREDICTION = "/api/models/credit_risk_model/prediction"
MARGIN = 4  # between what a pod needs and what its probes allow
PROPAGATION = 2  # seconds until every node knows that a pod is leaving

HAPROXY = """
global
    stats socket {folder}/socket level admin
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 30s
    option redispatch
listen service
    bind 127.0.0.1:{port}
    balance roundrobin
    option httpchk GET /api/health/ready
    http-check expect status 200
    default-server check inter 500ms fall 1 rise 1
    server even 127.0.0.1:1 disabled
    server odd 127.0.0.1:1 disabled
"""
ROLLOUTS = 5

POST = """
import sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:8000" + sys.argv[1], sys.argv[2].encode())
request.add_header("Content-Type", "application/json")
print(urllib.request.urlopen(request).status)
"""


def ask(pod: Pod, path: str, loan: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Send a request to a pod; give status and JSON, 0 while nothing listens."""
    host, _, port = pod.address.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        if loan is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(loan), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except ConnectionError:
        return 0, None
    finally:
        connection.close()


@pytest.fixture(scope="module")
def pod(podman: Podman, image: str) -> Iterator[Pod]:
    """A pod that is ready, for tests that do it no harm."""
    with running(podman, "unharmed", image) as one:
        one.wait_until(lambda: one.ready, 60)
        yield one


def test_startup_says_503_until_the_model_is_loaded(podman: Podman, image: str, measurements: dict[str, float]) -> None:
    """The server answers before it is ready, and is ready in a quarter of the time that its startup probe allows."""
    with running(podman, "starting", image) as pod:
        statuses: list[int] = []
        while statuses[-1:] != [200]:
            status, _ = ask(pod, "/api/health/startup")
            if [status] != statuses[-1:]:
                statuses.append(status)
            assert time.monotonic() - pod.events[0].at < 60
        seconds = time.monotonic() - pod.events[0].at
        assert ask(pod, "/api/health/ready")[0] == 200
    measurements["seconds_to_ready"] = round(seconds, 2)
    assert [status for status in statuses if status] == [503, 200]
    startup = pod.probe("startup")
    assert MARGIN * seconds <= startup.period * startup.failures


def test_no_probe_runs_before_startup_has_succeeded(pod: Pod) -> None:
    """Startup fails, then succeeds and is asked no more; readiness and liveness follow."""
    pod.wait_until(lambda: pod.of("liveness"), 30)
    probes = [event for event in list(pod.events) if event.what != "created"]
    first = next(index for index, event in enumerate(probes) if event.what != "startup")
    assert [event.succeeded for event in probes[:first]] == [False] * (first - 1) + [True]
    assert {event.what for event in probes[first:]} == {"readiness", "liveness"}


def test_prediction_is_answered(pod: Pod) -> None:
    """The README's request gets its answer from the pod."""
    status, answer = ask(pod, PREDICTION, EXAMPLE_LOAN)
    assert status == 200
    assert rounded(answer) == rounded(EXAMPLE_ANSWER)


def test_process_is_confined(pod: Pod) -> None:
    """PID 1 is the server, without capability or privilege to gain, filtered by seccomp, as the manifest's user."""
    status = dict(re.findall(r"^(\w+):\s+(.*)$", Path(f"/proc/{pod.pid}/status").read_text(), re.MULTILINE))
    assert status["NSpid"].split()[-1] == "1"
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert (set(status["Uid"].split()), set(status["Gid"].split())) == ({"10001"}, {"10001"})
    assert b"credit_risk_model.service" in Path(f"/proc/{pod.pid}/cmdline").read_bytes()


def test_only_tmp_can_be_written_to(pod: Pod, podman: Podman) -> None:
    """The root filesystem and the configuration are read-only."""
    write = "import sys; open(sys.argv[1] + '/file', 'w')"
    for folder, status in {"/tmp": 0, "/": 1, "/service": 1, "/service/configuration": 1, "/var/tmp": 1}.items():  # noqa: S108
        podman.run("exec", pod.container, "python", "-c", write, folder, status=status)


def test_nothing_is_written_outside_tmp(podman: Podman, image: str) -> None:
    """Even where it could, the service changes no file."""
    name, deadline = "writable", time.monotonic() + 60
    podman.run("run", "--detach", "--name", name, "--tmpfs=/tmp", image)
    while podman.run("exec", name, "python", "-c", POST, PREDICTION, json.dumps(EXAMPLE_LOAN), status=None) != "200":
        assert time.monotonic() < deadline
    changes = podman.run("diff", name).splitlines()
    podman.run("rm", "--force", "--time=0", name)
    made_by_podman = re.compile("[AC] /(etc|etc/group|etc/mtab|etc/passwd|run|run/.containerenv|run/secrets|tmp)")
    assert [change for change in changes if not made_by_podman.fullmatch(change)] == []


def test_busy_pod_is_not_restarted_and_keeps_its_memory_limit(
    pod: Pod, start_load: Callable[..., Load], measurements: dict[str, float]
) -> None:
    """Under more load than it can bear, the pod answers its probes, grows to half its memory limit, and lives on."""
    process, begin, slowest = pod.pid, time.monotonic(), 0.0
    load = start_load(pod.address, seconds=30, connections=64)
    while time.monotonic() - begin < 30:
        asked = time.monotonic()
        assert pod.probe("liveness").ask(pod.address.partition(":")[0]), pod
        slowest = max(slowest, time.monotonic() - asked)
        time.sleep(0.1)
    outcomes = load.finish()
    status = Path(f"/proc/{process}/status").read_text()
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    memory = int(kilobytes) / 1024
    measurements["seconds_of_busy_liveness"] = round(slowest, 3)
    measurements["memory_mebibytes"] = round(memory, 1)
    measurements["predictions_a_second_under_the_limit"] = round(outcomes["200"] / 30)
    assert outcomes.keys() == {"200"}
    assert (pod.pid, pod.of("exited"), pod.of("killed")) == (process, [], [])
    assert all(event.succeeded for event in pod.of("liveness"))
    assert memory <= 128
    assert MARGIN * slowest <= pod.probe("liveness").timeout


def test_damaged_archive_is_never_ready_and_is_restarted(podman: Podman, image: str, tmp_path: Path) -> None:
    """A pod that can't load its model gets no traffic, and liveness restarts it."""
    content = bytearray(SHIPPED.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / SHIPPED.name).write_bytes(content)
    (tmp_path / "Dockerfile").write_text(
        f"FROM {image}\nCOPY {SHIPPED.name} /service/credit_risk_model/model_files/{SHIPPED.name}\n"
    )
    podman.build("localhost/damaged:1", tmp_path)
    with running(podman, "damaged", "localhost/damaged:1") as pod:
        pod.wait_until(lambda: pod.of("restarted"), 90)
        restarted = len(pod.events)
        pod.wait_until(lambda: [event for event in pod.events[restarted:] if event.what == "liveness"], 60)
    assert {event.succeeded for event in pod.of("readiness")} == {False}
    assert {event.succeeded for event in pod.of("liveness")} == {False}
    assert [event.succeeded for event in pod.of("startup")].count(True) == 2


def test_frozen_process_is_restarted(podman: Podman, image: str) -> None:
    """A server that hangs loses its traffic, then its life, and the next one is ready."""
    with running(podman, "frozen", image) as pod:
        pod.wait_until(lambda: pod.ready, 60)
        os.kill(pod.pid, signal.SIGSTOP)
        pod.wait_until(lambda: not pod.ready, 30)
        pod.wait_until(lambda: pod.of("restarted"), 90)
        pod.wait_until(lambda: pod.ready, 60)
        assert ask(pod, PREDICTION, EXAMPLE_LOAN)[0] == 200
    failed = [event for event in pod.of("liveness") if not event.succeeded]
    assert len(failed) == pod.probe("liveness").failures


def test_pod_that_leaves_answers_all_that_it_accepted(
    podman: Podman, image: str, start_load: Callable[..., Load]
) -> None:
    """From its deletion under load to its end, no request is lost, and it ends by itself."""
    with running(podman, "leaving", image) as pod, ThreadPoolExecutor() as pool:
        pod.wait_until(lambda: pod.ready, 60)
        loads = [start_load(pod.address, seconds=12, connections=16, reuse=reuse) for reuse in (True, False)]
        time.sleep(2)
        ending = pool.submit(pod.terminate)
        time.sleep(PROPAGATION)
        for load in loads:
            load.direct_to()
        status = ending.result()
        (terminated,), (gone,) = pod.of("terminated"), pod.of("gone")
    for load in loads:
        outcomes = load.finish()
        assert outcomes.keys() == {"200"}
        assert outcomes["200"] > 200
    assert status == 0
    assert gone.at - terminated.at < pod.spec["terminationGracePeriodSeconds"]


def test_second_version_takes_over_without_a_failed_request(
    podman: Podman, image: str, start_load: Callable[..., Load]
) -> None:
    """A rollout by the Deployment's rules (the new pod ready first) is not noticed by those who ask."""
    podman.run("tag", image, "localhost/credit_risk_model_service:next")

    def to_second_version(data: dict[str, str]) -> None:
        name = "rest_configuration.yaml"
        data[name] = data[name].replace(f"version: {__version__}", "version: next")

    with running(podman, "first", image) as first, ThreadPoolExecutor() as pool:
        first.wait_until(lambda: first.ready, 60)
        loads = [start_load(first.address, seconds=22, connections=8, reuse=reuse) for reuse in (True, False)]
        second_image = "localhost/credit_risk_model_service:next"
        with running(podman, "second", second_image, change=to_second_version) as second:
            second.wait_until(lambda: second.ready, 60)
            for load in loads:
                load.direct_to(first.address, second.address)
            time.sleep(1)
            ending = pool.submit(first.terminate)
            time.sleep(PROPAGATION)
            for load in loads:
                load.direct_to(second.address)
            assert ending.result() == 0
            assert ask(second, "/openapi.json")[1]["info"]["version"] == "next"
            for load in loads:
                outcomes = load.finish()
                assert outcomes.keys() == {"200"}
                assert outcomes["200"] > 200


class Proxy:
    """A real HAProxy that asks each pod for its readiness, and knows of the two that may run at once."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address, self._socket = f"127.0.0.1:{port}", folder / "socket"
        (folder / "configuration").write_text(HAPROXY.format(folder=folder, port=port))
        self._process = subprocess.Popen([find_tool("haproxy"), "-q", "-f", folder / "configuration"])
        deadline = time.monotonic() + 30
        while not self._socket.exists():
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def ask(self, command: str) -> str:
        """Give a command to the running proxy."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(f"{command}\n".encode())
            return connection.makefile().read()

    def add(self, place: str, address: str) -> None:
        """Let a pod take a place, once its check has passed."""
        host, _, port = address.partition(":")
        self.ask(f"set server service/{place} addr {host} port {port}")
        self.ask(f"set server service/{place} health down")
        self.ask(f"set server service/{place} state ready")

    def is_up(self, place: str) -> bool:
        """Say whether requests are sent to it."""
        rows = [line.split(",") for line in self.ask("show stat").splitlines()]
        return any(row[:2] == ["service", place] and row[17].startswith("UP") for row in rows)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)


def test_rollouts_behind_haproxy_lose_no_request(
    podman: Podman, image: str, start_load: Callable[..., Load], tmp_path: Path
) -> None:
    """Five rolling replacements behind a proxy that checks readiness: kept and new connections are all answered."""
    proxy = Proxy(tmp_path)
    loads: list[Load] = []
    former: Pod | None = None
    try:
        with ExitStack() as pods:
            for rollout in range(ROLLOUTS + 1):
                place = ("even", "odd")[rollout % 2]
                pod = pods.enter_context(running(podman, f"rollout{rollout}", image))
                pod.wait_until(partial(getattr, pod, "ready"), 60)
                proxy.add(place, pod.address)
                pod.wait_until(partial(proxy.is_up, place), 10)
                if former is not None:
                    assert former.terminate() == 0
                else:
                    loads = [start_load(proxy.address, 600, connections=8, reuse=reuse) for reuse in (True, False)]
                former = pod
            for load in loads:
                load.end()
                outcomes = load.finish()
                assert outcomes.keys() == {"200"}
                assert outcomes["200"] > 1000
    finally:
        proxy.stop()
