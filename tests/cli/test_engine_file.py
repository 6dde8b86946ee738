# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What an administrator sets for a host in engine.json, as its containers show it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.teardown import tear_down
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import detect
from ansible_collections.hull.engine.plugins.module_utils._runtime.spawners import find_spawners

from tests.cli.conftest import Hull

PARENT = "hulltest.slice"


def write(hull: Hull, **document: object) -> None:
    Path(hull.paths.config, "engine.json").write_text(json.dumps(document))


def cgroups_of(pid: int | str) -> set[str]:
    lines = Path(f"/proc/{pid}/cgroup").read_text().split("\n")
    return {line.split(":", 2)[2] for line in lines if line.count(":") > 1}


def existing(path: str) -> list[str]:
    host = detect()
    roots = {*host.mounts.values(), *([host.unified] if host.unified else [])}
    return [f"{root}/{path}" for root in sorted(roots) if os.path.isdir(f"{root}/{path}")]


def test_the_engines_control_groups_lie_below_the_parent_and_containers_stay_where_they_are(hull: Hull) -> None:
    own = hull.paths.cgroup
    hull("run", "-d", "--name", "before", "busybox", "sleep", "1000")
    write(hull, cgroup_parent=PARENT)
    before, old_spawner = hull("inspect", "-f", "{{.State.Pid}}", "before").strip(), find_spawners(hull.paths)[0]
    os.kill(old_spawner, 9)
    identity = hull("run", "-d", "--name", "web", "busybox", "sleep", "1000").strip()
    pid = hull("inspect", "-f", "{{.State.Pid}}", "web").strip()
    assert cgroups_of(pid) >= {f"/{PARENT}/{own}/{identity}"}
    (spawner,) = find_spawners(hull.paths)
    assert f"/{PARENT}/{own}/supervisor" in cgroups_of(spawner)
    hull("restart", "-t", "0", "before")
    assert hull("inspect", "-f", "{{.State.Pid}}", "before").strip() != before
    assert not existing(f"{PARENT}/{own}/{hull('inspect', '-f', '{{.Id}}', 'before').strip()}")
    other = hull("run", "-d", "--cgroup-parent", "hulltest-web.slice", "busybox", "sleep", "1000").strip()
    assert existing(f"{PARENT}/hulltest-web.slice/{own}/{other}")
    with Engine(hull.paths) as engine:
        tear_down(engine, force=True)
    assert existing(PARENT) == existing(own) == []


def test_a_mistake_in_the_file_changes_nothing_and_keeps_nothing_from_being_removed(hull: Hull) -> None:
    hull("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    write(hull, cgroup_parent="a/../b")
    message = hull.fails(125, "run", "-d", "--name", "other", "busybox", "true")
    assert f"{hull.paths.config}/engine.json: cgroup_parent" in message
    assert hull("ps", "-a", "--format", "{{.Names}}").split() == ["web"]
    hull("stop", "-t", "0", "web")
    hull("rm", "web")
    with Engine(hull.paths) as engine:
        tear_down(engine)
    assert not os.path.exists(hull.paths.root)
