# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Namespaces and processes against the real kernel."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict, NotFound, SyscallError
from ansible_collections.hull.engine.plugins.module_utils._kernel import namespaces, processes
from ansible_collections.hull.engine.plugins.module_utils._sys import calls

from tests.support.isolated import run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

KINDS = ("mount", "pid", "net", "ipc", "uts", "cgroup")


class Held:
    """A child that waits in new namespaces until it is released."""

    def __init__(self, names: tuple[str, ...]) -> None:
        read_end, self._write_end = os.pipe()
        self.pid, self.pid_fd = calls.clone3(namespaces.namespace_flags(names))
        if self.pid == 0:
            os.close(self._write_end)
            os.read(read_end, 1)
            os._exit(7)
        os.close(read_end)

    def release(self) -> None:
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1

    def reap(self) -> int:
        self.release()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        self.release()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass
        os.close(self.pid_fd)


@pytest.fixture
def held() -> Iterator[Held]:
    child = Held(KINDS)
    yield child
    child.close()


def test_a_clone_is_in_new_namespaces_of_every_kind(held: Held) -> None:
    for name in KINDS:
        assert namespaces.namespace_id(held.pid, name) != namespaces.namespace_id("self", name)
    assert namespaces.namespace_id(held.pid, "user") == namespaces.namespace_id("self", "user")


def test_entering_by_pidfd_joins_all_at_once(held: Held) -> None:
    def act() -> tuple[list[int], str]:
        namespaces.enter(held.pid_fd, KINDS)
        ids = [namespaces.namespace_id("self", name) for name in KINDS if name not in ("pid",)]
        return ids, os.readlink("/proc/self/ns/pid_for_children")

    ids, pid_namespace = run_isolated(act, namespaces=())
    assert ids == [namespaces.namespace_id(held.pid, name) for name in KINDS if name != "pid"]
    assert pid_namespace == os.readlink(f"/proc/{held.pid}/ns/pid")


def test_entering_a_process_that_ended_is_a_conflict(held: Held) -> None:
    held.reap()
    with pytest.raises(Conflict, match="has ended"):
        namespaces.enter(held.pid_fd, ("uts",))


def test_an_opened_namespace_outlives_its_process(held: Held) -> None:
    fd = namespaces.open_namespace(held.pid, "uts")
    number = namespaces.namespace_id(held.pid, "uts")
    held.reap()
    assert os.fstat(fd).st_ino == number
    os.close(fd)
    with pytest.raises(NotFound, match="no such process"):
        namespaces.open_namespace(held.pid, "uts")


def test_id_maps_are_written_once() -> None:
    child = Held(("user",))
    try:
        namespaces.write_id_maps(child.pid, [(0, 100000, 1000), (1000, 300000, 1)], [(0, 200000, 65536)])
        with open(f"/proc/{child.pid}/uid_map") as file:
            assert file.read().split() == "0 100000 1000 1000 300000 1".split()
        with pytest.raises(SyscallError, match=f"write gid_map of process {child.pid}: EPERM"):
            namespaces.write_id_maps(child.pid, [(0, 0, 1)], [(0, 0, 1)])
    finally:
        child.close()


def test_a_user_namespace_without_a_process_leaves_neither_child_nor_descriptor() -> None:
    before = set(os.listdir("/proc/self/fd")), processes.children(os.getpid())
    fd = namespaces.make_user_namespace([(0, 100000, 65536)], [(0, 100000, 65536)])
    os.close(fd)
    assert (set(os.listdir("/proc/self/fd")), processes.children(os.getpid())) == before


def test_a_child_is_alive_until_it_ends_and_dead_as_a_zombie(held: Held) -> None:
    started = processes.start_time(held.pid)
    assert (
        started is not None and processes.is_alive(held.pid, started) and not processes.is_alive(held.pid, started + 1)
    )
    assert not processes.has_ended(held.pid_fd)
    held.release()
    assert processes.has_ended(held.pid_fd, 5000)
    assert not processes.is_alive(held.pid, started) and processes.start_time(held.pid) == started
    assert held.reap() == 7
    assert processes.start_time(held.pid) is None and not processes.is_alive(held.pid)
    assert not processes.send_signal(held.pid_fd, 0)


def test_a_process_is_opened_only_if_it_is_the_one_meant(held: Held) -> None:
    started = processes.start_time(held.pid)
    assert started is not None and processes.open_process(held.pid, started - 1) is None
    fd = processes.open_process(held.pid, started)
    assert fd is not None and processes.send_signal(fd, 9)
    os.close(fd)
    assert held.reap() == -9
    assert processes.open_process(held.pid, started) is None


def test_start_time_and_children_agree_with_ps(held: Held) -> None:
    pids = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True
    ).stdout.split()
    assert held.pid in processes.children(os.getpid())
    assert {str(pid) for pid in processes.children(os.getpid())} <= set(pids)


def test_a_name_with_parentheses_does_not_confuse() -> None:
    def act() -> bool:
        expected = processes.start_time(os.getpid())
        calls.set_name(") Z 1 (x")
        return processes.start_time(os.getpid()) == expected and processes.is_alive(os.getpid(), expected)

    assert run_isolated(act, namespaces=())
