# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How long images take to come and go, side by side with Docker and Podman where they are installed.

    python tests/bench/images.py [--rounds 3] [--only hull,docker,podman] [--megabytes 440]

An image of five layers, made of this machine's own files, is pulled from a registry on loopback into an empty store,
1,000 of its files are changed in a container and committed, the result is pushed, its root file system is imported,
and an archive of it is loaded into another empty store. Each round gives every engine fresh directories on one new
ext4, and nothing is deleted before the end: ext4 is slow at creating files right after deleting many. What a step left
to be written is written before the next one is timed; hull alone waits until its layers are on the disk. Peak memory
(PSS of all processes of an engine) is measured in one more pull that is not timed. Needs root; nothing stays.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from statistics import median

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_INSIDE = "HULL_BENCH_INSIDE"
sys.path[:0] = [ROOT, os.path.join(ROOT, ".collections")]

from tests.bench.peers import PODMAN_CONF, pss_kib, remove_cgroups  # noqa: E402
from tests.support.docker_daemon import running_docker  # noqa: E402
from tests.support.images import Image, Layer, busybox_layer, make_image  # noqa: E402
from tests.support.registry import RunningRegistry, running_registry  # noqa: E402

SOURCES = ("/usr/lib/python3", "/usr/share", "/usr/include", "/usr/lib/x86_64-linux-gnu", "/usr/bin")
SHARES = (40, 25, 15, 12, 8)  # percent of the bytes in each layer
FILES = 20_000
FILE_SYSTEM_SIZE = "40G"
STEPS = ("pull", "commit", "push", "import", "load")
CHANGE = "n=0; for f in $(busybox find /usr -type f -size -16k | busybox head -n 1000); do echo >> $f; done"


def source_files(size_bytes: int) -> list[tuple[str, int]]:
    """Regular files of this machine and their sizes, about as many and as large as wanted, spread over the sources."""
    found = []
    for source in SOURCES:
        for directory, names, files in os.walk(source):
            names.sort()
            for name in sorted(files):
                path = os.path.join(directory, name)
                status = os.lstat(path)
                if os.path.isfile(path) and not os.path.islink(path) and status.st_size < 8 << 20:
                    found.append((path, status.st_size))
    step = max(1, len(found) // FILES)
    chosen, total = [], 0
    for path, size in found[::step]:
        if total + size <= size_bytes and len(chosen) < FILES:
            chosen.append((path, size))
            total += size
    return chosen


def layer_tar(files: list[str]) -> bytes:
    """A tar of files at their own paths, with the directories above them; whole seconds, as Docker's and buildah's."""

    def in_seconds(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime = int(entry.mtime)
        return entry

    buffer, seen = BytesIO(), set()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in files:
            parents = []
            parent = os.path.dirname(path)
            while parent not in ("/", "") and parent not in seen:
                parents.append(parent)
                seen.add(parent)
                parent = os.path.dirname(parent)
            for parent in reversed(parents):
                tar.add(parent, parent.lstrip("/"), recursive=False, filter=in_seconds)
            tar.add(path, path.lstrip("/"), recursive=False, filter=in_seconds)
    return buffer.getvalue()


def bench_image(size_bytes: int) -> Image:
    """Five layers of real files; the lowest has busybox too."""
    files = source_files(size_bytes)
    layers, begin = [busybox_layer()], 0
    for place, share in enumerate(SHARES):
        count = len(files) * share // 100
        end = len(files) if place == len(SHARES) - 1 else begin + count
        layers.append(Layer(layer_tar([path for path, _size in files[begin:end]])))
        begin = end
    return make_image(layers, config={"Env": ["PATH=/bin"], "Cmd": ["sh"]})


def run(*command: str, env: dict[str, str] | None = None, stdout: str = os.devnull) -> float:
    """Seconds that a command takes. Raises RuntimeError with what it said where it fails."""
    os.sync()
    with open(stdout, "wb") as output:
        began = time.perf_counter()
        done = subprocess.run(
            command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE
        )
        took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]}: {done.stderr.decode(errors='replace').strip()[-600:]}")
    return took


class Engine:
    """One engine with an empty store: the words of its commands."""

    name = ""
    env: dict[str, str] = {}
    command: tuple[str, ...] = ()
    pull_options: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ("--network", "none")

    def __call__(self, *words: str, stdout: str = os.devnull) -> float:
        return run(*self.command, *words, env=self.env, stdout=stdout)

    def pids(self) -> list[int]:
        """Processes of the engine beside the command."""
        return []


class Hull(Engine):
    name = "hull"

    def __init__(self, directory: str) -> None:
        self.env = {f"HULL_{name.upper()}": f"{directory}/{name}" for name in ("root", "run", "config")}
        self.command = (f"{ROOT}/bin/hull",)

    @contextlib.contextmanager
    def running(self) -> Iterator[Hull]:
        from ansible_collections.hull.engine.plugins.module_utils._base.paths import find_paths
        from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine as HullEngine
        from ansible_collections.hull.engine.plugins.module_utils._engine.teardown import tear_down

        paths = find_paths(*(self.env[f"HULL_{name}"] for name in ("ROOT", "RUN", "CONFIG")))
        try:
            yield self
        finally:
            kept = paths.root + ".kept"
            with HullEngine(paths) as engine:
                engine.records.close()
            os.rename(paths.root, kept)  # removing its files is not this round's work
            os.makedirs(paths.root)
            with HullEngine(paths) as engine:
                tear_down(engine, force=True)


class Docker(Engine):
    name = "docker"

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.command = ("docker",)

    @contextlib.contextmanager
    def running(self) -> Iterator[Docker]:
        os.makedirs(self._directory)
        with running_docker(self._directory) as docker:
            self.env = {name: docker.env[name] for name in ("DOCKER_HOST", "DOCKER_CONFIG")}
            with open(f"{docker.directory}/pid", encoding="ascii") as file:
                self._pid = int(file.read())
            yield self

    def pids(self) -> list[int]:
        return tree(self._pid)


class Podman(Engine):
    name = "podman"
    pull_options = ("--tls-verify=false",)
    run_options = ("--network", "none", "--cgroup-parent", "/hull-bench")

    def __init__(self, directory: str) -> None:
        self.env = {"CONTAINERS_CONF": f"{directory}/containers.conf"}
        self._directory = directory
        self.command = (
            *("podman", "--root", f"{directory}/podman", "--runroot", f"{directory}/run"),
            *("--tmpdir", f"{directory}/podman-tmp", "--network-config-dir", f"{directory}/podman-net"),
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[Podman]:
        os.makedirs(self._directory)
        with open(f"{self._directory}/containers.conf", "w", encoding="utf-8") as file:
            file.write(PODMAN_CONF)
        try:
            yield self
        finally:
            self("rm", "-fa")


ENGINES = (Hull, Docker, Podman)


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                for child in file.read().split():
                    found += tree(int(child))
    return found


def peak_mib(engine: Engine, *words: str) -> float:
    """The most memory that an engine's processes have while a command runs."""
    peak = 0
    process = subprocess.Popen(
        [*engine.command, *words],
        env={**os.environ, **engine.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    done = threading.Event()
    while not done.wait(0.01):
        peak = max(peak, pss_kib([*tree(process.pid), *engine.pids()]))
        if process.poll() is not None:
            done.set()
    if process.returncode:
        raise RuntimeError(f"{engine.name}: {' '.join(words)}: exit code {process.returncode}")
    return peak / 1024


def one_round(kind: type[Engine], directory: str, reference: str, archive: str, number: int) -> dict[str, float]:
    """The seconds of every step in fresh stores of one engine."""
    times = {}
    host = reference.partition("/")[0]
    with kind(f"{directory}/{kind.name}-{number}").running() as engine:  # type: ignore[call-arg,attr-defined]
        times["pull"] = engine("pull", *engine.pull_options, reference)
        engine("run", "--name", "changed", *engine.run_options, reference, "sh", "-c", CHANGE)
        changed = f"{host}/changed/{kind.name}:{number}"
        times["commit"] = engine("commit", "changed", changed)
        times["push"] = engine("push", *engine.pull_options, changed)
        rootfs = f"{directory}/rootfs.tar"
        if not os.path.exists(rootfs):
            engine("export", "-o", rootfs, "changed")
        times["import"] = engine("import", rootfs, "imported:1")
        engine("rm", "changed")
    with kind(f"{directory}/{kind.name}-{number}-load").running() as engine:  # type: ignore[call-arg,attr-defined]
        times["load"] = engine("load", "-i", archive)
    return times


def docker_archive(directory: str, reference: str) -> str:
    """The image as `skopeo copy` writes it for `docker load`."""
    path = f"{directory}/archive.tar"
    run("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{reference}", f"docker-archive:{path}:bench:1")
    return path


def measure(registry: RunningRegistry, directory: str, kinds: list[type[Engine]], rounds: int, size_bytes: int) -> None:
    image = bench_image(size_bytes)
    entries = sum(len(tarfile.open(fileobj=BytesIO(layer.tar)).getmembers()) for layer in image.layers)
    unpacked = sum(len(layer.tar) for layer in image.layers)
    packed = sum(len(blob) for blob in image.blobs.values())
    print(
        f"{len(image.layers)} layers, {entries} entries, {unpacked / 1e6:.0f} MB unpacked, {packed / 1e6:.0f} MB packed"
    )
    reference = registry.push("bench/image", "1", image)
    archive = docker_archive(directory, reference)
    del image
    times: dict[str, list[dict[str, float]]] = {kind.name: [] for kind in kinds}
    for number in range(rounds):
        for kind in kinds:
            times[kind.name].append(one_round(kind, directory, reference, archive, number))
            print(f"  round {number} {kind.name}: {show(times[kind.name][-1])}", flush=True)
    medians = {
        name: {step: median(found[step] for found in rounds_) for step in STEPS} for name, rounds_ in times.items()
    }
    print("\nmedian seconds; hull's as a share of the others'")
    for step in STEPS:
        values = "".join(f"{name:>8}{medians[name][step]:>7.2f}" for name in medians)
        shares = "".join(
            f"  {medians['hull'][step] / medians[name][step]:.2f} of {name}"
            for name in medians
            if name != "hull" and "hull" in medians
        )
        print(f"  {step:<8}{values}{shares}")
    print("\npeak memory of a pull, MiB (PSS of all processes)")
    for kind in kinds:
        with kind(f"{directory}/{kind.name}-memory").running() as engine:  # type: ignore[call-arg,attr-defined]
            print(f"  {kind.name:<8}{peak_mib(engine, 'pull', *engine.pull_options, reference):>8.1f}", flush=True)


def show(times: dict[str, float]) -> str:
    return ", ".join(f"{step} {seconds:.2f}" for step, seconds in times.items())


def main() -> int:
    parser = argparse.ArgumentParser(description="compare images' ways in and out with Docker and Podman")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="hull,docker,podman")
    parser.add_argument("--megabytes", type=int, default=440)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("the benchmark needs root", file=sys.stderr)
        return 1
    if _INSIDE not in os.environ:
        inside = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        return subprocess.run(inside, env={**os.environ, _INSIDE: "1"}).returncode
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    wanted = arguments.only.split(",")
    programs = {"hull": True, "docker": shutil.which("dockerd"), "podman": shutil.which("podman")}
    kinds = [kind for kind in ENGINES if kind.name in wanted and programs[kind.name]]
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}"
    )
    with fresh_file_system() as directory, running_registry() as registry:
        measure(registry, directory, kinds, arguments.rounds, arguments.megabytes * 1_000_000)
    return 0


@contextlib.contextmanager
def fresh_file_system() -> Iterator[str]:
    """A new ext4 in a file, mounted in this mount namespace; gone at the end."""
    place = tempfile.mkdtemp(prefix="hb-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    directory = f"{place}/d"
    try:
        os.mkdir(directory)
        run("truncate", "-s", FILE_SYSTEM_SIZE, f"{place}/ext4")
        run("mkfs.ext4", "-q", f"{place}/ext4")
        run("mount", "-o", "loop", f"{place}/ext4", directory)
        yield directory
    finally:
        remove_cgroups()
        subprocess.run(["umount", "--lazy", directory], check=False)
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
