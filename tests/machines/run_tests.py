# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Runs tests of this checkout in virtual machines, with systemd and version 2 of the control groups alone.

    run_tests.py --release 12 --jobs 2 --results build/vm tests/kernel tests/integration -- -k limits

The test files are shared out to as many machines as there are jobs. Each leaves its results as JUnit's XML and what
it printed in the directory of the results; ends with 1 if a test failed anywhere.
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


def shares(paths: list[str], jobs: int) -> list[list[str]]:
    """The test files below the paths in as many lists of about the same size as there are jobs, none of them empty."""
    files: list[Path] = []
    for path in (disks.CHECKOUT / path for path in paths):
        files += [path] if path.is_file() else path.rglob("test_*.py")
    lists: list[list[Path]] = [[] for _ in range(jobs)]
    for file in sorted(files, key=lambda file: (-file.stat().st_size, file)):
        min(lists, key=lambda each: sum(other.stat().st_size for other in each)).append(file)
    return [sorted(str(file.relative_to(disks.CHECKOUT)) for file in each) for each in lists if each]


def run(name: str, release: str, files: list[str], options: list[str], results: Path) -> int:
    """Run files in a machine of their own; pytest's exit code."""
    guest = machine.Machine(name)
    guest.remove()
    try:
        guest.start(release, "test", memory=3072, cpus=2, append="")
        guest.copy()
        words = ["/opt/test/bin/python", "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={RESULTS}"]
        command = f"cd {machine.IN_MACHINE} && LC_ALL=C.UTF-8 {shlex.join([*words, *files, *options])}"
        with open(results / f"{name}.log", "wb") as log:
            code = guest.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT).returncode
        with open(results / f"{name}.xml", "wb") as report:
            guest.run(f"cat {RESULTS}", stdin=subprocess.DEVNULL, stdout=report)
        return code
    finally:
        guest.remove()


def main() -> int:
    """Share out, run side by side, show what each printed."""
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", choices=disks.RELEASES, default="12")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, default=disks.CHECKOUT / "build/vm")
    parser.add_argument("tests", nargs="+", metavar="TESTS")
    own, options = (sys.argv[1:] + ["--"])[: (sys.argv + ["--"]).index("--") - 1], []
    if "--" in sys.argv:
        options = sys.argv[sys.argv.index("--") + 1 :]
    given = parser.parse_args(own)
    given.results.mkdir(parents=True, exist_ok=True)
    lists = shares(given.tests, given.jobs)
    names = [f"hull-test-{given.release}-{number}" for number in range(1, len(lists) + 1)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        started = [
            pool.submit(run, name, given.release, files, options, given.results)
            for name, files in zip(names, lists, strict=True)
        ]
    for name in names:
        print((given.results / f"{name}.log").read_text(errors="replace"))
    return 1 if any(each.result() for each in started) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (machine.Refused, disks.Unbuildable) as error:
        sys.exit(str(error))
