# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One poll(2) loop: descriptors with callbacks, and named timers. No threads, nothing imported while it runs."""

from __future__ import annotations

from select import POLLIN, poll
from time import monotonic_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Callback = Callable[[int], None]

_LONGEST_WAIT_MS = 3_600_000


class EventLoop:
    """Callbacks by descriptor and by time. A callback may change every registration, its own too."""

    def __init__(self) -> None:
        self._poll = poll()
        self._callbacks: dict[int, Callback] = {}
        self._events: dict[int, int] = {}
        self._timers: dict[str, tuple[int, Callable[[], None]]] = {}
        self.finished = False

    def watch(self, fd: int, callback: Callback, events: int = POLLIN) -> None:
        """Call back with the events that poll reports; errors and hang-ups are always among them."""
        if self._events.get(fd) != events:
            self._poll.register(fd, events)
            self._events[fd] = events
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Watch the descriptor no longer; harmless where it is not watched. Before it is closed, please."""
        if self._callbacks.pop(fd, None) is not None:
            del self._events[fd]
            self._poll.unregister(fd)

    def watches(self, fd: int) -> bool:
        """Whether the descriptor is watched."""
        return fd in self._callbacks

    def set_timer(self, name: str, delay_ns: int, callback: Callable[[], None]) -> None:
        """Call back once after the delay; a timer of the same name is replaced."""
        self._timers[name] = (monotonic_ns() + max(delay_ns, 0), callback)

    def cancel_timer(self, name: str) -> None:
        """Take a timer back; harmless where there is none."""
        self._timers.pop(name, None)

    def has_timer(self, name: str) -> bool:
        """Whether a timer of this name is set."""
        return name in self._timers

    def run(self) -> None:
        """Run until something sets `finished`."""
        while not self.finished:
            self.run_once()

    def run_once(self, longest_ms: int = _LONGEST_WAIT_MS) -> None:
        """Wait for the next event or timer, at most so long, and serve what is due."""
        for fd, events in self._poll.poll(self._wait_ms(longest_ms)):
            callback = self._callbacks.get(fd)
            if callback is not None:
                callback(events)
        if self._timers:
            now = monotonic_ns()
            for name in [name for name, (when, _) in self._timers.items() if when <= now]:
                timer = self._timers.pop(name, None)
                if timer is not None:
                    timer[1]()

    def _wait_ms(self, longest_ms: int) -> int:
        if not self._timers:
            return longest_ms
        first = min(when for when, _ in self._timers.values())
        return max(0, min(longest_ms, -(-(first - monotonic_ns()) // 1_000_000)))
