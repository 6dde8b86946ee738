# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Shows that the tests leave nothing behind: what the kernel and the file system hold, before and after.

    python tests/support/leftovers.py save FILE       before
    python tests/support/leftovers.py compare FILE    after; ends with 1 and a list if something is new

Looked at: mounts, links, named network namespaces, nftables, cgroups and files that carry our name, processes that run
our code, lie in our cgroups or live in another pid namespace, loop devices. Only what is new counts. Not looked at is
net.ipv4.ip_forward: it stays on where a bridge that is not ours came meanwhile, and tests that run at once make some.
"""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

SETTLE_S = 5.0
OUR_CODE = ("hull", "docker-registry")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def mounts() -> Iterator[str]:
    """Mount points with their file systems, as /proc/self/mountinfo tells them."""
    for line in _read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        yield f"{left.split()[4]} ({right.split()[0]})"


def links() -> Iterator[str]:
    """Network interfaces of this namespace."""
    yield from os.listdir("/sys/class/net")


def namespaces() -> Iterator[str]:
    """Network namespaces that were given a name."""
    yield from glob.glob("/run/netns/*")


def nftables() -> Iterator[str]:
    """Tables, chains, sets and rules, one per line."""
    done = subprocess.run(["nft", "list", "ruleset"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    table = ""
    for line in done.stdout.splitlines():
        table = line if line.startswith("table ") else table
        if line.strip() not in ("", "}"):
            yield f"{table} {line.strip()}"


def cgroups() -> Iterator[str]:
    """Control groups with our name, in every hierarchy."""
    for place in (line.split()[1] for line in _read("/proc/mounts").splitlines() if " cgroup" in line):
        for directory, names, _files in os.walk(place):
            yield from (os.path.join(directory, name) for name in names if "hull" in os.path.join(directory, name))


def files() -> Iterator[str]:
    """Files in the places where the engine and its tests put some."""
    for pattern in (
        "/run/hull*",
        "/var/lib/hull*",
        "/tmp/hull*",
        "/etc/hull*",
        "/dev/shm/hull*",
        "/usr/local/bin/hull",
    ):
        yield from glob.glob(pattern)


def processes() -> Iterator[str]:
    """Processes that run our code, something that our tests start, or anything in a container."""
    own = os.readlink("/proc/self/ns/pid")
    for directory in glob.glob("/proc/[0-9]*"):
        words = _read(f"{directory}/cmdline").replace("\0", " ").strip()
        try:
            elsewhere = os.readlink(f"{directory}/ns/pid") != own
        except OSError:
            continue  # it has ended, or is a zombie without namespaces
        ours = any(name in _read(f"{directory}/cgroup") + words for name in OUR_CODE)
        if (elsewhere or ours) and "leftovers.py" not in words:
            yield f"{directory[6:]} {words}"


def loop_devices() -> Iterator[str]:
    """Loop devices with a file behind them."""
    yield from glob.glob("/sys/block/loop*/loop/backing_file")


KINDS: dict[str, Callable[[], Iterator[str]]] = {
    "mount": mounts,
    "link": links,
    "network namespace": namespaces,
    "nftables": nftables,
    "cgroup": cgroups,
    "file": files,
    "process": processes,
    "loop device": loop_devices,
}


def snapshot() -> dict[str, list[str]]:
    """What is there now, by kind."""
    return {kind: sorted(set(look())) for kind, look in KINDS.items()}


def added(before: dict[str, list[str]]) -> list[str]:
    """What is there now and was not before."""
    now = snapshot()
    return [f"{kind}: {item}" for kind in KINDS for item in now[kind] if item not in before.get(kind, [])]


def compare(before: dict[str, list[str]]) -> int:
    """Print the verdict; processes that are just ending get a few seconds. The exit code."""
    deadline = time.monotonic() + SETTLE_S
    while (new := added(before)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if new:
        print("left behind:", *new, sep="\n  ")
        return 1
    print(f"nothing left behind: no new {', '.join(KINDS)}")
    return 0


def main(arguments: list[str]) -> int:
    """The two commands."""
    if len(arguments) != 2 or arguments[0] not in ("save", "compare"):
        print(__doc__, file=sys.stderr)
        return 2
    command, path = arguments
    if command == "save":
        with open(path, "w", encoding="utf-8") as file:
            json.dump(snapshot(), file, indent=1)
        return 0
    return compare(json.loads(_read(path)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
