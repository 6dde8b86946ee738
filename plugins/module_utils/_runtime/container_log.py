# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Where a container's output goes: its own file, and beside that the host's log where the driver says so."""

from __future__ import annotations

from .event_loop import EventLoop
from .launch_plan import LaunchPlan, LogPlan
from .log_drivers import DRIVERS, LogDriver
from .log_writer import LogWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class ContainerLog:
    """The log of one container, over all its runs. `on_loss` is called when bytes were lost.

    It is opened by the first output: many containers write none, and their monitors stay small. The plan is read only
    where the driver needs it.
    """

    def __init__(
        self, loop: EventLoop, plan: Callable[[], LaunchPlan], log: dict[str, Any], on_loss: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._plan = plan
        self._log = log  # a LogPlan's fields
        self._on_loss = on_loss
        self._driver: LogDriver | None = None
        self._file: LogWriter | None = None

    def open(self) -> LogWriter:
        """Open the file, and the driver's receiver, unless that has been done."""
        if self._file is None:
            log = LogPlan(**self._log)
            if log.driver in DRIVERS:
                self._driver = LogDriver(self._loop, self._plan(), log)
            self._file = LogWriter(log, self._driver.write if self._driver else None)
        return self._file

    @property
    def lost_bytes(self) -> int:
        """How many bytes did not come into the file, or not to the driver's receiver."""
        lost = self._file.lost_bytes if self._file is not None else 0
        return lost + (self._driver.lost_bytes if self._driver else 0)

    def configure(self, log: dict[str, Any]) -> None:
        """Take over everything but the path and the driver, which are the same; of the plan its name, too."""
        self._log = log
        if self._file is not None:
            self._file.configure(LogPlan(**log))
        if self._driver is not None:
            self._driver.configure(self._plan(), LogPlan(**log))

    def write(self, stream: str, data: bytes) -> None:
        """Take a piece of output."""
        before = self.lost_bytes
        self.open().write(stream, data)
        if self.lost_bytes != before:
            self._on_loss()

    def holds_up(self) -> bool:
        """Whether the container should wait."""
        if self._file is None:
            return False
        return self._file.holds_up() or (self._driver is not None and self._driver.holds_up())

    def finish(self) -> None:
        """The output of one run has ended."""
        if self._file is not None:
            self._file.finish()

    def close(self) -> None:
        """The last run has ended."""
        if self._file is not None:
            self._file.close()
        if self._driver is not None:
            self._driver.close()
