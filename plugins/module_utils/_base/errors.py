# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The one tree of errors that the engine raises.

A message reads `operation: object: cause`, lower case, no final period; a hint, where a cure is known, is separate.
Only the module runner and the command line turn an error into an ended process.
"""

from __future__ import annotations


class HullError(Exception):
    """Base of all errors that a user may see."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class Invalid(HullError):
    """What the user gave can't be used. `option` is the module's name of the option, or empty."""

    def __init__(self, message: str, *, option: str = "", hint: str = "") -> None:
        super().__init__(f"{option}: {message}" if option else message, hint=hint)
        self.option = option


class NotFound(HullError):
    """The named object does not exist."""


class Conflict(HullError):
    """The operation does not fit the state that the object is in: a name taken, a port in use, still running."""


class Unsupported(HullError):
    """This host, kernel or version can't do it."""


class Denied(HullError):
    """Permission or policy forbids it."""


class Timeout(HullError):
    """It did not happen in the time given."""


class Damaged(HullError):
    """Stored or received bytes are not what they should be: wrong digest, truncated, malformed."""


class RegistryError(HullError):
    """A registry answered with an error or not at all. `status` is the HTTP status, 0 where there was none."""

    def __init__(self, message: str, *, status: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class SyscallError(HullError):
    """A system call failed. `errno` is the kernel's number."""

    def __init__(self, message: str, *, errno: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.errno = errno


class LaunchError(HullError):
    """The container's process could not be made or executed.

    `exit_code` is what a shell user expects of it: 127 command not found, 126 found but not executable, 125 the rest.
    """

    def __init__(self, message: str, *, exit_code: int = 125, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code
