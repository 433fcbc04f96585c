"""Podman with everything of its own in one folder: images, containers, networks, settings; nothing outlives it."""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

PUBLIC_BASE = "docker.io/library/python:3.11-slim-bookworm"
OWN_BASE = "localhost/python:3.11-slim-bookworm"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

# crun and systemd's cgroups fail where no systemd runs; the ulimits that Podman asks for are refused in some sandboxes.
SETTINGS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
[network]
network_config_dir = "{folder}/networks"
"""


class EngineError(Exception):
    """Podman can't do what a test needs; the message is its own."""


class Podman:
    """Runs Podman's commands.

    Attributes:
        folder: Holds all that it makes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = folder / "containers.conf"
        settings.write_text(SETTINGS.format(folder=folder))
        self._environment = {**os.environ, "CONTAINERS_CONF": str(settings), "TMPDIR": str(folder)}
        self._command = ["podman", *(f"--{name}={folder / name}" for name in ("root", "runroot", "tmpdir"))]

    def run(self, *arguments: str, status: int | None = 0, seconds: float = 300, errors: bool = False) -> str:
        """Run a command and give its output.

        Args:
            arguments: The command and its options.
            status: Exit status to insist on; None takes any.
            seconds: Time that it may take.
            errors: Whether what it writes to standard error belongs to the output.

        Raises:
            EngineError: It ended otherwise, or not in time.
        """
        try:
            answer = subprocess.run(
                [*self._command, *arguments],
                env=self._environment,
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"podman {arguments[0]} took over {seconds} s") from None
        if status is not None and answer.returncode != status:
            raise EngineError(f"podman {' '.join(arguments)}: status {answer.returncode}\n{answer.stderr[-3000:]}")
        return (answer.stdout + answer.stderr if errors else answer.stdout).strip()

    def inspect(self, name: str) -> dict[str, Any]:
        """Give what Podman knows of a container or image."""
        (found,) = json.loads(self.run("inspect", name))
        return found

    def address(self, pod: str) -> str:
        """Give the address that a pod has on its own network."""
        infra = json.loads(self.run("pod", "inspect", pod))["InfraContainerID"]
        (network,) = self.inspect(infra)["NetworkSettings"]["Networks"].values()
        return network["IPAddress"]

    def base_image(self) -> str:
        """Get the public base image, or make one like it where no registry can be reached.

        Raises:
            EngineError: Neither can be had.
        """
        try:
            self.run("pull", "--quiet", PUBLIC_BASE, seconds=180)
        except EngineError:
            return self._debian_base()
        return PUBLIC_BASE

    def _debian_base(self) -> str:
        """Make a slim Debian with Python out of the distribution's own packages."""
        if shutil.which("mmdebstrap") is None:
            raise EngineError(f"{PUBLIC_BASE} can't be pulled, and without mmdebstrap no other base can be made")
        tar = self.folder / "base.tar"
        hooks = (
            'rm -f "$1"/usr/lib/python3.11/EXTERNALLY-MANAGED',
            'ln -s /usr/bin/python3 "$1"/usr/local/bin/python3',
            'ln -s /usr/bin/python3 "$1"/usr/local/bin/python',
        )
        # With the directories merged by a hook, the package that would merge them is not needed, nor its Perl.
        command = ["mmdebstrap", "--quiet", "--variant=minbase"]
        command += ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
        command += ["--include=usr-is-merged,python3,python3-pip,ca-certificates"]
        command += ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*"]
        command += [f"--customize-hook={hook}" for hook in hooks]
        made = subprocess.run([*command, "bookworm", str(tar)], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise EngineError(f"mmdebstrap: {made.stderr[-3000:]}")
        self.run("import", "--change", 'CMD ["python3"]', str(tar), OWN_BASE)
        tar.unlink()
        return OWN_BASE

    def build(self, tag: str, context: Path, *options: str) -> None:
        """Build an image as `make image` does, with this machine's network and certificates."""
        if CERTIFICATES.exists():
            options = (*options, f"--volume={CERTIFICATES}:{CERTIFICATES}:ro")
        self.run("build", "--network=host", *options, "--tag", tag, str(context))

    def close(self) -> None:
        """Remove containers, networks, mounts and the folder.

        Raises:
            EngineError: A process or a mount has been left behind all the same.
        """
        self.run("pod", "rm", "--all", "--force", "--time=0", status=None)
        self.run("rm", "--all", "--force", "--time=0", status=None)
        self.run("network", "prune", "--force", status=None)
        for place in reversed(self._mounts()):
            subprocess.run(["umount", place], check=True)  # noqa: S607
        left = [*self._mounts(), *self._processes()]
        if left:
            raise EngineError(f"Left behind: {left}")
        shutil.rmtree(self.folder)

    def _mounts(self) -> list[str]:
        places = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        return [place for place in places if place.startswith(f"{self.folder}/")]

    def _processes(self) -> list[str]:
        """Find what runs with this folder in its command line: Podman's monitors, its name server."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has just ended
                found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return [command for command in found if f"{self.folder}/" in command]
