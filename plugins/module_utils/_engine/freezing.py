# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container that stands still while its files are read, and goes on whatever becomes of the reader.

A small forked child waits at a pipe. Where the reader dies in the middle, even by SIGKILL, the kernel closes the pipe,
and the child thaws the container.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
import os

from .._base.errors import HullError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._kernel.cgroups import Cgroup

_DONE = b"."
_IGNORED = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT)


class Frozen:
    """`with Frozen(cgroup):` all processes of the container are stopped. Not for one that is frozen already."""

    def __init__(self, cgroup: Cgroup) -> None:
        self._cgroup = cgroup
        self._pid = 0
        self._pipe = -1

    def __enter__(self) -> Frozen:
        reading, self._pipe = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _guard(self._cgroup, reading)
        os.close(reading)
        try:
            self._cgroup.freeze()
        except BaseException:
            self._dismiss()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self._cgroup.thaw()
        finally:
            self._dismiss()

    def _dismiss(self) -> None:
        os.write(self._pipe, _DONE)
        os.close(self._pipe)
        os.waitpid(self._pid, 0)


def _guard(cgroup: Cgroup, reading: int) -> None:
    """The life of the child; never returns."""
    from .._sys.file_calls import close_range

    try:
        for number in _IGNORED:
            _signal.signal(number, _signal.SIG_IGN)
        if reading:
            close_range(0, reading - 1)
        close_range(reading + 1)
        if os.read(reading, 1) != _DONE:
            cgroup.thaw()
    except (OSError, HullError):
        pass  # nobody is left to be told
    finally:
        os._exit(0)
