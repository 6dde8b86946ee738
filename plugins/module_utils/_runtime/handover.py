# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a launch, in a throw-away child, hands over to its monitor: one message with descriptors.

One byte (how many of the first descriptors wake a sleeping monitor; 0: it must not sleep), the title of the process in
the room that there is, and the facts: plain data, marshalled, with the names of the descriptors.
"""

from __future__ import annotations

from _socket import MSG_NOSIGNAL, SCM_RIGHTS, SOL_SOCKET
from _struct import pack
from marshal import dumps

from .._sys.process_title import fitted, title_place
from .wiring import Wiring
from .worker import give

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

STREAMS = ("stdout", "stderr", "terminal", "stdin")
_WAKING = ("pid", "listener", "stdout", "stderr", "terminal")


class Handover:
    """`facts` are plain data, `fds` descriptors by name, `reserved` sockets that hold host ports.

    `awake` is what the monitor of a container that nobody watches is not.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.fds: dict[str, int] = {}
        self.reserved: list[int] = []
        self.awake = False

    def add_streams(self, wiring: Wiring) -> None:
        """The monitor's ends of a container's streams."""
        for name in STREAMS:
            fd = getattr(wiring, name)
            if fd >= 0:
                self.fds[name] = fd

    def _named(self) -> tuple[dict[str, Any], list[int]]:
        names = [name for name in _WAKING if name in self.fds]
        names += [name for name in self.fds if name not in names]
        return {**self.facts, "fds": tuple(names)}, [*(self.fds[name] for name in names), *self.reserved]

    def send(self, channel: socket) -> None:
        """Give it to a monitor that has only begun. Raises OSError where that is gone."""
        facts, fds = self._named()
        head = bytes((0 if self.awake else sum(name in self.fds for name in _WAKING),))
        title = fitted(f"hull-monitor {facts['name']} {facts['run_directory']}", title_place()[1])
        rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))]
        channel.sendmsg([head, title, dumps(facts)], rights, MSG_NOSIGNAL)

    def give(self, channel: socket) -> None:
        """Give it to a monitor that waits for a restart. Raises OSError where that is gone."""
        give(channel, *self._named())


def unpacked(facts: dict[str, Any], fds: tuple[int, ...]) -> tuple[dict[str, int], tuple[int, ...]]:
    """(descriptors by name, sockets of host ports) of a handover; the names are taken out of the facts."""
    names = facts.pop("fds")
    return dict(zip(names, fds)), fds[len(names) :]
