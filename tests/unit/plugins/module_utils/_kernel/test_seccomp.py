# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The seccomp policy, the profiles and the assembler, judged by an interpreter of filters."""

from __future__ import annotations

import errno
import hashlib
import operator
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, Invalid, Unsupported
from ansible_collections.hull.engine.plugins.module_utils._kernel import (
    seccomp,
    seccomp_filter,
    seccomp_policy,
    seccomp_profile,
)
from ansible_collections.hull.engine.plugins.module_utils._kernel.capabilities import (
    ALL_CAPABILITIES,
    DEFAULT_CAPABILITIES,
)
from ansible_collections.hull.engine.plugins.module_utils._kernel.seccomp_compat_tables import (
    AUDIT_I386,
    i386_numbers,
    x32_numbers,
)
from ansible_collections.hull.engine.plugins.module_utils._kernel.seccomp_tables import (
    AUDIT_ARCHITECTURES,
    syscall_numbers,
)

from tests.support.filter_machine import ALLOW, judge

MACHINES = tuple(AUDIT_ARCHITECTURES)
DOCKER_DEFAULT = (*DEFAULT_CAPABILITIES, "CAP_MKNOD", "CAP_NET_RAW", "CAP_AUDIT_WRITE")

# What Docker's profile of 2026 refuses with its default capabilities on x86_64 (clone3 with ENOSYS).
DOCKER_REFUSES = (
    "_sysctl acct add_key afs_syscall bpf clock_settime clone3 create_module delete_module fanotify_init file_getattr "
    "file_setattr finit_module fsconfig fsmount fsopen fspick get_kernel_syms get_mempolicy getpmsg init_module "
    "io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie "
    "lsm_get_self_attr lsm_list_modules lsm_set_self_attr mbind migrate_pages mount mount_setattr move_mount "
    "move_pages nfsservctl open_by_handle_at open_tree open_tree_attr perf_event_open pidfd_getfd pivot_root "
    "process_madvise "
    "putpmsg query_module quotactl quotactl_fd reboot request_key security set_mempolicy set_mempolicy_home_node "
    "setdomainname sethostname setns settimeofday swapoff swapon sysfs syslog tuxcall umount2 unshare uprobe uselib "
    "userfaultfd ustat vhangup vserver"
).split()


class Judge:
    """Asks an assembled program by call name."""

    def __init__(self, program: bytes, machine: str) -> None:
        self.program, self.machine, self.numbers = program, machine, syscall_numbers(machine)

    def __call__(self, name: str, *arguments: int) -> str | int:
        return judge(self.program, AUDIT_ARCHITECTURES[self.machine], self.numbers[name], *arguments)


def default_judge(capabilities: Any = DEFAULT_CAPABILITIES, machine: str = "x86_64") -> Judge:
    return Judge(seccomp_policy.default_program(capabilities, machine), machine)


def profile_judge(profile: dict[str, Any], capabilities: Any = (), kernel: str = "6.1.0-18-amd64") -> Judge:
    return Judge(seccomp_profile.profile_program(profile, capabilities, "x86_64", kernel), "x86_64")


def test_the_tables_are_as_large_as_the_kernel_s() -> None:
    assert len(syscall_numbers("x86_64")) == 383
    assert len(syscall_numbers("aarch64")) == 325
    for machine, calls in (("x86_64", (("read", 0), ("clone", 56), ("execveat", 322))), ("aarch64", (("read", 63),))):
        for name, number in calls:
            assert syscall_numbers(machine)[name] == number


def test_numbers_are_unique() -> None:
    for machine in MACHINES:
        numbers = syscall_numbers(machine)
        assert len(set(numbers.values())) == len(numbers)


def test_everything_that_docker_refuses_is_refused() -> None:
    verdict = default_judge(DOCKER_DEFAULT)
    for name in DOCKER_REFUSES:
        assert verdict(name) == (errno.ENOSYS if name == "clone3" else errno.EPERM), name


def test_what_is_refused_beyond_docker_s_profile_is_known() -> None:
    verdict = default_judge(DOCKER_DEFAULT)
    refused = {name for name in verdict.numbers if verdict(name, 2) != ALLOW}
    more = {"name_to_handle_at", "statmount", "listmount", "vmsplice", "memfd_secret", "uretprobe"}
    assert refused == {*DOCKER_REFUSES, *more, "personality"}


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_that_programs_live_on_are_allowed(machine: str) -> None:
    verdict = default_judge(machine=machine)
    for name in "read write openat execve mmap clone futex wait4 exit_group ptrace prctl seccomp chroot".split():
        assert verdict(name) == ALLOW, name


@pytest.mark.parametrize("machine", MACHINES)
def test_unknown_numbers_get_enosys(machine: str) -> None:
    program = seccomp_policy.default_program(DEFAULT_CAPABILITIES, machine)
    used = set(syscall_numbers(machine).values())
    unused = [number for number in range(max(used) + 50) if number not in used]
    for number in (*unused, 1000, 0x3FFFFFFF, 0x40000000, 0x40000000 | 59, 0xFFFFFFFF):
        assert judge(program, AUDIT_ARCHITECTURES[machine], number) == errno.ENOSYS


@pytest.mark.parametrize("architecture", [0x40000003, 0x40000028, 0xC00000B7])
def test_foreign_entries_get_enosys(architecture: int) -> None:
    program = seccomp_policy.default_program(ALL_CAPABILITIES, "x86_64")
    for number in (1, 11, 102, 120, 400):
        assert judge(program, architecture, number) == errno.ENOSYS


@pytest.mark.parametrize("bit", range(64))
def test_clone_makes_processes_and_threads_but_no_namespaces(bit: int) -> None:
    namespaces = {17, 25, 26, 27, 28, 29, 30}
    assert default_judge()("clone", 1 << bit) == (errno.EPERM if bit in namespaces else ALLOW)
    assert default_judge({"CAP_SYS_ADMIN"})("clone", 1 << bit) == ALLOW


@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_typing_into_a_terminal_is_refused_whatever_the_high_bits(high: int) -> None:
    verdict = default_judge(ALL_CAPABILITIES)
    for request, expected in ((0x5412, errno.EPERM), (0x541C, errno.EPERM), (0x5413, ALLOW), (0x5401, ALLOW)):
        assert verdict("ioctl", 0, high | request) == expected


@pytest.mark.parametrize(
    ("persona", "expected"),
    [
        (0, ALLOW),
        (8, ALLOW),
        (0x20000, ALLOW),
        (0x20008, ALLOW),
        (0xFFFFFFFF, ALLOW),
        (0x40000, 1),
        (0x8000000, 1),
        (1 << 32 | 4, 1),
    ],
)
def test_personality_allows_five_values(persona: int, expected: str | int) -> None:
    assert default_judge()("personality", persona) == expected


@pytest.mark.parametrize("call", ["socket", "socketpair"])
def test_only_the_usual_socket_families_exist(call: str) -> None:
    verdict = default_judge()
    allowed = {family for family in range(64) if verdict(call, family, 1, 0) == ALLOW}
    assert allowed == {1, 2, 10, 16}
    assert verdict(call, 38, 5, 0) == errno.EAFNOSUPPORT
    assert verdict(call, 1 << 32 | 38, 5, 0) == errno.EAFNOSUPPORT
    assert default_judge({"CAP_NET_RAW"})(call, 17, 3, 0) == ALLOW


def test_audit_netlink_needs_an_audit_capability() -> None:
    assert default_judge()("socket", 16, 3, 9) == errno.EPERM
    assert default_judge()("socket", 1 << 40 | 16, 3, 1 << 33 | 9) == errno.EPERM
    assert default_judge()("socket", 16, 3, 15) == ALLOW
    assert default_judge({"CAP_AUDIT_WRITE"})("socket", 16, 3, 9) == ALLOW


@pytest.mark.parametrize(
    ("capability", "calls"),
    [
        ("CAP_SYS_ADMIN", "mount umount2 unshare setns fsopen move_mount sethostname bpf clone3"),
        ("CAP_SYS_TIME", "settimeofday clock_settime"),
        ("CAP_SYS_MODULE", "init_module"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_SYS_CHROOT", "chroot"),
    ],
)
def test_a_capability_opens_its_calls_and_its_absence_closes_them(capability: str, calls: str) -> None:
    for name in calls.split():
        assert default_judge({capability})(name) == ALLOW
        assert default_judge(())(name) != ALLOW


def test_a_machine_without_a_table_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="no table of system calls for riscv64"):
        seccomp_policy.default_program((), "riscv64")


COMPARISONS = {
    "EQ": operator.eq,
    "NE": operator.ne,
    "LT": operator.lt,
    "LE": operator.le,
    "GT": operator.gt,
    "GE": operator.ge,
}
VALUES = (0, 1, 7, 2**32 - 1, 2**32, 2**32 + 1, 2**32 + 7, 2**33, 2**63, 2**64 - 1)


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("value", VALUES)
def test_comparisons_are_of_64_bits(name: str, value: int) -> None:
    entry = {
        "names": ["read"],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 2, "value": value, "op": f"SCMP_CMP_{name}"}],
    }
    verdict = profile_judge({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [entry]})
    for argument in VALUES:
        assert (verdict("read", 5, 5, argument) == ALLOW) == COMPARISONS[name](argument, value)


def test_a_masked_comparison_uses_value_as_the_mask() -> None:
    arguments = [{"index": 0, "value": 0x1_0000_00F0, "valueTwo": 0x1_0000_0010, "op": "SCMP_CMP_MASKED_EQ"}]
    entry = {"name": "read", "action": "SCMP_ACT_ALLOW", "args": arguments}
    verdict = profile_judge({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [entry]})
    assert verdict("read", 0x1_0000_001F) == ALLOW
    assert verdict("read", 0x1F) == 38 and verdict("read", 0x1_0000_002F) == 38


def test_all_arguments_of_a_rule_must_match_and_one_of_several_rules() -> None:
    def compare(index: int, value: int) -> dict[str, Any]:
        return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}

    rules = [
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [compare(0, 1), compare(1, 2)]},
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97, "args": [compare(0, 5)]},
    ]
    verdict = profile_judge({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules})
    assert [verdict("socket", *pair) for pair in ((1, 2), (1, 3), (2, 2), (5, 2))] == [ALLOW, 1, 1, 97]


def test_includes_and_excludes_choose_rules() -> None:
    rules = [
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["write"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
    ]
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}
    assert profile_judge(profile)("mount") == 5
    assert profile_judge(profile, {"CAP_SYS_ADMIN"})("mount") == ALLOW
    verdict = profile_judge(profile)
    assert [verdict(name) for name in ("arch_prctl", "read", "ptrace", "write")] == [ALLOW, 1, ALLOW, 1]


def test_a_profile_that_allows_by_default_still_refuses_foreign_entries() -> None:
    rule = {"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_KILL_PROCESS"}
    program = profile_judge({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}).program
    assert judge(program, 0xC000003E, 83) == "0x80000000" and judge(program, 0xC000003E, 2000) == ALLOW
    assert judge(program, 0x40000003, 39) == errno.ENOSYS and judge(program, 0xC000003E, 0x40000053) == errno.ENOSYS


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({}, "action None"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": "EPERM"}, "errnoRet 'EPERM'"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}, "syscalls is not a list"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_LOG"}]}, "no names"),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"name": "read", "action": "SCMP_ACT_LOG", "args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}
                ],
            },
            "argument 9",
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {
                        "name": "read",
                        "action": "SCMP_ACT_LOG",
                        "args": [{"index": 0, "value": "1", "op": "SCMP_CMP_EQ"}],
                    }
                ],
            },
            "must be integers",
        ),
    ],
)
def test_a_malformed_profile_is_named(profile: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        profile_judge(profile)


def test_a_filter_beyond_the_kernel_s_limit_is_refused() -> None:
    arguments = [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
    rules = [{"name": "read", "action": "SCMP_ACT_ALLOW", "args": arguments}] * 1000
    with pytest.raises(Invalid, match="4096"):
        profile_judge({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules})


def test_large_subtrees_are_reached_by_far_jumps() -> None:
    allow, deny = seccomp_filter.answer(seccomp_filter.ALLOW), seccomp_filter.answer(seccomp_filter.refuse(13))
    verdicts = {number: allow if number % 2 else deny for number in range(1500)}
    program = seccomp_filter.assemble([seccomp_filter.Entry(7, verdicts, deny)], deny)
    for number in range(1500):
        assert judge(program, 7, number) == (ALLOW if number % 2 else 13)


def test_the_program_is_kept_in_a_file_per_capability_set(tmp_path: Path) -> None:
    directory = str(tmp_path / "seccomp")
    path = seccomp.program_path(directory, DEFAULT_CAPABILITIES)
    assert Path(path).read_bytes() == seccomp.default_program(DEFAULT_CAPABILITIES)
    assert os.stat(path).st_mode & 0o777 == 0o600
    again = seccomp.program_path(directory, reversed(DEFAULT_CAPABILITIES))
    other = seccomp.program_path(directory, ("CAP_SYS_ADMIN",))
    assert again == path != other and len(os.listdir(directory)) == 2


def test_a_profile_is_kept_by_content_and_capabilities(tmp_path: Path) -> None:
    kept, profile, same = str(tmp_path / "kept"), tmp_path / "p.json", tmp_path / "same.json"
    text = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "mkdir", "action": "SCMP_ACT_ERRNO"}]}'
    profile.write_text(text)
    same.write_text(text)
    path = seccomp.profile_path(kept, str(profile), ())
    assert path == seccomp.profile_path(kept, str(same), ())
    assert path != seccomp.profile_path(kept, str(profile), ("CAP_BPF",))
    profile.write_text(text + " ")
    assert path != seccomp.profile_path(kept, str(profile), ())


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (None, Invalid, "no such file"),
        ("{", Damaged, "read seccomp profile .*p.json"),
        ("[]", Invalid, "not an object"),
    ],
)
def test_a_profile_file_that_can_not_be_used_is_named(
    tmp_path: Path, text: str | None, error: type[Exception], words: str
) -> None:
    if text is not None:
        (tmp_path / "p.json").write_text(text)
    with pytest.raises(error, match=words):
        seccomp.profile_path(str(tmp_path / "kept"), str(tmp_path / "p.json"), ())
    assert not (tmp_path / "kept").exists()


def test_the_policy_version_belongs_to_the_policy() -> None:
    """If this fails, the policy changed: raise POLICY_VERSION, or hosts keep the old one; renew the sum."""
    programs = [
        seccomp_policy.default_program(held, machine, compat=compat)
        for machine, compat in (*((machine, False) for machine in MACHINES), ("x86_64", True))
        for held in ((), DEFAULT_CAPABILITIES, ALL_CAPABILITIES)
    ]
    digest = hashlib.sha256(b"".join(programs)).hexdigest()[:16]
    assert (seccomp.POLICY_VERSION, digest) == (2, "dd9816788f6fc6ef")


HEADERS = "/usr/include/x86_64-linux-gnu/asm"


def header_numbers(name: str) -> dict[str, int]:
    """What a header of this machine's C library says of an entry's call numbers."""
    found = {}
    for line in Path(HEADERS, name).read_text().splitlines():
        words = line.replace("(", " ").replace(")", " ").split()
        if words[:1] == ["#define"] and words[1].startswith("__NR_") and words[-1].isdigit():
            found[words[1][len("__NR_") :]] = int(words[-1])
    return found


@pytest.mark.skipif(not os.path.exists(f"{HEADERS}/unistd_x32.h"), reason="needs the headers of x86_64")
@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        ("unistd_32.h", i386_numbers()),
        ("unistd_x32.h", {name: number - 0x40000000 for name, number in x32_numbers().items()}),
        ("unistd_64.h", syscall_numbers("x86_64")),
    ],
)
def test_the_tables_agree_with_the_headers(header: str, numbers: dict[str, int]) -> None:
    known = header_numbers(header)
    assert len(known) > 300 and known.items() <= numbers.items()
    newest = max(number for number in known.values() if number < 512)
    assert {name for name, number in numbers.items() if number <= newest and name not in known} <= {
        "uretprobe",
        "uprobe",
    }


def compat_judges(program: bytes) -> dict[str, Any]:
    """Asks a program by call name, by entry."""
    entries = {
        "x86_64": (AUDIT_ARCHITECTURES["x86_64"], syscall_numbers("x86_64")),
        "x32": (AUDIT_ARCHITECTURES["x86_64"], x32_numbers()),
        "i386": (AUDIT_I386, i386_numbers()),
    }

    def asker(number: int, calls: dict[str, int]) -> Any:
        return lambda name, *arguments: judge(program, number, calls[name], *arguments)

    return {name: asker(*entry) for name, entry in entries.items()}


def test_s27_the_same_policy_holds_in_every_entry_that_is_opened() -> None:
    program = seccomp_policy.default_program(DEFAULT_CAPABILITIES, "x86_64", compat=True)
    for entry, verdict in compat_judges(program).items():
        for name in "read write execve openat clone futex exit_group".split():
            assert verdict(name) == ALLOW, (entry, name)
        for name in "mount umount2 unshare setns bpf keyctl io_uring_setup kexec_load reboot".split():
            assert verdict(name) == errno.EPERM, (entry, name)
        assert verdict("clone3") == errno.ENOSYS
        assert verdict("clone", 0x10000000) == errno.EPERM
        assert verdict("socket", 38) == verdict("socket", 40) == errno.EAFNOSUPPORT
        assert verdict("socket", 2) == ALLOW
        assert verdict("ioctl", 0, 0x5412) == errno.EPERM and verdict("ioctl", 0, 0x5413) == ALLOW
        assert verdict("personality", 0x40000) == errno.EPERM
    i386 = compat_judges(program)["i386"]
    for name in "umount stime clock_settime64 vm86 vm86old uselib".split():
        assert i386(name) == errno.EPERM, name
    assert i386("socketcall", 1) == i386("ipc", 2) == ALLOW
    for number, architecture in ((0x40000000 | 600, 0xC000003E), (600, 0xC000003E), (600, AUDIT_I386), (1, 0x40000028)):
        assert judge(program, architecture, number) == errno.ENOSYS


def test_the_kernel_takes_the_compat_filter_of_any_capabilities() -> None:
    for held in ((), DEFAULT_CAPABILITIES, ALL_CAPABILITIES):
        assert len(seccomp_policy.default_program(held, "x86_64", compat=True)) <= 4096 * 8


def test_compat_is_refused_where_there_is_no_table() -> None:
    with pytest.raises(Unsupported, match="aarch64"):
        seccomp_policy.default_program((), "aarch64", compat=True)


@pytest.mark.parametrize(
    ("fields", "opened"),
    [
        ({}, set()),
        ({"architectures": ["SCMP_ARCH_X86_64"]}, set()),
        ({"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]}, {"i386"}),
        ({"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32"]}]}, {"x32"}),
        (
            {
                "archMap": [
                    {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
                ]
            },
            {"i386", "x32"},
        ),
        ({"archMap": [{"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_X86"]}]}, set()),
    ],
)
@pytest.mark.parametrize("default", ["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"])
def test_a_profile_opens_the_entries_that_it_names(fields: dict[str, Any], opened: set[str], default: str) -> None:
    rules = [
        {"names": ["read", "stat64"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"},
    ]
    profile = {"defaultAction": default, "syscalls": rules, **fields}
    program = seccomp_profile.profile_program(profile, (), "x86_64", "6.1.0")
    for entry, verdict in compat_judges(program).items():
        is_open = entry in opened or entry == "x86_64"
        assert verdict("read") == (ALLOW if is_open else errno.ENOSYS), entry
        assert verdict("mkdir") == ("0x80000000" if is_open else errno.ENOSYS), entry
