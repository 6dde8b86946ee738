# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The engines that are compared, each with directories of its own below one that is removed at the end.

All of them run in a mount and a network namespace of the benchmark, so no bridge, rule or mount of theirs is seen by
the host. Their processes are ended by pid, their cgroups removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Union

from tests.bench.measure import Timed

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
IMAGE = "bench"
SLEEP = ("/bin/sleep", "100000")
_DEADLINE_S = 60
PODMAN_CONF = """[containers]
default_ulimits = ["nofile=1024:20000", "nproc=10000:10000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""


def _call(*command: str, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    """The output of a command. Raises RuntimeError with what it said where it fails."""
    with open(stdin or os.devnull, "rb") as source:
        done = subprocess.run(
            command, stdin=source, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=120
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout.strip()


def processes(directory: str, *names: str) -> list[int]:
    """The processes whose command line names the directory and whose name begins with one of these."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as file:
                name = file.read().strip()
            with open(f"/proc/{entry}/cmdline", encoding="utf-8", errors="replace") as file:
                if name.startswith(names) and directory in file.read():
                    found.append(int(entry))
    return found


def pss_kib(pids: list[int]) -> int:
    """The memory of these processes, what they share with others counted in parts. Source: proc(5), smaps_rollup."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            total += next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
    return total


class Peer:
    """An engine with the image in it."""

    name = ""
    version = ""
    env: dict[str, str] = {}

    def plain(self) -> Timed | None:
        """`true` in a container without a network."""
        return None

    def bridged(self) -> Timed | None:
        """`true` in a container on a bridge."""
        return None

    def detached(self, name: str) -> list[str]:
        """The command that leaves a container of that name behind, sleeping."""
        raise NotImplementedError

    def helpers(self) -> list[int]:
        """The processes that stay with the containers for their sake: monitors, shims."""
        raise NotImplementedError


class Hull(Peer):
    """Ours, with the command as the host role installs it, for the Python that most hosts run it by."""

    name = "hull"

    def __init__(self, directory: str, rootfs: str) -> None:
        self.paths = {name: f"{directory}/hull/{name}" for name in ("root", "run", "config")}
        self.env = {f"HULL_{name.upper()}": path for name, path in self.paths.items()}
        self._command = f"{directory}/hull/command"
        self._install()
        _call(self._command, "import", rootfs, IMAGE, env=self.env)
        self.version = _call(self._command, "version", "--format", "{{.Version}}, Python {{.Python}}")

    def _install(self) -> None:
        os.makedirs(os.path.dirname(self._command))
        script = (
            "import sys; "
            "from ansible_collections.hull.engine.plugins.module_utils._module import command_line as built; "
            "sources = built.sources_beside(None, built.__file__); "
            "sys.stdout.buffer.write(built.build(sources, built.lasting_interpreter()))"
        )
        with open(self._command, "wb") as file:
            subprocess.run(["/usr/bin/python3", "-c", script], cwd=f"{ROOT}/.collections", stdout=file, check=True)
        os.chmod(self._command, 0o755)

    def plain(self) -> Timed:
        return Timed("hull", [self._command, "run", "--rm", "--network", "none", IMAGE, "/bin/true"], self.env)

    def bridged(self) -> Timed:
        return Timed("hull", [self._command, "run", "--rm", IMAGE, "/bin/true"], self.env)

    def command(self, *words: str) -> list[str]:
        return [self._command, *words]

    def detached(self, name: str) -> list[str]:
        return self.command("run", "-d", "--network", "none", "--name", name, IMAGE, *SLEEP)

    def helpers(self) -> list[int]:
        return processes(self.paths["run"], "hull-monitor", "hull-spawner")

    def close(self) -> None:
        from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
        from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
        from ansible_collections.hull.engine.plugins.module_utils._engine.teardown import tear_down

        with Engine(Paths(**self.paths)) as engine:
            tear_down(engine, force=True)


class Docker(Peer):
    """Docker with a daemon of its own."""

    name = "docker"

    def __init__(self, directory: str, rootfs: str) -> None:
        self._directory = directory
        self.host = f"unix://{directory}/docker.sock"
        self.env = {"DOCKER_HOST": self.host, "DOCKER_CONFIG": f"{directory}/docker-client"}
        self._log = open(f"{directory}/dockerd.log", "wb")
        self._daemon = subprocess.Popen(
            [
                *("dockerd", "--data-root", f"{directory}/docker", "--exec-root", f"{directory}/docker-exec"),
                *("-H", self.host, "-p", f"{directory}/docker.pid", "--bridge=none", "--cgroup-parent=/hull-bench"),
                *("--storage-driver=overlay2", "--exec-opt", "native.cgroupdriver=cgroupfs"),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        try:
            self._prepare(rootfs)
        except BaseException:
            self.close()
            raise

    def _prepare(self, rootfs: str) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            try:
                self.version = _call("docker", "version", "--format", "{{.Server.Version}}", env=self.env)
                break
            except RuntimeError as error:
                if self._daemon.poll() is not None or time.monotonic() > deadline:
                    with open(self._log.name, encoding="utf-8", errors="replace") as log:
                        raise RuntimeError(f"dockerd does not answer: {log.read()[-600:]}") from error
                time.sleep(0.1)
        _call("docker", "import", "-", IMAGE, stdin=rootfs, env=self.env)
        self._has_network = False
        with contextlib.suppress(RuntimeError):
            _call("docker", "network", "create", "bench", env=self.env)
            self._has_network = True

    def plain(self) -> Timed:
        return Timed("docker", ["docker", "run", "--rm", "--network", "none", IMAGE, "/bin/true"], self.env)

    def bridged(self) -> Timed | None:
        command = ["docker", "run", "--rm", "--network", "bench", IMAGE, "/bin/true"]
        return Timed("docker", command, self.env) if self._has_network else None

    def command(self, *words: str) -> list[str]:
        return ["docker", *words]

    def detached(self, name: str) -> list[str]:
        return self.command("run", "-d", "--network", "none", "--name", name, IMAGE, *SLEEP)

    def helpers(self) -> list[int]:
        return processes(f"{self._directory}/docker-exec", "containerd-shim")

    def close(self) -> None:
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            containers = _call("docker", "ps", "-aq", env=self.env).split()
            if containers:
                _call("docker", "rm", "-f", *containers, env=self.env)
        self._daemon.send_signal(signal.SIGTERM)
        try:
            self._daemon.wait(_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        self._log.close()


class Podman(Peer):
    """Podman with directories of its own, over runc, as Docker."""

    name = "podman"

    def __init__(self, directory: str, rootfs: str) -> None:
        self._directory = directory
        with open(f"{directory}/containers.conf", "w", encoding="utf-8") as file:
            file.write(PODMAN_CONF)
        self.env = {"CONTAINERS_CONF": f"{directory}/containers.conf"}
        self._command = [
            *("podman", "--root", f"{directory}/podman", "--runroot", f"{directory}/podman-run"),
            *("--tmpdir", f"{directory}/podman-tmp", "--network-config-dir", f"{directory}/podman-net"),
        ]
        self.version = _call(*self._command, "version", "--format", "{{.Client.Version}}", env=self.env)
        _call(*self._command, "import", rootfs, IMAGE, env=self.env)

    def _run(self, network: str) -> Timed:
        options = ["--cgroup-parent", "/hull-bench", "--network", network]
        return Timed("podman", [*self._command, "run", "--rm", *options, IMAGE, "/bin/true"], self.env)

    def plain(self) -> Timed:
        return self._run("none")

    def bridged(self) -> Timed:
        return self._run("bridge")

    def command(self, *words: str) -> list[str]:
        return [*self._command, *words]

    def detached(self, name: str) -> list[str]:
        options = ["--cgroup-parent", "/hull-bench", "--network", "none", "--name", name]
        return self.command("run", "-d", *options, IMAGE, *SLEEP)

    def helpers(self) -> list[int]:
        return processes(f"{self._directory}/podman", "conmon")

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            _call(*self._command, "rm", "-fa", env=self.env)


class Runtime(Peer):
    """An OCI runtime alone: no image, no overlay, no network, nobody who watches.

    One that refuses this host's mix of cgroup versions is run in a mount namespace that shows version 2 alone, which
    it enters by nsenter: a millisecond that is counted too.
    """

    def __init__(self, name: str, directory: str, rootfs: str) -> None:
        self.name = name
        self._bundle = f"{directory}/{name}-bundle"
        self._namespace: subprocess.Popen[bytes] | None = None
        os.makedirs(f"{self._bundle}/rootfs")
        _call("tar", "-xf", rootfs, "-C", f"{self._bundle}/rootfs")
        self.version = _call(name, "--version").splitlines()[0].split()[-1]
        _call("env", "-C", self._bundle, name, "spec")
        path = f"{self._bundle}/config.json"
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        config["process"].update(args=["/bin/true"], terminal=False)
        config["process"].pop("rlimits", None)
        if name == "crun":  # its device program raises RLIMIT_MEMLOCK, which takes a capability that not every host has
            config["linux"].pop("resources", None)
        config["linux"]["cgroupsPath"] = f"/hull-bench/{name}"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        self._command = [name, "--root", f"{directory}/{name}-root", "run", "--bundle", self._bundle, "bench"]
        try:
            _call("env", "-C", self._bundle, *self._command)
        except RuntimeError:
            self._enter_version_2()

    def _enter_version_2(self) -> None:
        script = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && echo && exec sleep infinity"
        self._namespace = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE)
        assert self._namespace.stdout is not None
        self._namespace.stdout.readline()
        self._command = ["nsenter", "-m", "-t", str(self._namespace.pid), *self._command]
        try:
            _call("env", "-C", self._bundle, *self._command)
        except BaseException:
            self.close()
            raise

    def plain(self) -> Timed:
        return Timed(f"{self.name} alone", self._command, {}, self._bundle)

    def close(self) -> None:
        if self._namespace is not None:
            self._namespace.kill()
            self._namespace.wait()


class Floor(Peer):
    """The kernel alone: namespaces, an overlay, pivot_root and execve by a C program of forty lines."""

    name = "floor"

    def __init__(self, directory: str, rootfs: str) -> None:
        self._directory, self._program = f"{directory}/floor", f"{directory}/floor/floor"
        for name in ("lower", "upper", "work", "root"):
            os.makedirs(f"{self._directory}/{name}")
        _call("gcc", "-O2", "-o", self._program, f"{ROOT}/tests/bench/floor.c")
        _call("tar", "-xf", rootfs, "-C", f"{self._directory}/lower")
        os.makedirs(f"{self._directory}/lower/proc", exist_ok=True)
        self.version = "C"

    def plain(self) -> Timed:
        return Timed("kernel alone", [self._program, self._directory, "/bin/true"])

    def close(self) -> None:
        """Nothing runs."""


AnyPeer = Union[Hull, Docker, Podman, Runtime, Floor]


@contextlib.contextmanager
def running_peers(directory: str, rootfs: str) -> Iterator[list[AnyPeer]]:
    """All that this machine has, ready to run; what can't be brought up is told and left out."""
    makers: tuple[tuple[str, Callable[[], AnyPeer]], ...] = (
        ("", lambda: Hull(directory, rootfs)),
        ("dockerd", lambda: Docker(directory, rootfs)),
        ("podman", lambda: Podman(directory, rootfs)),
        ("runc", lambda: Runtime("runc", directory, rootfs)),
        ("crun", lambda: Runtime("crun", directory, rootfs)),
        ("gcc", lambda: Floor(directory, rootfs)),
    )
    peers: list[AnyPeer] = []
    try:
        for program, make in makers:
            if program and shutil.which(program) is None:
                print(f"{program}: not installed")
                continue
            try:
                peers.append(make())
            except (RuntimeError, OSError) as error:
                print(f"{program or 'hull'}: left out: {error}")
        yield peers
    finally:
        for peer in peers:
            peer.close()
        remove_cgroups()


def remove_cgroups() -> None:
    """Remove the control groups that the peers were told to use, as far as nothing is in them."""
    for path in sorted(_cgroups(), key=len, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _cgroups() -> Iterator[str]:
    with open("/proc/self/mounts", encoding="utf-8") as file:
        places = [line.split()[1] for line in file if line.split()[2] in ("cgroup", "cgroup2")]
    for place in places:
        if os.path.isdir(f"{place}/hull-bench"):
            yield from (directory for directory, _names, _files in os.walk(f"{place}/hull-bench"))
