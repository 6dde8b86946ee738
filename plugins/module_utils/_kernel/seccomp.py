# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Seccomp filters for containers: assembled ahead of time, kept as files, loaded by `seccomp_load.py`.

Looking up a file that exists loads neither the tables nor the assembler.
"""

from __future__ import annotations

import os

from .._base.errors import Invalid
from .capabilities import mask_of, names_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["POLICY_VERSION", "default_program", "profile_path", "profile_program", "program_path"]

POLICY_VERSION = 2  # of the default policy, the tables and the assembler together; a test holds it
_MAX_PROFILE = 1024 * 1024


def default_program(capabilities: Iterable[str], *, compat: bool = False) -> bytes:
    """The default policy for a container with these capabilities, assembled for this machine."""
    from .seccomp_policy import default_program as assemble_default

    return assemble_default(capabilities, os.uname().machine, compat=compat)


def profile_program(profile: dict[str, Any], capabilities: Iterable[str], *, compat: bool = False) -> bytes:
    """A profile in Docker's JSON format, parsed, assembled for this machine and kernel. Raises Invalid."""
    from .seccomp_profile import profile_program as assemble_profile

    host = os.uname()
    return assemble_profile(profile, capabilities, host.machine, host.release, compat=compat)


def program_path(directory: str, capabilities: Iterable[str], *, compat: bool = False) -> str:
    """The file in `directory` (which is made if missing) that holds the default policy for these capabilities.

    With `compat` 32-bit and x32 programs run. Assembled the first time, about 10 ms; safe against others doing the same
    and against a crash in the middle.
    """
    names = names_of(mask_of(capabilities))
    kind = "compat" if compat else "default"
    path = f"{directory}/{kind}-{POLICY_VERSION}-{os.uname().machine}-{mask_of(names):x}.bpf"
    return _kept(path, lambda: default_program(names, compat=compat))


def profile_path(directory: str, profile: str, capabilities: Iterable[str], *, compat: bool = False) -> str:
    """The file in `directory` that holds a Docker profile for these capabilities and this kernel.

    `profile` is the path of a JSON file, or the JSON itself.

    Kept by the profile's content, so a changed profile is assembled anew. Raises Invalid, Damaged for what is not JSON.
    """
    from hashlib import sha256

    if profile.startswith("{"):
        text, profile = profile.encode("utf-8", "surrogateescape"), "in the task"
    else:
        text = _profile_text(profile)
    host = os.uname()
    names = names_of(mask_of(capabilities))
    facts = f"{POLICY_VERSION} {host.machine} {host.release} {mask_of(names):x} {compat:d} "
    key = sha256(facts.encode() + text).hexdigest()
    return _kept(f"{directory}/profile-{key}.bpf", lambda: _assembled(text, profile, names, compat))


def _profile_text(profile: str) -> bytes:
    try:
        with open(profile, "rb") as file:
            text = file.read(_MAX_PROFILE + 1)
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise Invalid(f"seccomp profile {profile}: {cause}", option="security_opts") from error
    if len(text) > _MAX_PROFILE:
        raise Invalid(f"seccomp profile {profile}: larger than {_MAX_PROFILE} bytes", option="security_opts")
    return text


def _assembled(text: bytes, profile: str, names: tuple[str, ...], compat: bool) -> bytes:
    from .._base.codec import parse

    record = parse(text, source=f"seccomp profile {profile}")
    if not isinstance(record, dict):
        raise Invalid(f"seccomp profile {profile}: not an object", option="security_opts")
    return profile_program(record, names, compat=compat)


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
