# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""An engine goes with everything in the kernel that belongs to it, also where its directories were deleted before."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.teardown import set_up, stop, tear_down
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import detect
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_search import find_cgroups
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import Cgroup, remove_if_empty
from ansible_collections.hull.engine.plugins.module_utils._runtime.spawners import cgroups_of_spawners, find_spawners

from tests.support.fingerprint import kernel

ROOT = Path(__file__).resolve().parents[2]
PARENT = "teardown-test"
VICTIM = "hull-teardown-test"
PRETEND = "printf hull-spawner > /proc/$$/comm; echo; read end"


@pytest.fixture
def engine():
    directory = tempfile.mkdtemp(prefix="hull-teardown-")
    paths = Paths(root=f"{directory}/root", run=f"{directory}/run", config=f"{directory}/config")
    with Engine(paths) as opened:
        yield opened
        tear_down(opened, force=True)
    assert not list(kernel(paths.root))
    shutil.rmtree(directory)


def _start_container(engine: Engine, *options: str) -> None:
    archive = f"{os.path.dirname(engine.paths.root)}/rootfs.tar.gz"
    hull = [f"{ROOT}/bin/hull", "--root", engine.paths.root, "--run", engine.paths.run]
    subprocess.run([sys.executable, f"{ROOT}/playbooks/files/pack_rootfs.py", archive], check=True)
    subprocess.run([*hull, "import", archive, "small:1"], check=True, stdout=subprocess.DEVNULL)
    run = ["run", "-d", "-p", "127.0.0.1::80", "--restart", "always", *options, "small:1", "/bin/sleep", "300"]
    subprocess.run([*hull, *run], check=True, stdout=subprocess.DEVNULL)


def test_directories_are_made_once_for_root_only(engine):
    assert set_up(engine).changed
    assert os.stat(engine.paths.root).st_mode & 0o777 == os.stat(engine.paths.run).st_mode & 0o777 == 0o700
    assert not set_up(engine).changed


def test_an_engine_that_is_not_there_is_not_removed(engine):
    assert not tear_down(engine).changed


def test_a_running_container_goes_with_its_network_and_its_processes(engine):
    _start_container(engine)
    assert any("link" in line for line in kernel(engine.paths.root))
    assert tear_down(engine, force=True).changed
    assert not list(kernel(engine.paths.root)) and not os.path.exists(engine.paths.root)
    assert not tear_down(engine).changed


def test_what_runs_without_records_goes_too(engine):
    _start_container(engine)
    engine.close()
    shutil.rmtree(engine.paths.root)
    shutil.rmtree(engine.paths.run)
    assert tear_down(engine, force=True).changed
    assert not list(kernel(engine.paths.root))


def test_check_mode_removes_nothing(engine):
    _start_container(engine)
    before = list(kernel(engine.paths.root))
    assert tear_down(engine, force=True, check=True).changed
    assert list(kernel(engine.paths.root)) == before and os.path.exists(engine.paths.database)


def test_an_interrupted_removal_is_finished(engine):
    os.makedirs(engine.paths.root + ".removing-12345678/layers")
    assert tear_down(engine).changed
    assert os.listdir(os.path.dirname(engine.paths.root)) == []


def test_a_directory_behind_a_link_is_emptied_and_the_link_goes(engine):
    place = Path(engine.paths.root).with_name("elsewhere")
    (place / "layers" / "one").mkdir(parents=True)
    (place / "file").touch()
    os.symlink(place, engine.paths.root)
    assert tear_down(engine).changed
    assert not os.path.lexists(engine.paths.root) and list(place.iterdir()) == []
    os.symlink(place / "gone", engine.paths.root)
    assert tear_down(engine).changed and not os.path.lexists(engine.paths.root)


@pytest.mark.parametrize("launch", ["{", "{}", "[]"])
@pytest.mark.parametrize("end", [stop, partial(tear_down, force=True)])
def test_a_container_whose_record_cannot_be_read_is_ended(engine, launch, end):
    _start_container(engine, "--cgroup-parent", f"/{PARENT}")
    (record,) = engine.records.containers()
    (cgroup,) = find_cgroups(detect(), record.id.__eq__)
    with engine.records.transaction():
        engine.records.update_container(record.id, launch=launch)
    (pid, *_) = Cgroup(detect(), cgroup).pids()
    assert end(engine).changed
    assert not os.path.exists(f"/proc/{pid}/exe") and find_cgroups(detect(), {record.id, PARENT}.__contains__) == []
    assert not any("cgroup" in line for line in kernel(engine.paths.root)) and not os.path.exists(engine.paths.run)


def test_a_lease_of_a_container_without_a_record_is_no_obstacle(engine):
    _start_container(engine)
    with closing(sqlite3.connect(engine.paths.database, isolation_level=None)) as records:
        records.execute("INSERT INTO leases VALUES ('bridge', '10.99.99.98', 'nobody')")
    assert tear_down(engine, force=True).changed
    assert not list(kernel(engine.paths.root)) and not os.path.exists(engine.paths.root)


@contextmanager
def _process(*argv: str, user: int = 0) -> Iterator[int]:
    """The pid of a process that has said that it is ready, and ends with the context."""
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, user=user) as process:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def victim(engine):
    """Somebody's cgroup, of the engine's own name, with a process in it."""
    place = f"{VICTIM}/{engine.paths.cgroup}"
    cgroup = Cgroup(detect(), f"{place}/service")
    cgroup.create({})
    with _process("/bin/sh", "-c", "echo; exec sleep 300") as pid:
        cgroup.attach(pid)
        yield pid
        cgroup.kill()
    cgroup.remove()
    for path in (place, VICTIM):
        remove_if_empty(detect(), path)


@pytest.mark.parametrize("user", [0, 65534])
@pytest.mark.parametrize("place", ["", "/{own}", ".", "..", "../{own}"])
def test_nobody_can_name_a_cgroup_to_be_killed(engine, victim, user, place):
    place = (place if place.startswith(".") else VICTIM + place).format(own=engine.paths.cgroup)
    set_up(engine)
    with _process("/bin/sh", "-c", PRETEND, f"{engine.paths.run}/spawner.x.sock", place, user=user) as pretender:
        assert Path(f"/proc/{pretender}/comm").read_text() == "hull-spawner\n"
        assert find_spawners(engine.paths) == [] and cgroups_of_spawners(engine.paths) == set()
        stop(engine)
        tear_down(engine, force=True)
        assert os.path.exists(f"/proc/{pretender}/exe")
    assert victim in Cgroup(detect(), f"{VICTIM}/{engine.paths.cgroup}/service").pids()


def test_a_spawner_is_known_by_the_cgroup_that_it_is_in(engine):
    _start_container(engine)
    (spawner,) = find_spawners(engine.paths)
    assert Path(f"/proc/{spawner}/comm").read_text() == "hull-spawner\n"
    assert cgroups_of_spawners(engine.paths) == {engine.paths.cgroup}
    assert stop(engine).changed and not os.path.exists(f"/proc/{spawner}/exe")
