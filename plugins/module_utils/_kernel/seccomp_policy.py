# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Which system calls a container may make: the default policy.

A list of what is refused, applied to a complete table of what exists: a call that is newer than the table gets ENOSYS,
so programs fall back as on an older kernel. Refused are the ways to kernel attack surface that containers do not need:
at least what Docker's default profile refuses, and further name_to_handle_at, statmount, listmount, vmsplice,
memfd_secret, uretprobe, every socket family but the usual four, typing into a terminal (TIOCSTI, TIOCLINUX), and all of
the 32-bit and x32 entries. A capability opens the calls that make no sense without it. Change POLICY_VERSION with the
policy.

`compat` opens the 32-bit and x32 entries, under the same policy. One thing no filter can judge there: the arguments of
i386's `socketcall` lie in memory, so every socket family that the kernel has can be reached by it.
"""

from __future__ import annotations

from .._base.errors import Unsupported
from .seccomp_filter import ALLOW, Entry, answer, assemble, condition, low_word_has_any, low_word_in, refuse, rule
from .seccomp_tables import AUDIT_ARCHITECTURES, syscall_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .seccomp_filter import Code

_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97

# Refused whatever the capabilities are: obsolete, never implemented, or not meant for containers.
_NEVER = frozenset(
    (
        "_sysctl add_key afs_syscall create_module file_getattr file_setattr get_kernel_syms getpmsg io_uring_enter "
        "io_uring_register io_uring_setup kexec_file_load kexec_load keyctl lsm_get_self_attr lsm_list_modules "
        "lsm_set_self_attr memfd_secret migrate_pages move_pages nfsservctl pivot_root putpmsg query_module "
        "request_key security swapoff swapon sysfs tuxcall uprobe uretprobe uselib userfaultfd ustat vmsplice vserver "
        "bdflush break ftime gtty idle lock mpx prof profil stty ulimit vm86 vm86old"  # of i386
    ).split()
)

# Refused unless one of the capabilities is there. The kernel checks the capability as well.
_WITH_CAPABILITY = {
    "CAP_SYS_ADMIN": "bpf fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie mount mount_setattr "
    "move_mount name_to_handle_at open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname "
    "sethostname setns statmount syslog umount umount2 unshare",
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "name_to_handle_at open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

_AF_UNIX, _AF_INET, _AF_INET6, _AF_KEY, _AF_NETLINK, _AF_PACKET, _AF_XDP = 1, 2, 10, 15, 16, 17, 44
_FAMILIES = {"CAP_NET_RAW": (_AF_PACKET, _AF_XDP), "CAP_NET_ADMIN": (_AF_KEY,)}
_NETLINK_AUDIT = 9

_CLONE_NEW = 0x7E020000  # every CLONE_NEW* that the old clone takes
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
# Linux, SVR4 without zero page, and both with 32-bit uname, as in Docker's profile; and the query.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def architecture(machine: str) -> int:
    """The kernel's number for a machine. Raises Unsupported where there is no table of its calls."""
    if machine not in AUDIT_ARCHITECTURES:
        raise Unsupported(f"seccomp: no table of system calls for {machine}", hint="seccomp: unconfined runs without")
    return AUDIT_ARCHITECTURES[machine]


def refused_calls(capabilities: Iterable[str]) -> frozenset[str]:
    """The names of all calls that fail with EPERM whatever their arguments are."""
    held = frozenset(capabilities)
    guarded = {name for names in _WITH_CAPABILITY.values() for name in names.split()}
    opened = {name for capability in held for name in _WITH_CAPABILITY.get(capability, "").split()}
    return _NEVER | guarded - opened


def _argument_rules(held: frozenset[str]) -> dict[str, Code]:
    """Code for the calls whose arguments decide."""
    allow, deny = answer(ALLOW), answer(refuse(_EPERM))
    socket = _socket_code(held)
    rules = {
        "ioctl": low_word_in(1, (_TIOCSTI, _TIOCLINUX), deny, allow),
        "personality": low_word_in(0, _PERSONALITIES, allow, deny),
        "socket": socket,
        "socketpair": socket,
    }
    if "CAP_SYS_ADMIN" not in held:
        rules["clone"] = low_word_has_any(0, _CLONE_NEW, deny, allow)
        rules["clone3"] = answer(refuse(_ENOSYS))  # its flags lie in memory, out of a filter's sight; libc falls back
    return rules


def _socket_code(held: frozenset[str]) -> Code:
    allow, unknown = answer(ALLOW), answer(refuse(_EAFNOSUPPORT))
    families = [_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK]
    for capability, more in _FAMILIES.items():
        families += more if capability in held else ()
    by_family = low_word_in(0, families, allow, unknown)
    if held & {"CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL"}:
        return by_family
    word = 0xFFFFFFFF
    audit = (condition(0, "MASKED_EQ", word, _AF_NETLINK), condition(2, "MASKED_EQ", word, _NETLINK_AUDIT))
    return (*rule(audit, refuse(_EPERM)), *by_family)


def default_verdicts(capabilities: Iterable[str], numbers: Mapping[str, int]) -> dict[int, Code]:
    """The verdict for every call number of a table."""
    held = frozenset(capabilities)
    refused, rules = refused_calls(held), _argument_rules(held)
    allow, deny = answer(ALLOW), answer(refuse(_EPERM))
    return {number: deny if name in refused else rules.get(name, allow) for name, number in numbers.items()}


def entry_tables(machine: str, further: Iterable[str] = ()) -> list[tuple[int, dict[str, int]]]:
    """The entries that a filter is to open: (the kernel's number, its calls by name), the machine's own first.

    `further` are i386 and x32, which enters as x86_64. Raises Unsupported where the machine does not have one.
    """
    further = frozenset(further)
    own, numbers = architecture(machine), syscall_numbers(machine)
    if not further:
        return [(own, numbers)]
    if machine != "x86_64":
        raise Unsupported(
            f"seccomp: no table of {' or '.join(sorted(further))} calls on {machine}",
            hint="leave seccomp-compat out; seccomp: unconfined runs them without a filter",
        )
    from .seccomp_compat_tables import AUDIT_I386, i386_numbers, x32_numbers

    tables = [(own, numbers)] + ([(own, x32_numbers())] if "x32" in further else [])
    return tables + ([(AUDIT_I386, i386_numbers())] if "i386" in further else [])


def merged_entries(parts: Iterable[tuple[int, dict[int, Code]]], beyond: Code) -> list[Entry]:
    """One entry per kernel's number, of the verdicts of all tables that have it."""
    merged: dict[int, dict[int, Code]] = {}
    for number, verdicts in parts:
        merged.setdefault(number, {}).update(verdicts)
    return [Entry(number, verdicts, beyond) for number, verdicts in merged.items()]


def default_program(capabilities: Iterable[str], machine: str, *, compat: bool = False) -> bytes:
    """The assembled default policy. Raises Unsupported for a machine without a table."""
    names, unknown = tuple(capabilities), answer(refuse(_ENOSYS))
    tables = entry_tables(machine, ("i386", "x32") if compat else ())
    parts = ((number, default_verdicts(names, numbers)) for number, numbers in tables)
    return assemble(merged_entries(parts, unknown), unknown)
