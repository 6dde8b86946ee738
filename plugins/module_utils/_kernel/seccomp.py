# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Seccomp filters for containers: assembled ahead of time, kept as files, loaded by `seccomp_load.py`.

Looking up a file that exists loads neither the tables nor the assembler.
"""

from __future__ import annotations

import os

from .capabilities import mask_of, names_of
from .seccomp_load import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["POLICY_VERSION", "default_program", "load", "profile_path", "profile_program", "program_path"]

POLICY_VERSION = 1  # of the default policy, the tables and the assembler together; a test holds it


def default_program(capabilities: Iterable[str]) -> bytes:
    """The default policy for a container with these capabilities, assembled for this machine."""
    from .seccomp_policy import default_program as assemble_default

    return assemble_default(capabilities, os.uname().machine)


def profile_program(profile: dict[str, Any], capabilities: Iterable[str]) -> bytes:
    """A profile in Docker's JSON format, parsed, assembled for this machine and kernel. Raises Invalid."""
    from .seccomp_profile import profile_program as assemble_profile

    host = os.uname()
    return assemble_profile(profile, capabilities, host.machine, host.release)


def program_path(directory: str, capabilities: Iterable[str]) -> str:
    """The file in `directory` (which is made if missing) that holds the default policy for these capabilities.

    Assembled the first time, about 10 ms; safe against others doing the same and against a crash in the middle.
    """
    names = names_of(mask_of(capabilities))
    path = f"{directory}/default-{POLICY_VERSION}-{os.uname().machine}-{mask_of(names):x}.bpf"
    return _kept(path, lambda: default_program(names))


def profile_path(directory: str, text: bytes, capabilities: Iterable[str], *, source: str) -> str:
    """The file in `directory` that holds a Docker profile, given as JSON text, for these capabilities and this kernel.

    `source` names the text in errors. Raises Invalid, Damaged.
    """
    from hashlib import sha256

    from .._base.codec import parse

    host = os.uname()
    names = names_of(mask_of(capabilities))
    key = sha256(f"{POLICY_VERSION} {host.machine} {host.release} {mask_of(names):x} ".encode() + text).hexdigest()
    return _kept(f"{directory}/profile-{key}.bpf", lambda: profile_program(parse(text, source=source), names))


def _kept(path: str, make: Callable[[], bytes]) -> str:
    if not os.path.exists(path):
        _write_atomic(path, make())
    return path


def _write_atomic(path: str, content: bytes) -> None:
    """Whole or not at all, also after a power failure: a truncated filter must never be loaded."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
