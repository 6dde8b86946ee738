# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""bpf(2), as far as a device filter of a cgroup needs it: load, attach, detach, query. All raise OSError.

Source: bpf(2), include/uapi/linux/bpf.h (union bpf_attr).
"""

from __future__ import annotations

from ctypes import addressof, c_char_p, c_int, c_uint, create_string_buffer
from struct import pack, unpack_from

from .libc import system_call

_bpf = system_call("bpf", c_int, c_char_p, c_uint)

_BPF_PROG_LOAD = 5
_BPF_PROG_ATTACH = 8
_BPF_PROG_DETACH = 9
_BPF_PROG_GET_FD_BY_ID = 13
_BPF_PROG_QUERY = 16
_INSTRUCTION_BYTES = 8
_LOG_BYTES = 65536

BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_OVERRIDE = 1
BPF_F_ALLOW_MULTI = 2
BPF_F_REPLACE = 4


def bpf_prog_load(kind: int, program: bytes, *, license_: str = "GPL", attach_type: int = 0) -> int:
    """Verify and load a program of 8-byte eBPF instructions. The descriptor is close-on-exec.

    Where the verifier refuses, the OSError's text ends with what it said.
    """
    code = create_string_buffer(program, len(program))
    words = create_string_buffer(license_.encode())
    try:
        return _prog_load(kind, code, words, attach_type, None)
    except OSError:
        log = create_string_buffer(_LOG_BYTES)
        try:
            return _prog_load(kind, code, words, attach_type, log)
        except OSError as error:
            said = log.value.decode("utf-8", "replace").strip()
            raise OSError(error.errno, f"{error.strerror}: {said}" if said else error.strerror) from None


def _prog_load(kind: int, code: object, words: object, attach_type: int, log: object) -> int:
    # prog_type insn_cnt insns license log_level log_size log_buf kern_version prog_flags prog_name prog_ifindex
    # expected_attach_type
    attributes = pack(
        "=IIQQIIQII16sII",
        kind,
        len(code) // _INSTRUCTION_BYTES,  # type: ignore[arg-type]
        addressof(code),  # type: ignore[arg-type]
        addressof(words),  # type: ignore[arg-type]
        1 if log else 0,
        _LOG_BYTES if log else 0,
        addressof(log) if log else 0,  # type: ignore[arg-type]
        0,
        0,
        b"hull",
        0,
        attach_type,
    )
    return _bpf(_BPF_PROG_LOAD, attributes, len(attributes))


def bpf_prog_attach(target_fd: int, program_fd: int, attach_type: int, flags: int = 0, replace_fd: int = 0) -> None:
    """Attach a program to a cgroup directory; with BPF_F_REPLACE in place of `replace_fd`'s program."""
    attributes = pack("=5I", target_fd, program_fd, attach_type, flags, replace_fd)
    _bpf(_BPF_PROG_ATTACH, attributes, len(attributes))


def bpf_prog_detach(target_fd: int, program_fd: int, attach_type: int) -> None:
    """Take a program off a cgroup directory."""
    attributes = pack("=5I", target_fd, program_fd, attach_type, 0, 0)
    _bpf(_BPF_PROG_DETACH, attributes, len(attributes))


def bpf_prog_query(target_fd: int, attach_type: int) -> list[int]:
    """The ids of the programs attached to a cgroup directory itself, at most 64."""
    ids = create_string_buffer(4 * 64)
    attributes = create_string_buffer(pack("=4IQII", target_fd, attach_type, 0, 0, addressof(ids), 64, 0), 32)
    _bpf(_BPF_PROG_QUERY, attributes, len(attributes))
    count: int = unpack_from("=I", attributes.raw, 24)[0]
    return list(unpack_from(f"={count}I", ids.raw))


def bpf_prog_get_fd_by_id(program_id: int) -> int:
    """A descriptor for a loaded program. Close-on-exec."""
    attributes = pack("=3I", program_id, 0, 0)
    return _bpf(_BPF_PROG_GET_FD_BY_ID, attributes, len(attributes))
