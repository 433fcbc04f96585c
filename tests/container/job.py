"""A Job's pods, run by Podman one by one, with what the Job's controller and a node's kubelet would add to them.

Podman 4 runs a pod with its claim, limits and security context, but knows no Job and no `fsGroup`.
"""

import copy
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from container.engine import Podman

ROOT = Path(__file__).parents[2]


def read_settings() -> dict[str, str]:
    """Read what all Jobs are told: the literals of the ConfigMap that kustomize makes."""
    kustomization = yaml.safe_load((ROOT / "kubernetes" / "scoring" / "kustomization.yaml").read_text())
    (settings,) = kustomization["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in settings["literals"])


@dataclass(frozen=True)
class JobPod:
    """A pod of a Job that has been started.

    Attributes:
        container: The name of its only container.
    """

    podman: Podman
    name: str
    container: str

    def wait(self, seconds: float = 300) -> int:
        """Wait for its end; give the exit status."""
        return int(self.podman.run("wait", self.container, seconds=seconds))

    def log(self) -> str:
        """Give what it wrote."""
        return self.podman.run("logs", self.container, errors=True)

    def kill_when_it_reads(self, file: str) -> None:
        """Kill it, without a chance to tidy up, as soon as it has a file of that name open.

        Raises:
            TimeoutError: It never had.
        """
        process = int(self.podman.inspect(self.container)["State"]["Pid"])
        deadline = time.monotonic() + 60
        while not any(path.endswith(f"/{file}") for path in _open_files(process)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{file} was never read:\n{self.log()}")
            time.sleep(0.01)
        self.podman.run("kill", "--signal=KILL", self.container)

    def remove(self) -> None:
        """Take the pod away, as the Job does with a pod that it replaces."""
        self.podman.run("pod", "rm", "--force", "--time=0", self.name)


def _open_files(process: int) -> list[str]:
    try:
        return [os.readlink(path) for path in Path(f"/proc/{process}/fd").iterdir()]
    except FileNotFoundError:  # a file that was closed meanwhile
        return []


class Job:
    """A Job as its manifest says.

    Attributes:
        spec: What the Job says.
        pod_spec: What it says of its pods.
    """

    def __init__(self, podman: Podman, manifest: str, image: str) -> None:
        """Read a Job.

        Args:
            podman: Runs its pods.
            manifest: Path of a file that holds the Job alone, or the CronJob that makes it.
            image: Runs in place of the one that the Job names.
        """
        job = yaml.safe_load((ROOT / manifest).read_text())
        self._podman, self._name = podman, job["metadata"]["name"]
        self.spec: dict[str, Any] = job["spec"]["jobTemplate"]["spec"] if "jobTemplate" in job["spec"] else job["spec"]
        self.pod_spec: dict[str, Any] = self.spec["template"]["spec"]
        (container,) = self.pod_spec["containers"]
        container["image"] = image
        # Podman makes no ConfigMap of literals: each setting is given by itself.
        del container["envFrom"]
        given = container.get("env", [])
        container["env"] = [{"name": name, "value": value} for name, value in read_settings().items()] + given

    def start(self, index: int | None = None) -> JobPod:
        """Start a pod; an Indexed Job's knows its index."""
        name = self._name if index is None else f"{self._name}-{index}"
        spec = copy.deepcopy(self.pod_spec)
        (container,) = spec["containers"]
        # Podman makes a volume of an emptyDir's name, which pods of one Job would share, where each has its own.
        own = {volume["name"]: f"{name}-{volume['name']}" for volume in spec["volumes"] if "emptyDir" in volume}
        for named in (*spec["volumes"], *container["volumeMounts"]):
            named["name"] = own.get(named["name"], named["name"])
        if index is not None:
            given = [*container["env"], {"name": "JOB_COMPLETION_INDEX", "value": str(index)}]
            container["env"] = given
        manifest = self._podman.folder / f"{name}.yaml"
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        manifest.write_text(yaml.safe_dump(pod))
        self._podman.run("play", "kube", str(manifest))
        return JobPod(self._podman, name, f"{name}-{container['name']}")

    def make_volume(self) -> Path:
        """Make the volume that the claim stands for, with the pods' group as a kubelet gives it; give its folder."""
        (claim,) = (volume["persistentVolumeClaim"] for volume in self.pod_spec["volumes"] if "emptyDir" not in volume)
        self._podman.run("volume", "create", claim["claimName"])
        folder = Path(self._podman.run("volume", "inspect", "--format={{.Mountpoint}}", claim["claimName"]))
        os.chown(folder, 0, self.pod_spec["securityContext"]["fsGroup"])
        folder.chmod(0o2775)
        return folder
