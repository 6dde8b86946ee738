# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Many containers at once, side by side with Docker and Podman: time to start them, and what stays with each.

    python tests/bench/many.py [--containers 100] [--alone 1000]

The peers start `--containers` sleeping containers without a network, one command each; told are the time of all, and
the proportional set size of the processes that stay for their sake (monitors and spawner; shims; conmon), a container.
Then hull alone starts `--alone` containers, lists them and removes them; the time of each hundred tells whether a start
gets slower with their number. Needs root. Nothing stays.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_INSIDE = "HULL_BENCH_INSIDE"
sys.path[:0] = [ROOT, os.path.join(ROOT, ".collections")]

from tests.bench.measure import Timed, run_once  # noqa: E402
from tests.bench.peers import Docker, Hull, Podman, pss_kib, running_peers  # noqa: E402
from tests.bench.run import describe  # noqa: E402
from tests.support.images import busybox_layer  # noqa: E402

_STEP = 100


def start(peer: Hull | Docker | Podman, first: int, count: int) -> float:
    """Start containers one after the other; the seconds that it took."""
    return sum(run_once(Timed(peer.name, peer.detached(f"c{first + number}"), peer.env)) for number in range(count))


def remove_all(peer: Hull | Docker | Podman, count: int) -> float:
    """Remove the containers by one command; the seconds that it took."""
    names = [f"c{number}" for number in range(count)]
    at_once = ["-t", "0"] if isinstance(peer, Podman) else []  # the others kill at once
    return run_once(Timed(peer.name, peer.command("rm", "-f", *at_once, *names), peer.env))


def side_by_side(peers: list[Hull | Docker | Podman], count: int) -> None:
    """The table of all peers."""
    print(f"{count} sleeping containers, one command each")
    print(f"  {'':<10}{'start of all':>14}{'helpers':>10}{'KiB a container':>18}{'removal of all':>17}")
    for peer in peers:
        took = start(peer, 0, count)
        helpers = peer.helpers()
        memory = pss_kib(helpers) / count
        removal = remove_all(peer, count)
        print(f"  {peer.name:<10}{took:>12.1f} s{len(helpers):>10}{memory:>18.0f}{removal:>15.1f} s", flush=True)
    print()


def alone(hull: Hull, count: int) -> None:
    """Many of ours."""
    print(f"{count} containers of hull")
    for first in range(0, count, _STEP):
        took = start(hull, first, min(_STEP, count - first)) / min(_STEP, count - first)
        print(f"  from {first:>5}: {took * 1000:>6.1f} ms a start", flush=True)
    helpers = hull.helpers()
    print(f"  {len(helpers)} helpers, {pss_kib(helpers) / count:.0f} KiB a container")
    print(f"  listed in {run_once(Timed('hull', hull.command('ps'), hull.env)) * 1000:.0f} ms")
    names = [f"c{number}" for number in range(count)]
    stopping = Timed("hull", hull.command("stop", "-t", "0", *names), hull.env)
    print(f"  stopped in {run_once(stopping):.1f} s, removed in {remove_all(hull, count):.1f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description="many containers at once")
    parser.add_argument("--containers", type=int, default=100)
    parser.add_argument("--alone", type=int, default=1000)
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
            engines = [peer for peer in peers if isinstance(peer, (Hull, Docker, Podman))]
            if arguments.containers:
                side_by_side(engines, arguments.containers)
            for peer in engines:
                if isinstance(peer, Hull) and arguments.alone:
                    alone(peer, arguments.alone)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
