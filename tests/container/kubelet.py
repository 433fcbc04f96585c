"""The Deployment's pod, run by Podman and looked after as a node's kubelet would.

Podman 4 runs the pod of a Deployment, with its ConfigMap, limits and security context, but sends no probe. So this
reads the Deployment's own probes and follows the kubelet's rules: each probe at its period, with its time limit and
thresholds; readiness and liveness only after startup has succeeded; a container whose startup or liveness fails gets
its preStop hook, SIGTERM, and after the grace period SIGKILL, and is started again by its restart policy.
"""

import contextlib
import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from container.engine import Podman

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "kubernetes" / "model_service.yaml"
CONFIGURATION = ROOT / "configuration" / "rest_configuration.yaml"


@dataclass(frozen=True)
class Probe:
    """A probe of the Deployment; times in seconds."""

    name: str
    path: str
    port: int
    delay: float
    period: float
    timeout: float
    failures: int
    successes: int
    grace: float

    @classmethod
    def read(cls, name: str, pod: dict[str, Any]) -> "Probe":
        """Read a probe of the pod's container, with Kubernetes' defaults for what it leaves out."""
        (container,) = pod["containers"]
        fields = container[f"{name}Probe"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        return cls(
            name=name,
            path=fields["httpGet"]["path"],
            port=ports[fields["httpGet"]["port"]],
            delay=fields.get("initialDelaySeconds", 0),
            period=fields.get("periodSeconds", 10),
            timeout=fields.get("timeoutSeconds", 1),
            failures=fields.get("failureThreshold", 3),
            successes=fields.get("successThreshold", 1),
            grace=fields.get("terminationGracePeriodSeconds", pod["terminationGracePeriodSeconds"]),
        )

    def ask(self, host: str) -> bool:
        """Send the probe once."""
        connection = http.client.HTTPConnection(host, self.port, timeout=self.timeout)
        try:
            connection.request("GET", self.path, headers={"Connection": "close", "User-Agent": "kube-probe/1.32"})
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclass(frozen=True)
class Event:
    """Something that happened to the pod: a probe's answer, or a step of the container's life."""

    at: float
    what: str
    succeeded: bool = True
    seconds: float = 0


class Pod:
    """One pod of the Deployment.

    Attributes:
        events: All that has happened, in order.
        address: The pod's address and port.
        ready: Whether a Service would send it requests.
    """

    def __init__(self, podman: Podman, name: str, image: str, change: Callable[[dict[str, Any]], None] | None = None):
        """Start the pod and its probes.

        Args:
            podman: Runs it.
            name: Sets it apart from other pods.
            image: Runs in place of the one that the Deployment names.
            change: Is given the ConfigMap's data to alter.
        """
        documents = {document["kind"]: document for document in yaml.safe_load_all(MANIFEST.read_text())}
        deployment = documents["Deployment"]
        # What kustomize makes of configuration/, by another name: tests/kubernetes compares it with the file.
        data = {CONFIGURATION.name: CONFIGURATION.read_text()}
        if change:
            change(data)
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        self.spec = deployment["spec"]["template"]["spec"]
        self._probes = [Probe.read(probe, self.spec) for probe in ("startup", "readiness", "liveness")]
        deployment["metadata"]["name"] = name
        for volume in self.spec["volumes"]:
            if "configMap" in volume:
                volume["configMap"]["name"] = name
        deployment["spec"]["replicas"] = 1
        (container,) = self.spec["containers"]
        container["image"] = image
        for field in ("ports", "startupProbe", "readinessProbe", "livenessProbe"):
            del container[field]  # Podman would publish the port on this machine, and ask systemd to send a probe
        manifest = podman.folder / f"{name}.yaml"
        manifest.write_text(yaml.safe_dump_all([config_map, deployment]))
        self._podman, self._started, self._ending = podman, False, threading.Event()
        self.events: list[Event] = []
        self.ready = False
        self._note("created")
        podman.run("play", "kube", str(manifest))
        self._pod = podman.run("pod", "ps", f"--filter=name=^{name}-pod", "--format={{.Name}}")
        self.container = f"{self._pod}-{container['name']}"
        self.pid = self._find_process()
        self._host = podman.address(self._pod)
        self.address = f"{self._host}:{self._probes[0].port}"
        self._threads = [threading.Thread(target=self._send, args=(probe,)) for probe in self._probes]
        self._threads.append(threading.Thread(target=self._watch))
        for thread in self._threads:
            thread.start()

    def wait_until(self, condition: Callable[[], object], seconds: float) -> float:
        """Wait for a condition; give the time that it took.

        Raises:
            TimeoutError: It did not come true in this many seconds.
        """
        start = time.monotonic()
        while not condition():
            if time.monotonic() - start > seconds:
                raise TimeoutError(f"Not within {seconds} s. What happened:\n{self}\n{self.log()}")
            time.sleep(0.02)
        return time.monotonic() - start

    def of(self, what: str) -> list[Event]:
        """Give the events of a kind."""
        return [event for event in list(self.events) if event.what == what]

    def probe(self, name: str) -> Probe:
        """Give the startup, readiness or liveness probe."""
        return next(probe for probe in self._probes if probe.name == name)

    def log(self) -> str:
        """Give what the container wrote."""
        return self._podman.run("logs", self.container, status=None, errors=True)

    def terminate(self) -> int:
        """Delete the pod as a rollout does; give the server's exit status. It is 137 where it had to be killed."""
        self._ending.set()
        self._note("deleted")
        self._run_pre_stop()
        self._note("terminated")
        grace = self.spec["terminationGracePeriodSeconds"]
        self._podman.run("stop", f"--time={grace}", self.container, seconds=grace + 30)
        self._note("gone")
        return self._podman.inspect(self.container)["State"]["ExitCode"]

    def remove(self) -> None:
        """End probing and the pod at once."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._podman.run("pod", "rm", "--force", "--time=0", self._pod)

    def __str__(self) -> str:
        """Tell the story, for a failed test's message."""
        begin = self.events[0].at
        return "\n".join(
            f"{event.at - begin:7.2f} {event.what}{'' if event.succeeded else ' failed'} ({event.seconds:.3f} s)"
            for event in list(self.events)
        )

    def _note(self, what: str, succeeded: bool = True, seconds: float = 0) -> None:
        self.events.append(Event(time.monotonic(), what, succeeded, seconds))

    def _find_process(self) -> int:
        return int(self._podman.inspect(self.container)["State"]["Pid"])

    def _run_pre_stop(self) -> None:
        command = self.spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        self._podman.run("exec", self.container, *command, status=None)

    def _watch(self) -> None:
        """Notice when the container's process is gone, and when there is another."""
        while not self._ending.wait(0.05):
            if not self.pid or Path(f"/proc/{self.pid}").exists():
                continue
            self.pid, self._started, self.ready = 0, False, False
            self._note("exited")
            while not self.pid and not self._ending.wait(0.2):
                self.pid = self._find_process()
            if self.pid:
                self._note("restarted")

    def _send(self, probe: Probe) -> None:
        """Send one of the probes for as long as there is the pod, and act on its answers."""
        process, row = 0, 0  # answers of the same kind in a row; below 0: failures
        start = time.monotonic() + probe.delay - probe.period
        while not self._ending.wait(max(0, start + probe.period - time.monotonic())):
            start = time.monotonic()
            if self._started == (probe.name == "startup") or not self.pid:
                continue
            if process != self.pid:
                process, row = self.pid, 0
            succeeded = probe.ask(self._host)
            if process != self.pid or self._ending.is_set():
                continue
            self._note(probe.name, succeeded, time.monotonic() - start)
            row = max(row, 0) + 1 if succeeded else min(row, 0) - 1
            if row >= probe.successes or -row >= probe.failures:
                self._act(probe, succeeded)

    def _act(self, probe: Probe, succeeded: bool) -> None:
        if probe.name == "readiness":
            self.ready = succeeded
        elif not succeeded:
            self._kill(probe.grace)
        elif probe.name == "startup":
            self._started = True

    def _kill(self, grace: float) -> None:
        """End the container's process as the kubelet does, so that the restart policy starts it again."""
        process, deadline = self.pid, time.monotonic() + grace
        self._note("killed")
        self._run_pre_stop()
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
            while time.monotonic() < deadline:
                os.kill(process, 0)
                time.sleep(0.05)
            os.kill(process, signal.SIGKILL)
        while self.pid == process and not self._ending.wait(0.05):
            pass


@contextlib.contextmanager
def running(podman: Podman, name: str, image: str, **options: Any) -> Iterator[Pod]:
    """Run a pod for as long as a test needs it."""
    pod = Pod(podman, name, image, **options)
    try:
        yield pod
    finally:
        pod.remove()
