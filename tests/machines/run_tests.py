# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Runs tests of this checkout in virtual machines, with systemd and version 2 of the control groups alone.

    run_tests.py --release 12 --jobs 2 --results build/vm tests/kernel tests/integration -- -k limits

The test files are shared out to as many machines as there are jobs. Each leaves its results as JUnit's XML and what
it prints, as it is printed, in the directory of the results; ends with 1 if a test failed anywhere.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import disks
import machine

RESULTS = "/root/results.xml"
MEMORY_MIB = 3072
CPUS = 2
# Packages that the tests lean on start these, which would change the network of a host that is to be the tests' alone.
SERVICES = """
    containerd.service docker.service docker.socket
    podman.socket podman-auto-update.service podman-auto-update.timer podman-restart.service man-db.timer
""".split()
# What hangs for so long shows where, in the log.
SILENCE_S = 600
# pytest's exit code where options leave out all that the files have.
NOTHING_SELECTED = 5
# Makes a machine of its own, for which a machine has no packages; `make vm` shows the role on this kind of machine.
LEFT_OUT = {"tests/integration/test_host_role.py"}
PYTEST = ("/opt/test/bin/python", "-m", "pytest", f"--junit-xml={RESULTS}", "-o", f"faulthandler_timeout={SILENCE_S}")


def shares(paths: list[str], jobs: int) -> list[list[str]]:
    """The test files below the paths in at most as many lists as there are jobs, alike in size, none of them empty.

    One test of a file (`tests/kernel/test_launch.py::test_rlimits`) counts as the file.
    """
    sizes: dict[str, int] = {}
    for text in paths:
        path = disks.CHECKOUT / text.partition("::")[0]
        if path.is_file():
            sizes[text] = path.stat().st_size
            continue
        found = {str(file.relative_to(disks.CHECKOUT)): file.stat().st_size for file in path.rglob("test_*.py")}
        if not found:
            raise machine.Refused(f"run tests: there are none in {path}")
        sizes.update((name, size) for name, size in found.items() if name not in LEFT_OUT)
    lists: list[list[str]] = [[] for _ in range(jobs)]
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        min(lists, key=lambda each: sum(sizes[other] for other in each)).append(name)
    return [sorted(each) for each in lists if each]


def run(guest: machine.Machine, release: str, tests: list[str], results: Path) -> int:
    """Run pytest with the arguments in a machine that is made for it and removed; pytest's exit code."""
    masked = " ".join(f"systemd.mask={service}" for service in SERVICES)
    guest.remove()
    try:
        guest.start(release, "test", memory=MEMORY_MIB, cpus=CPUS, append=masked)
        guest.copy()
        command = f"cd {machine.IN_MACHINE} && LC_ALL=C.UTF-8 {shlex.join([*PYTEST, *tests])}"
        with open(results / f"{guest.name}.log", "wb") as log:
            done = guest.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        with open(results / f"{guest.name}.xml", "wb") as report:
            guest.run(f"cat {RESULTS}", stdin=subprocess.DEVNULL, stdout=report)
        return done.returncode
    finally:
        guest.remove()


def main() -> int:
    """Share out, run side by side, show what each printed."""
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", choices=disks.RELEASES, default="12")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, default=disks.CHECKOUT / "build/vm")
    parser.add_argument("tests", nargs="+", metavar="TESTS")
    given = parser.parse_args(words[:end])
    given.results.mkdir(parents=True, exist_ok=True)
    codes = set()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = {}
        for number, files in enumerate(shares(given.tests, given.jobs), 1):
            guest = machine.Machine(f"tests-{given.release}-{number}")
            print(f"{len(files)} files in {guest.name}, see {given.results}/{guest.name}.log", flush=True)
            runs[pool.submit(run, guest, given.release, [*files, *words[end + 1 :]], given.results)] = guest.name
        for done in concurrent.futures.as_completed(runs):
            codes.add(done.result())
            print((given.results / f"{runs[done]}.log").read_text(errors="replace"), flush=True)
    return 0 if 0 in codes and codes <= {0, NOTHING_SELECTED} else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (machine.Refused, disks.Unbuildable) as error:
        sys.exit(str(error))
