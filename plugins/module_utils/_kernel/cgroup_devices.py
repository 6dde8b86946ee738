# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Which devices a container's processes may open or make: the allow-list of its cgroup.

Version 1 has files for it, version 2 a BPF program on the cgroup. Both refuse with EPERM, for root and with every
capability too. Not for making the nodes in /dev.

Source: the kernel's admin-guide/cgroup-v1/devices.rst and admin-guide/cgroup-v2.rst, "Device controller".
"""

from __future__ import annotations

import errno
import os

from .._base.errors import Denied, Unsupported
from .._sys import bpf_calls
from .._sys.process_calls import prlimit
from .bpf import device_program
from .cgroup_files import Setting, apply, read_text
from .failures import syscall_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._base.errors import HullError
    from .cgroups import Cgroup

    Device = tuple[str, int, int, str]

ANY = -1
_RLIMIT_MEMLOCK = 8

# Neither tun nor fuse: they reach the host's network and kernel parsers, and are asked for by name where wanted.
DEFAULT_DEVICES: tuple[Device, ...] = (
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 1, "rwm"),  # console
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, ANY, "rwm"),  # pts/*
)


def allow_devices(cgroup: Cgroup, devices: Iterable[Device] = (), *, privileged: bool = False) -> None:
    """Allow the default devices and these, refuse all others; `privileged` allows all. Idempotent, also live.

    A device is (`c` or `b`, major, minor, letters of `rwm`), -1 for any major or minor. The change of a living
    container's list never refuses meanwhile what is allowed before and after. Devices opened already stay open.
    Raises Unsupported, Denied, Invalid.
    """
    wanted = None if privileged else merged([*DEFAULT_DEVICES, *devices])
    if "devices" in cgroup.host.mounts:
        _write_lists(cgroup.directory("devices"), wanted)
    elif cgroup.host.unified:
        _attach(f"{cgroup.host.unified}/{cgroup.path}", wanted)
    elif not privileged:
        raise Unsupported(
            "devices: this host has no devices cgroup controller",
            hint="mount -t cgroup -o devices devices /sys/fs/cgroup/devices, or boot with cgroup_enable=devices",
        )


def merged(devices: Iterable[Device]) -> list[Device]:
    """One rule per device with the access of all; the order of first mention is kept."""
    access: dict[tuple[str, int, int], set[str]] = {}
    for kind, major, minor, letters in devices:
        access.setdefault((kind, major, minor), set()).update(letters)
    return [(*device, "".join(x for x in "rwm" if x in letters)) for device, letters in access.items()]


def list_changes(current: str, wanted: list[Device] | None) -> list[tuple[str, str]]:
    """What turns version 1's devices.list into the wanted rules: (`allow` or `deny`, line), additions first.

    None means all devices.
    """
    if wanted is None:
        return [] if current.startswith("a ") else [("allow", "a")]
    rules = {device[:3]: set(device[3]) for device in wanted}
    if current.startswith("a "):
        return [("deny", "a"), *(("allow", _line(device, letters)) for device, letters in rules.items())]
    present = {_parse(line)[:3]: set(_parse(line)[3]) for line in current.split("\n") if line}
    added = [
        ("allow", _line(device, letters))
        for device, letters in rules.items()
        if not letters <= present.get(device, set())
    ]
    removed = [
        ("deny", _line(device, excess))
        for device, letters in present.items()
        if (excess := letters - rules.get(device, set()))
    ]
    return added + removed


def _line(device: tuple[str, int, int], letters: set[str]) -> str:
    kind, major, minor = device
    numbers = ":".join("*" if number == ANY else str(number) for number in (major, minor))
    return f"{kind} {numbers} {''.join(x for x in 'rwm' if x in letters)}"


def _parse(line: str) -> Device:
    kind, numbers, letters = line.split(" ")
    major, minor = (ANY if number == "*" else int(number) for number in numbers.split(":"))
    return kind, major, minor, letters


def _write_lists(directory: str, wanted: list[Device] | None) -> None:
    try:
        current = read_text(directory + "/devices.list")
    except OSError as error:
        raise syscall_error(f"read {directory}/devices.list", error) from error
    apply(
        [Setting("devices", f"{directory}/devices.{name}", line) for name, line in list_changes(current, wanted)],
        undo=False,
    )


def _attach(directory: str, wanted: list[Device] | None) -> None:
    """Put the program on the version 2 cgroup, in place of all that are there; with None only take those off."""
    cgroup_fd = _open(directory)
    old: list[int] = []
    try:
        for program_id in bpf_calls.bpf_prog_query(cgroup_fd, bpf_calls.BPF_CGROUP_DEVICE):
            old.append(bpf_calls.bpf_prog_get_fd_by_id(program_id))
        replaced = 0 if wanted is None else _attach_new(cgroup_fd, wanted, old)
        for fd in old[replaced:]:
            bpf_calls.bpf_prog_detach(cgroup_fd, fd, bpf_calls.BPF_CGROUP_DEVICE)
    except OSError as error:
        raise _bpf_error(f"limit the devices of cgroup {directory}", error) from error
    finally:
        for fd in (cgroup_fd, *old):
            os.close(fd)


def _attach_new(cgroup_fd: int, wanted: list[Device], old: list[int]) -> int:
    """Load and attach; returns how many of the old programs that has replaced already (none or one)."""
    program = _load(device_program(wanted))
    try:
        if len(old) == 1:
            try:
                flags = bpf_calls.BPF_F_ALLOW_MULTI | bpf_calls.BPF_F_REPLACE
                bpf_calls.bpf_prog_attach(cgroup_fd, program, bpf_calls.BPF_CGROUP_DEVICE, flags, old[0])
                return 1
            except OSError as error:
                if error.errno != errno.EINVAL:  # kernels before 5.6 can't replace
                    raise
        bpf_calls.bpf_prog_attach(cgroup_fd, program, bpf_calls.BPF_CGROUP_DEVICE, bpf_calls.BPF_F_ALLOW_MULTI)
        return 0
    finally:
        os.close(program)


def _load(program: bytes) -> int:
    """Load the program. Kernels before 5.11 charge it to RLIMIT_MEMLOCK, which is lifted for the moment if too low."""
    try:
        return bpf_calls.bpf_prog_load(bpf_calls.BPF_PROG_TYPE_CGROUP_DEVICE, program)
    except PermissionError:
        try:
            before = prlimit(0, _RLIMIT_MEMLOCK, (-1, -1))
        except OSError:
            before = None
        if before is None:
            raise
    try:
        return bpf_calls.bpf_prog_load(bpf_calls.BPF_PROG_TYPE_CGROUP_DEVICE, program)
    finally:
        prlimit(0, _RLIMIT_MEMLOCK, before)


def _bpf_error(operation: str, error: OSError) -> HullError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return Denied(f"{operation}: {error.strerror}", hint="this needs CAP_BPF or CAP_SYS_ADMIN")
    if error.errno in (errno.ENOSYS, errno.EINVAL):
        return Unsupported(f"{operation}: {error.strerror}", hint="the kernel needs CONFIG_CGROUP_BPF (Linux 4.15)")
    return syscall_error(operation, error)


def _open(directory: str) -> int:
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise syscall_error(f"open cgroup {directory}", error) from error
