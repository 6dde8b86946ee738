# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The system calls that have no verb of their own in `_kernel`, and what all of them promise about errors."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._sys import bpf_calls, calls, open_flags, sched_flags

from tests.support.isolated import run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

HEAVY = {"typing", "dataclasses", "json", "re", "enum", "socket", "signal", "subprocess", "argparse", "logging"}
LAUNCH_MODULES = "mounts targets overlay namespaces processes capabilities seccomp_load seccomp".split()


def test_an_error_carries_errno_and_the_call_s_name() -> None:
    with pytest.raises(FileNotFoundError, match="mount: No such file or directory") as caught:
        calls.mount("none", "/no/such/place", "tmpfs", 0)
    assert caught.value.errno == errno.ENOENT


def test_a_path_with_a_null_byte_is_not_cut_off() -> None:
    with pytest.raises(ValueError, match="null"):
        calls.umount2("/tmp\0/x")


def test_clone3_gives_a_child_with_a_pidfd_that_closes_on_exec() -> None:
    pid, pid_fd = calls.clone3()
    if pid == 0:
        os._exit(9)
    assert os.waitid(os.P_PIDFD, pid_fd, os.WEXITED).si_status == 9  # type: ignore[union-attr]
    assert fcntl.fcntl(pid_fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.close(pid_fd)


def test_clone3_bears_a_child_into_a_cgroup(tmp_path: Path) -> None:
    hierarchy = next(
        (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"), ""
    )
    if not hierarchy:
        pytest.skip("no cgroup v2 hierarchy is mounted")
    cgroup = f"{hierarchy}/hull-test-{os.getpid()}"
    os.mkdir(cgroup)
    directory = os.open(cgroup, os.O_PATH)
    read_end, write_end = os.pipe()
    try:
        pid, pid_fd = calls.clone3(cgroup_fd=directory)
        if pid == 0:
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(0)
        assert f"{pid}\n" == Path(cgroup, "cgroup.procs").read_text()
        os.close(write_end)
        os.waitpid(pid, 0)
        os.close(pid_fd)
    finally:
        os.close(read_end)
        os.close(directory)
        os.rmdir(cgroup)


def test_a_pidfd_can_be_opened_signalled_and_read_from() -> None:
    child = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE)
    pid_fd = os.pidfd_open(child.pid)
    copy = calls.pidfd_getfd(pid_fd, 0)
    assert os.readlink(f"/proc/self/fd/{copy}").startswith("pipe:")
    calls.pidfd_send_signal(pid_fd, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    os.close(copy)
    os.close(pid_fd)


def test_limits_of_a_process_are_set_and_read() -> None:
    def act() -> Any:
        before = calls.prlimit(0, sched_flags.RLIMITS["nofile"], (100, 200))
        return before, resource.getrlimit(resource.RLIMIT_NOFILE)

    assert run_isolated(act, namespaces=()) == (resource.getrlimit(resource.RLIMIT_NOFILE), (100, 200))
    assert calls.prlimit(0, sched_flags.RLIMITS["cpu"]) == (-1, -1)


def test_names_of_host_and_domain_are_set() -> None:
    def act() -> Any:
        calls.sethostname("web")
        calls.setdomainname("example.org")
        return os.uname().nodename, Path("/proc/sys/kernel/domainname").read_text()

    assert run_isolated(act, namespaces=("uts",)) == ("web", "example.org\n")


def test_execveat_runs_an_open_file() -> None:
    def act() -> str:
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            os.dup2(write_end, 1)
            calls.execveat(os.open("/bin/echo", os.O_PATH), "", ["echo", "a b"], [])
        os.close(write_end)
        return os.read(read_end, 100).decode()

    assert run_isolated(act, namespaces=()) == "a b\n"


def test_openat2_stays_in_the_root(tmp_path: Path) -> None:
    os.symlink("/etc", tmp_path / "link")
    root = os.open(tmp_path, os.O_PATH)
    try:
        with pytest.raises(FileNotFoundError):
            calls.openat2(root, "link/passwd", os.O_RDONLY, resolve=open_flags.RESOLVE_IN_ROOT)
        with pytest.raises(OSError, match="openat2") as caught:
            calls.openat2(root, "link/passwd", os.O_RDONLY, resolve=open_flags.RESOLVE_BENEATH)
        assert caught.value.errno == errno.EXDEV
    finally:
        os.close(root)


def test_a_sealed_file_can_not_be_changed() -> None:
    fd = calls.sealed_memory_file("x", b"content")
    with open(fd, "rb") as file:
        assert file.read() == b"content"
        with pytest.raises(PermissionError):
            os.write(fd, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, open_flags.F_ADD_SEALS, 0)


def test_close_range_closes_or_marks() -> None:
    def act() -> Any:
        fds = [os.open("/", os.O_PATH) for _ in range(3)]
        os.set_inheritable(fds[0], True)
        calls.close_range(fds[0], fds[0], open_flags.CLOSE_RANGE_CLOEXEC)
        marked = not os.get_inheritable(fds[0])
        calls.close_range(fds[1], fds[2])
        return marked, [os.path.exists(f"/proc/self/fd/{fd}") for fd in fds]

    assert run_isolated(act, namespaces=()) == (True, [True, False, False])


def test_prctl_flags_show_in_proc() -> None:
    def act() -> Any:
        calls.set_no_new_privs()
        calls.set_name("a-name-that-is-cut")
        calls.set_child_subreaper(True)
        calls.set_pdeathsig(signal.SIGTERM)
        calls.set_dumpable(False)
        status = Path("/proc/self/status").read_text()
        return "NoNewPrivs:\t1" in status, "Name:\ta-name-that-is-\n" in status

    assert run_isolated(act, namespaces=()) == (True, True)


def test_a_new_session_keyring_is_another_one() -> None:
    def act() -> Any:
        return calls.join_session_keyring(), calls.join_session_keyring()

    first, second = run_isolated(act, namespaces=())
    assert first > 0 and second > 0 and first != second


def test_the_verifier_s_words_are_in_the_error() -> None:
    move = bytes.fromhex("b700000001000000")
    with pytest.raises(OSError, match="bpf: .*: .*exit"):
        bpf_calls.bpf_prog_load(bpf_calls.BPF_PROG_TYPE_CGROUP_DEVICE, move, attach_type=bpf_calls.BPF_CGROUP_DEVICE)


def test_the_launch_code_s_modules_import_nothing_heavy() -> None:
    root = "ansible_collections.hull.engine.plugins.module_utils"
    imports = "; ".join(f"import {root}._kernel.{name}" for name in LAUNCH_MODULES)
    paths = next(path for path in sys.path if os.path.isdir(os.path.join(path, "ansible_collections", "hull")))
    script = f"import sys; sys.path.insert(0, {paths!r}); {imports}; import {root}._sys.calls; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True, capture_output=True, text=True)
    assert HEAVY.isdisjoint(output.stdout.split())
