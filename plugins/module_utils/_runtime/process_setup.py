# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The last steps of a container's process, init and exec alike: from the container's root to execve.

Runs after pivot_root or setns, so nothing is imported, nothing of the container is executed or loaded, and the only
files read are its passwd and group files, as data. Errors are the engine's; the caller carries them over a socket.
"""

from __future__ import annotations

import os
from _signal import SIG_DFL, SIG_SETMASK, SIGCHLD, SIGINT, SIGPIPE, SIGXFSZ, pthread_sigmask  # type: ignore[import-not-found]
from _signal import signal as set_handler
from errno import EACCES, EINVAL, ENOENT, ENOEXEC, ENOTDIR, EPERM, errorcode
from stat import S_ISREG

from .._base.errors import LaunchError
from .._kernel.own_proc import write_attribute
from .._kernel.privileges import become
from .._kernel.seccomp_load import load as load_seccomp
from .._sys.file_calls import close_range, openat2
from .._sys.mount_flags import AT_FDCWD
from .._sys.open_flags import CLOSE_RANGE_CLOEXEC, RESOLVE_NO_MAGICLINKS
from .._sys.privilege_calls import join_session_keyring, set_no_new_privs
from .._sys.process_calls import prlimit
from .._sys.sched_flags import RLIMITS
from .launch_plan import ProcessPlan
from .users import Identity, resolve_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_FILE = 1024 * 1024


def read_file(path: str) -> str:
    """A small regular file of the container; empty where there is none. Never blocks on a FIFO, never leaves the root.

    Raises LaunchError for what is not a regular file or too large.
    """
    try:
        fd = openat2(AT_FDCWD, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, resolve=RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR):
            return ""
        raise LaunchError(f"read {path} of the image: {errorcode.get(error.errno or 0, error)}") from error
    try:
        status = os.fstat(fd)
        if not S_ISREG(status.st_mode) or status.st_size > _MAX_FILE:
            raise LaunchError(f"read {path} of the image: it is not a regular file of at most 1 MiB")
        if status.st_size == 0:  # nothing in it, or a link to a file of the kernel's, which reading could change
            return ""
        return os.read(fd, _MAX_FILE).decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)


def identify(process: ProcessPlan, userns: tuple[int, int] | None) -> Identity:
    """The user of a process, looked up in the files of the root that the caller is in.

    Raises LaunchError also for an id that the container's user namespace (as LaunchPlan's) does not have.
    """
    identity = resolve_user(process.user, process.groups, read_file("/etc/passwd"), read_file("/etc/group"))
    largest = max(identity.uid, identity.gid, *identity.groups)
    if userns is not None and largest >= userns[1]:
        raise LaunchError(
            f"user: {largest} is beyond the container's largest id {userns[1] - 1}", hint="use userns_mode: host"
        )
    return identity


def environment(process: ProcessPlan, identity: Identity) -> dict[bytes, bytes]:
    """The process's environment: what the plan says, then PATH, HOME and TERM where missing. Pure."""
    result: dict[bytes, bytes] = {}
    for entry in process.env:
        name, separator, value = entry.partition("=")
        if separator and name:
            result[os.fsencode(name)] = os.fsencode(value)
    result.setdefault(b"PATH", DEFAULT_PATH.encode())
    result.setdefault(b"HOME", os.fsencode(identity.home))
    if process.tty:
        result.setdefault(b"TERM", b"xterm")
    return result


def set_limits(process: ProcessPlan, pid: int = 0) -> tuple[str, ...]:
    """Set the resource limits of the caller, or of another process that runs; what this host does not allow to raise
    is set as high as allowed, with a warning."""
    warnings = []
    for name, soft, hard in process.rlimits:
        number = RLIMITS.get(name)
        if number is None:
            raise LaunchError(f"ulimits: {name!r} is not a resource limit")
        try:
            prlimit(pid, number, (soft, hard))
        except OSError as error:
            if error.errno != EPERM:
                raise LaunchError(f"ulimits: {name} {soft}:{hard}: {errorcode.get(error.errno or 0, error)}") from error
            lower = _lower_limit(number, soft, hard, pid)
            if name != "nofile" or lower[1] < soft:  # the engine's own default hard limit of files is a wish
                warnings.append(
                    f"ulimits: {name} {soft}:{hard} is more than this host allows; it is {lower[0]}:{lower[1]}"
                )
    return tuple(warnings)


def raise_hard_limits(process: ProcessPlan, pid: int) -> None:
    """From the host's side, lift the hard limits of a process in a user namespace, which may not do so itself, to what
    it will set with `set_limits`. What the host does not allow stays, and is told there."""
    for name, _soft, hard in process.rlimits:
        number = RLIMITS.get(name)
        if number is None:
            continue
        soft_now, hard_now = prlimit(pid, number)
        if hard_now != -1 and (hard == -1 or hard > hard_now):
            try:
                prlimit(pid, number, (soft_now, hard))
            except PermissionError:
                pass


def _lower_limit(number: int, soft: int, hard: int, pid: int) -> tuple[int, int]:
    present = prlimit(pid, number)[1]
    most = present if hard == -1 else hard if present == -1 else min(hard, present)
    least = most if soft == -1 else soft if most == -1 else min(soft, most)
    prlimit(pid, number, (least, most))
    return least, most


def set_oom_score(process: ProcessPlan) -> tuple[str, ...]:
    """Say how readily the kernel ends the process where memory runs out. Call it while /proc is still the host's.

    What this host does not allow to lower stays, with a warning where it was asked for.
    """
    wanted = process.oom_score_adj
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(b"%d" % wanted)
    except OSError as error:
        if wanted:
            cause = "it is less than the host's own, which takes CAP_SYS_RESOURCE" if error.errno == EACCES else ""
            return (f"oom_score_adj: {wanted}: {cause or errorcode.get(error.errno or 0, error)}",)
    return ()


def join_keyring() -> None:
    """A session keyring of its own, so keys of the host are out of reach; kernels without keys have none to reach."""
    try:
        join_session_keyring()
    except OSError:
        pass


def enter_directory(path: str) -> None:
    """Change into the working directory. Raises LaunchError where it is none, or not inside the root."""
    try:
        os.chdir(path)
        if not os.getcwd().startswith("/"):  # the kernel marks what lies outside the root
            raise LaunchError(f"working_dir: {path} is not inside the container")
    except OSError as error:
        cause = {ENOTDIR: "is not a directory", ENOENT: "does not exist in the container"}.get(error.errno or 0)
        raise LaunchError(f"working_dir: {path} {cause or errorcode.get(error.errno or 0, str(error))}") from error


def drop_privileges(process: ProcessPlan, identity: Identity, seccomp: bytes) -> None:
    """Become the user with its capabilities, the seccomp filter and, from execve on, the AppArmor profile, for good."""
    if process.apparmor:
        _confine_by_apparmor(process.apparmor)
    if process.no_new_privileges:
        set_no_new_privs()
    elif seccomp:
        load_seccomp(seccomp)  # still with SYS_ADMIN; the filter must allow what follows
    become(identity.uid, identity.gid, identity.groups, process.capabilities)
    if process.no_new_privileges and seccomp:
        load_seccomp(seccomp)


def _confine_by_apparmor(profile: str) -> None:
    try:
        write_attribute("attr/apparmor/exec", b"exec " + os.fsencode(profile))
    except OSError as error:
        cause = {ENOENT: "no such profile is loaded", EINVAL: "no such profile is loaded"}.get(error.errno or 0)
        raise LaunchError(
            f"security_opts: apparmor={profile}: {cause or errorcode.get(error.errno or 0, error)}",
            hint="load it with apparmor_parser, or use apparmor=unconfined",
        ) from error


def execute(process: ProcessPlan, env: dict[bytes, bytes]) -> NoReturn:
    """Execute the command, searched in the PATH of its own environment. Raises LaunchError with the shell's status.

    All descriptors above 2 close on the way.
    """
    close_range(3, flags=CLOSE_RANGE_CLOEXEC)
    for number in (SIGPIPE, SIGXFSZ, SIGCHLD, SIGINT):
        set_handler(number, SIG_DFL)
    pthread_sigmask(SIG_SETMASK, ())
    name = process.args[0]
    args = [os.fsencode(word) for word in process.args]
    failures: list[OSError] = []
    for candidate in candidates(name, env[b"PATH"]):
        try:
            os.execve(candidate, args, env)
        except OSError as error:
            failures.append(error)
            if error.errno not in (ENOENT, ENOTDIR, EACCES):
                break
    raise exec_error(name, failures)


def candidates(name: str, path: bytes) -> list[bytes]:
    """Where a command is looked for, in order: itself if it has a slash, else in each directory of PATH. Pure."""
    raw = os.fsencode(name)
    if not raw:
        return []
    if b"/" in raw:
        return [raw]
    return [(directory or b".") + b"/" + raw for directory in path.split(b":")]


def exec_error(name: str, failures: list[OSError]) -> LaunchError:
    """What to tell about a command that could not be executed: 127 where nothing is there, 126 where something is."""
    failure = next((error for error in reversed(failures) if error.errno not in (ENOENT, ENOTDIR)), None)
    if failure is None:
        if "/" not in name:
            return LaunchError(f'exec "{name}": no such file in the image\'s PATH', exit_code=127)
        if os.path.exists(name):
            return LaunchError(
                f'exec "{name}": the interpreter or loader that it asks for is not in the image', exit_code=127
            )
        return LaunchError(f'exec "{name}": no such file in the image', exit_code=127)
    if failure.errno == EACCES:
        return LaunchError(f'exec "{name}": it is not an executable file (EACCES)', exit_code=126)
    if failure.errno == ENOEXEC:
        return LaunchError(
            f'exec "{name}": neither a binary for this machine nor a script with #! (ENOEXEC)', exit_code=126
        )
    return LaunchError(f'exec "{name}": {errorcode.get(failure.errno or 0, str(failure))}', exit_code=126)
