# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What an engine without containers still has and should not: in the kernel, on the disk, in its records."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from pathlib import Path

from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths

from tests.support.leftovers import processes


def residue(paths: Paths) -> list[str]:
    """Every leftover as a line; empty for an engine in order. Containers that are there count as leftovers too."""
    return [*_processes(paths), *_cgroups(paths), *_links(paths), *_ports(paths), *_files(paths), *_records(paths)]


def _processes(paths: Paths) -> list[str]:
    """All but the spawner: monitors, inits, helpers, and what ran in containers."""
    top = os.path.dirname(paths.root)
    own = []
    for line in processes():
        pid = line.partition(" ")[0]
        try:
            place = Path(f"/proc/{pid}/cgroup").read_text()
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        if (f"{paths.cgroup}/" in place or f"{top}/" in line) and name not in ("hull-spawner", "strace", "python"):
            own.append(f"process {line} ({name})")
    return own


def _cgroups(paths: Paths) -> list[str]:
    with open("/proc/mounts", encoding="utf-8") as file:
        roots = [line.split()[1] for line in file if line.split()[2].startswith("cgroup")]
    return [
        f"cgroup {root}/{paths.cgroup}/{entry.name}"
        for root in roots
        if os.path.isdir(f"{root}/{paths.cgroup}")
        for entry in os.scandir(f"{root}/{paths.cgroup}")
        if entry.is_dir() and entry.name != "supervisor"
    ]


def _links(paths: Paths) -> list[str]:
    bridge = f"hull-{paths.instance}"
    shown = subprocess.run(["ip", "-o", "link", "show", "master", bridge], capture_output=True, text=True)
    return [f"link {line.split()[1]}" for line in shown.stdout.splitlines()]


def _ports(paths: Paths) -> list[str]:
    shown = subprocess.run(["nft", "list", "table", "ip", f"hull-{paths.instance}"], capture_output=True, text=True)
    lines = [line.strip() for line in shown.stdout.splitlines()]
    return [f"nftables {line}" for line in lines if line.startswith("elements")]


def _files(paths: Paths) -> list[str]:
    places = (
        f"{paths.root}/containers",
        paths.temporary,
        paths.trash,
        os.path.dirname(paths.container_run("x")),
    )
    found = [f"{place}/{name}" for place in places if os.path.isdir(place) for name in os.listdir(place)]
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found += [f"mount {place}" for place in mounted if place.startswith((f"{paths.root}/", f"{paths.run}/"))]
    return found


def _records(paths: Paths) -> list[str]:
    if not os.path.exists(paths.database):
        return []
    connection = sqlite3.connect(f"file:{paths.database}?mode=ro", uri=True)
    try:
        return [
            f"record in {table}: {str(row)[:120]}"
            for table in ("containers", "leases", "id_ranges")
            for row in connection.execute(f"SELECT * FROM {table}")
        ]
    finally:
        connection.close()
