# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How long things take, side by side with Docker and Podman where they are installed.

    python tests/bench/run.py [--rounds 20] [--items 10] [--only run|tasks] [--collections DIRECTORY]

Measured: `run --rm IMAGE true` without a network and on a bridge, with runc and crun alone beside it; an Ansible task
that creates and starts containers in a loop, and the same task with no change, beside docker_container (where the
collection is found and `requests` can be imported) and a module that does nothing. Needs root. Nothing
stays: everything lies in one temporary directory and in namespaces of the benchmark's own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, "tests", "bench")
_INSIDE = "HULL_BENCH_INSIDE"
sys.path[:0] = [ROOT, os.path.join(ROOT, ".collections")]

from tests.bench.measure import compare, table  # noqa: E402
from tests.bench.peers import AnyPeer, Docker, Hull, running_peers  # noqa: E402
from tests.support.images import busybox_layer  # noqa: E402

Peers = list[AnyPeer]


def measure_runs(peers: Peers, rounds: int) -> None:
    """`run --rm ... true`, without and with a bridge."""
    for title, kind in (("run --rm, no network", "plain"), ("run --rm, bridge", "bridged")):
        found = (peer.plain() if kind == "plain" else peer.bridged() for peer in peers)
        print(table(title, compare([timed for timed in found if timed is not None], rounds), "docker"), flush=True)
        print()


def measure_tasks(peers: Peers, items: int, collections: str) -> None:
    """The Ansible tasks, in milliseconds an item of a loop."""
    by_name = {peer.name: peer for peer in peers}
    hull, docker = by_name.get("hull"), by_name.get("docker")
    chosen = ["hull"] if isinstance(hull, Hull) else []
    if isinstance(docker, Docker) and os.path.isdir(f"{collections}/ansible_collections/community/docker"):
        chosen.append("docker")
    else:
        print("docker_container: not measured: no Docker, or no community.docker in --collections")
    variables = {
        "count": items,
        "peers": chosen,
        "docker_host": docker.host if isinstance(docker, Docker) else "",
        "ansible_python_interpreter": sys.executable,
        **({f"hull_{name}": path for name, path in hull.paths.items()} if isinstance(hull, Hull) else {}),
    }
    times = _play(variables, collections)
    print(f"an Ansible task in a loop of {items}, per item")
    for name, seconds in times.items():
        step = name.partition("-")[2]
        other = times.get(f"docker-{step}")
        ratio = f"{seconds / other:.2f} of docker_container" if other and name.startswith("hull-") else ""
        print(f"  {name:<18}{seconds / items * 1000:>7.1f} ms  {ratio}")


def _play(variables: dict[str, object], collections: str) -> dict[str, float]:
    """Run the playbook; the seconds that its steps tell."""
    env = {
        **os.environ,
        "ANSIBLE_LIBRARY": f"{HERE}/library",
        "ANSIBLE_COLLECTIONS_PATH": f"{ROOT}/.collections:{collections}",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "LC_ALL": "C.UTF-8",
    }
    command = [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", "localhost,"]
    done = subprocess.run(
        [*command, f"{HERE}/tasks.yml", "-e", json.dumps(variables)], env=env, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-1000:])
    words = (line.partition("BENCH ")[2].strip(' "').split() for line in done.stdout.splitlines() if "BENCH " in line)
    return {name: float(seconds) for name, seconds in words}


def describe(peers: Peers) -> None:
    """What was measured, where."""
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}"
    )
    print(", ".join(f"{peer.name} {peer.version}" for peer in peers))
    print()


def main() -> int:
    parser = argparse.ArgumentParser(description="compare with Docker and Podman")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--items", type=int, default=10)
    parser.add_argument("--only", choices=("run", "tasks"))
    parser.add_argument("--collections", default=os.path.expanduser("~/.ansible/collections"))
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("the benchmark needs root", file=sys.stderr)
        return 1
    if _INSIDE not in os.environ:
        inside = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        return subprocess.run(inside, env={**os.environ, _INSIDE: "1"}).returncode
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    directory = tempfile.mkdtemp(prefix="hull-bench-")
    try:
        rootfs = f"{directory}/rootfs.tar"
        with open(rootfs, "wb") as file:
            file.write(busybox_layer("plain").tar)
        with running_peers(directory, rootfs) as peers:
            describe(peers)
            if arguments.only != "tasks":
                measure_runs(peers, arguments.rounds)
            if arguments.only != "run":
                measure_tasks(peers, arguments.items, arguments.collections)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
