# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Containers on a host that systemd runs: they outlive what they were started from, and keep their limits."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.teardown import tear_down
from ansible_collections.hull.engine.plugins.module_utils._kernel import cgroups

from tests.support.box import comm, make_rootfs

HULL = Path(__file__).resolve().parents[2] / "bin" / "hull"
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.path.isdir("/run/systemd/system"), reason="systemd does not run here"),
]


class Host:
    """The hull command for an engine of one's own, as part of a unit of systemd's or not."""

    def __init__(self, top: str) -> None:
        self.paths = Paths(f"{top}/root", f"{top}/run", f"{top}/etc")
        self.variables = {"HULL_ROOT": self.paths.root, "HULL_RUN": self.paths.run, "HULL_CONFIG": self.paths.config}

    def hull(self, *words: str) -> str:
        return self._run([str(HULL), *words])

    def hull_in_unit(self, *words: str) -> str:
        """In a unit of its own; when this returns systemd has ended the unit and killed what was left in it."""
        unit = ["systemd-run", "--wait", "--collect", "--quiet", "--pipe", "--property=KillMode=control-group"]
        return self._run(
            [*unit, *(f"--setenv={name}={value}" for name, value in self.variables.items()), str(HULL), *words]
        )

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, env={**os.environ, **self.variables}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    top = tempfile.mkdtemp(prefix="hull-systemd-")
    host = Host(top)
    make_rootfs(f"{top}/rootfs")
    subprocess.run(["tar", "-C", f"{top}/rootfs", "-cf", f"{top}/rootfs.tar", "."], check=True)
    host.hull("import", f"{top}/rootfs.tar", "box:1")
    yield host
    tear_down(Engine(host.paths), force=True)
    shutil.rmtree(top)


def test_a_container_and_its_spawner_outlive_the_unit_that_they_were_started_from(host: Host) -> None:
    host.hull_in_unit("run", "-d", "--name", "orphan", "--network", "none", "box:1", "sleep", "1000")
    assert host.hull("exec", "orphan", "echo", "alive") == "alive"
    parents = {f"/{host.paths.cgroup}/supervisor"}
    found = {
        comm(pid): places(pid) for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if parents & places(pid)
    }
    assert {"hull-spawner", "hull-monitor"} <= found.keys()
    host.hull("rm", "-f", "orphan")


def places(pid: int) -> set[str]:
    """The cgroups of a process in the hierarchies by which systemd knows a unit's processes."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return set()
    return {path for _, controllers, path in lines if controllers in ("", "name=systemd")}


def test_reloading_systemd_takes_no_limit_away(host: Host) -> None:
    if cgroups.detect().version != "2":
        pytest.skip("only in the version 2 tree does systemd pass controllers on")
    host.hull(
        *("run", "-d", "--name", "limited", "--network", "none", "--memory", "64m", "--cpus", "0.5"),
        *("--pids-limit", "50", "--cpuset-cpus", "0", "box:1", "sleep", "1000"),
    )
    script = "cd /sys/fs/cgroup; cat memory.max cpu.max pids.max cpuset.cpus"
    limits = host.hull("exec", "limited", "sh", "-c", script).split()
    assert limits == ["67108864", "50000", "100000", "50", "0"]
    for command in (
        ["systemctl", "daemon-reload"],
        [
            "systemd-run",
            "--wait",
            "--collect",
            "--quiet",
            "--property=CPUWeight=50",
            "--property=AllowedCPUs=0",
            "true",
        ],
        ["systemctl", "daemon-reexec"],
    ):
        subprocess.run(command, check=True, timeout=120)
    assert host.hull("exec", "limited", "sh", "-c", script).split() == limits
    host.hull("rm", "-f", "limited")
