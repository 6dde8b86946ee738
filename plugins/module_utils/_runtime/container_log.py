# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Where a container's output goes: its own file, and beside that the host's log where the driver says so."""

from __future__ import annotations

from .event_loop import EventLoop
from .launch_plan import LaunchPlan, LogPlan
from .log_drivers import LogDriver
from .log_writer import LogWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class ContainerLog:
    """The log of one container, over all its runs. `on_loss` is called when bytes were lost."""

    def __init__(self, loop: EventLoop, plan: LaunchPlan, log: LogPlan, on_loss: Callable[[], None]) -> None:
        self._on_loss = on_loss
        self._driver = LogDriver(loop, plan, log) if log.driver in ("journald", "syslog") else None
        self._file = LogWriter(log, self._driver.write if self._driver else None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with the driver from the start."""
        return self._driver.warnings if self._driver else ()

    @property
    def lost_bytes(self) -> int:
        """How many bytes did not come into the file, or not to the driver's receiver."""
        return self._file.lost_bytes + (self._driver.lost_bytes if self._driver else 0)

    def configure(self, plan: LaunchPlan, log: LogPlan) -> None:
        """Take over everything but the path and the driver."""
        self._file.configure(log)
        if self._driver is not None:
            self._driver.configure(plan, log)

    def write(self, stream: str, data: bytes) -> None:
        """Take a piece of output."""
        before = self.lost_bytes
        self._file.write(stream, data)
        if self.lost_bytes != before:
            self._on_loss()

    def holds_up(self) -> bool:
        """Whether the container should wait."""
        return self._file.holds_up() or (self._driver is not None and self._driver.holds_up())

    def finish(self) -> None:
        """The output of one run has ended."""
        self._file.finish()

    def close(self) -> None:
        """The last run has ended."""
        self._file.close()
        if self._driver is not None:
            self._driver.close()
