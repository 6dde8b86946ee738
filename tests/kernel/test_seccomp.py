# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The default seccomp policy as a process under it meets it: calls are made, their errno is looked at."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, Denied
from ansible_collections.hull.engine.plugins.module_utils._kernel import seccomp
from ansible_collections.hull.engine.plugins.module_utils._kernel.capabilities import DEFAULT_CAPABILITIES
from ansible_collections.hull.engine.plugins.module_utils._kernel.privileges import become
from ansible_collections.hull.engine.plugins.module_utils._kernel.seccomp_load import load
from ansible_collections.hull.engine.plugins.module_utils._kernel.seccomp_tables import syscall_numbers
from ansible_collections.hull.engine.plugins.module_utils._sys import calls

from tests.support.isolated import run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PODMAN_PROFILE = "/usr/share/containers/seccomp.json"
MACHINE = os.uname().machine
NUMBERS = syscall_numbers(MACHINE)
# Called with arguments that can do no harm even if the filter let them through.
REFUSED = (
    "mount umount2 unshare setns pivot_root open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr bpf "
    "keyctl add_key request_key io_uring_setup io_uring_enter userfaultfd perf_event_open kexec_load init_module "
    "finit_module delete_module open_by_handle_at name_to_handle_at quotactl settimeofday acct swapon swapoff vmsplice "
    "memfd_secret statmount listmount pidfd_getfd kcmp process_madvise move_pages mbind lsm_list_modules"
).split()

ENTRY_32 = r"""
#include <stdio.h>
static long old(long number, long first, long second, long third) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory");
    return result;
}
static long x32(long number) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number | 0x40000000) : "rcx", "r11", "memory");
    return result;
}
int main(void) { printf("%ld %ld %ld", old(20, 0, 0, 0), old(102, 1, 0, 0), x32(39)); return 0; }
"""


def raw(number: int, *arguments: int) -> int:
    """The errno of a system call, 0 if it succeeded."""
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.argtypes = [ctypes.c_ulong] * (1 + len(arguments))
    function.restype = ctypes.c_long
    return ctypes.get_errno() if function(number, *arguments) == -1 else 0


def under_filter(function: Any, *arguments: Any, capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES) -> Any:
    """The function's value in a child that is confined as a container's process is."""

    def act() -> Any:
        program = seccomp.default_program(capabilities)
        become(0, 0, (), capabilities)
        calls.set_no_new_privs()
        load(program)
        return function(*arguments)

    return run_isolated(act, namespaces=())


def test_refused_calls_fail_with_eperm() -> None:
    bad = 2**64 - 1
    answers = under_filter(lambda: {name: raw(NUMBERS[name], bad, bad, bad, bad, bad) for name in REFUSED})
    assert {name for name, number in answers.items() if number != errno.EPERM} == set()


def test_the_filter_and_not_the_missing_capability_refuses() -> None:
    everything = tuple(name for name in ("CAP_SYS_ADMIN", *DEFAULT_CAPABILITIES))
    unshare = NUMBERS["unshare"]
    assert under_filter(lambda: raw(unshare, 0)) == errno.EPERM  # changes nothing, so the kernel alone would allow it
    assert under_filter(lambda: raw(unshare, 0), capabilities=everything) == 0


def test_unknown_numbers_and_clone3_are_not_implemented() -> None:
    numbers = (max(NUMBERS.values()) + 1, 2000, 0x40000000 | 39, NUMBERS["clone3"])
    assert under_filter(lambda: [raw(number, 0, 0) for number in numbers]) == [errno.ENOSYS] * 4


def test_clone_with_a_namespace_is_refused_and_fork_works() -> None:
    def act() -> Any:
        refused = raw(NUMBERS["clone"], 0x10000000 | 17, 0, 0, 0, 0)
        pid = os.fork()
        if pid == 0:
            os._exit(5)
        return refused, os.waitpid(pid, 0)[1]

    assert under_filter(act) == (errno.EPERM, 5 << 8)


def test_nothing_is_typed_into_a_terminal() -> None:
    def act() -> Any:
        leader, follower = os.openpty()
        letter = ctypes.create_string_buffer(b"x")
        address, ioctl = ctypes.addressof(letter), NUMBERS["ioctl"]
        requests = (0x5412, 0x541C, 0xFFFFFFFF00005412, 1 << 32 | 0x541C)
        size = ctypes.create_string_buffer(8)
        window = raw(ioctl, follower, 0x5413, ctypes.addressof(size))
        os.close(leader)
        return [raw(ioctl, follower, request, address) for request in requests], window

    assert under_filter(act) == ([errno.EPERM] * 4, 0)


@pytest.mark.parametrize(
    ("family", "kind", "protocol", "expected"),
    [
        (1, 1, 0, 0),
        (2, 1, 0, 0),
        (10, 2, 0, 0),
        (16, 3, 0, 0),
        (16, 3, 9, errno.EPERM),
        (17, 3, 0, errno.EAFNOSUPPORT),
        (38, 5, 0, errno.EAFNOSUPPORT),
        (40, 1, 0, errno.EAFNOSUPPORT),
        (15, 3, 2, errno.EAFNOSUPPORT),
    ],
)
def test_socket_families(family: int, kind: int, protocol: int, expected: int) -> None:
    assert under_filter(lambda: raw(NUMBERS["socket"], family, kind, protocol)) == expected


@pytest.mark.skipif(MACHINE != "x86_64" or not shutil.which("gcc"), reason="needs gcc on x86_64")
def test_the_32_bit_and_x32_entries_are_closed(tmp_path: Path) -> None:
    source, program = tmp_path / "entry.c", str(tmp_path / "entry")
    source.write_text(ENTRY_32)
    subprocess.run(["gcc", "-static", "-o", program, str(source)], check=True)

    def act() -> str:
        return subprocess.run([program], check=True, capture_output=True, text=True).stdout

    getpid, _, _ = (int(word) for word in act().split())
    assert getpid > 0, "the kernel has a 32-bit entry, so that the filter is what closes it"
    assert under_filter(act) == " ".join([str(-errno.ENOSYS)] * 3)


def test_everyday_programs_run_under_the_filter() -> None:
    def act() -> Any:
        commands = (
            ["ls", "-l", "/proc/self"],
            ["sh", "-c", "cat /etc/passwd | sort | wc -l"],
            ["python3", "-c", "import asyncio, threading; t = threading.Thread(target=print); t.start(); t.join()"],
        )
        return [subprocess.run(command, capture_output=True).returncode for command in commands]

    assert under_filter(act) == [0, 0, 0]


@pytest.mark.skipif(not os.path.exists(PODMAN_PROFILE), reason="needs the profile of containers-common")
def test_a_real_profile_confines(tmp_path: Path) -> None:
    path = seccomp.profile_path(str(tmp_path), PODMAN_PROFILE, DEFAULT_CAPABILITIES)

    def act() -> Any:
        become(0, 0, (), DEFAULT_CAPABILITIES)
        calls.set_no_new_privs()
        load(Path(path).read_bytes())
        sockets = [raw(NUMBERS["socket"], 16, 3, protocol) for protocol in (0, 9)]
        others = [raw(NUMBERS[name], 2**64 - 1, 0, 0) for name in ("kexec_load", "move_pages", "userfaultfd")]
        command = subprocess.run(["sh", "-c", "ls / | sort"], capture_output=True).returncode
        return sockets, others, raw(2000), command

    assert run_isolated(act, namespaces=()) == ([0, errno.EINVAL], [errno.EPERM] * 3, errno.ENOSYS, 0)


def test_a_profile_may_stand_in_the_task_itself(tmp_path: Path) -> None:
    text = '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}'
    (tmp_path / "profile.json").write_text(text)
    by_path = seccomp.profile_path(str(tmp_path), str(tmp_path / "profile.json"), ())
    assert seccomp.profile_path(str(tmp_path), text, ()) == by_path
    with pytest.raises(Damaged, match="seccomp profile in the task"):
        seccomp.profile_path(str(tmp_path), "{nonsense", ())


def test_a_filter_without_no_new_privs_needs_sys_admin() -> None:
    def act() -> None:
        program = seccomp.default_program(())
        become(0, 0, (), ())
        with pytest.raises(Denied, match="neither no_new_privs nor CAP_SYS_ADMIN"):
            load(program)

    run_isolated(act, namespaces=())


@pytest.mark.parametrize("program", [b"", b"1234567", bytes(8), bytes(8 * 4097)])
def test_a_damaged_program_is_not_loaded(program: bytes) -> None:
    def act() -> None:
        calls.set_no_new_privs()
        with pytest.raises(Damaged):
            load(program)

    run_isolated(act, namespaces=())
