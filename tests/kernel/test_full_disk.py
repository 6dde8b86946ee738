# SPDX-License-Identifier: GPL-3.0-or-later
"""A full file system under the engine's small files: nothing is lost, and a monitor lives on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import SyscallError
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._engine import doctor
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._runtime import client, state
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import HealthPlan, RestartPlan
from ansible_collections.hull.engine.plugins.module_utils._store.database import open_database
from ansible_collections.hull.engine.plugins.module_utils._store.integrity import check_database
from ansible_collections.hull.engine.plugins.module_utils._store.locks import lock
from ansible_collections.hull.engine.plugins.module_utils._store.records import ContainerRecord, VolumeRecord
from ansible_collections.hull.engine.plugins.module_utils._store.removal import remove_container

from tests.support.box import Box, open_box, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
MS = 1_000_000


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill(directory: Path) -> None:
    with pytest.raises(OSError), open(directory / "filler", "wb", buffering=0) as file:
        while True:
            if file.write(bytes(4096)) < 4096:
                raise OSError("full")


def test_r10_a_state_file_is_whole_whenever_the_disk_is_full(small: Path) -> None:
    path = str(small / "state.json")
    state.write_json(path, {"status": "running"})
    fill(small)
    state.write_json(path, {"status": "exited", "exit_code": 7})
    assert state.read_json(path) == {"status": "exited", "exit_code": 7}
    with pytest.raises(OSError):
        state.write_json(path, {"status": "x" * 8192})
    assert state.read_json(path) == {"status": "exited", "exit_code": 7}
    assert sorted(os.listdir(small)) == ["filler", "state.json"]


@pytest.fixture
def box() -> Iterator[Box]:
    """Containers whose run-time directories lie on the small file system."""
    with open_box() as opened:
        run = Path(opened.paths.run) / "containers"
        run.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", run], check=True)
        try:
            yield opened
            for plan in opened.plans:
                client.stop(opened.paths, plan.container_id, 9, 0)
        finally:
            subprocess.run(["umount", "--lazy", run], check=True)


def test_r10_a_full_run_directory_ends_neither_monitor_nor_restart_policy(box: Box) -> None:
    checked = box.plan("sleep", "1000", health=HealthPlan(("true",), 20 * MS, 5000 * MS, 0, 0, 3))
    restarted = box.plan("sh", "-c", "sleep 0.2; exit 3", restart=RestartPlan("always", 0))
    for plan in (checked, restarted):
        box.start(plan)
    monitors = [box.state(plan)["monitor_pid"] for plan in (checked, restarted)]
    fill(Path(box.paths.run) / "containers")
    wait_for(lambda: box.observe(restarted).restart_count > 1, "restarts")
    assert [box.state(plan)["monitor_pid"] for plan in (checked, restarted)] == monitors
    assert all(os.path.exists(f"/proc/{pid}") for pid in monitors)
    client.stop(box.paths, restarted.container_id, 9, 0)
    assert box.observe(restarted).status == "exited"


def test_r09_a_container_that_filled_the_disk_can_be_removed(small: Path) -> None:
    paths = Paths(str(small / "root"), str(small / "run"), str(small / "etc"))
    os.mkdir(paths.root)
    database = open_database(paths, create=True)
    assert database is not None
    record = ContainerRecord("ab" * 32, "a", "sha256:c", "c", 1, "{}", "{}", ())
    with database.transaction():
        database.put_container(record)
    upper = Path(paths.container(record.id)) / "upper"
    upper.mkdir(parents=True)
    fill(upper)
    with lock(paths, "container", "a"):
        remove_container(paths, database, record, volumes=True)
    assert database.containers() == [] and not os.path.exists(paths.container(record.id))
    assert os.listdir(paths.trash) == [] and os.listdir(paths.locks) == []
    database.close()


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_records_that_the_file_system_lets_nobody_open_are_not_called_damaged(small: Path, trouble: str) -> None:
    paths = Paths(root=str(small / "root"), run=str(small / "run"))
    database = open_database(paths, create=True)
    assert database is not None
    database.close()  # what SQLite keeps beside the records goes with the last connection, and has to be made again
    if trouble == "full":
        fill(small)
    else:
        subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    for look in (lambda: open_database(paths, create=False), lambda: check_database(paths)):
        with pytest.raises(SyscallError, match="no space left" if trouble == "full" else "read-only"):
            look()


def test_the_doctor_makes_room_on_a_full_disk_without_the_records(small: Path) -> None:
    paths = Paths(root=str(small / "root"), run=str(small / "run"))
    database = open_database(paths, create=True)
    assert database is not None
    database.close()
    os.makedirs(f"{paths.trash}/layer")
    Path(paths.trash, "layer", "file").write_bytes(bytes(600 * 1024))
    fill(small)
    with Engine(paths) as engine:
        assert [finding.kind for finding in doctor.examine(engine)] == ["database", "trash"]
        treatment = doctor.treat(engine)
    assert treatment.has_changed and not treatment.left and os.listdir(paths.trash) == []


def test_writing_to_a_read_only_disk_is_told(small: Path) -> None:
    paths = Paths(root=str(small / "root"), run=str(small / "run"))
    if (pid := os.fork()) == 0:  # ends as a command does, without closing the records: they can still be opened then
        open_database(paths, create=True)
        os._exit(0)
    os.waitpid(pid, 0)
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    database = open_database(paths, create=False)
    assert database is not None
    with pytest.raises(SyscallError, match="write the records: .* read-only"), database.transaction():
        database.put_volume(VolumeRecord("data", 1))
    database.close()
