# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How long to wait for what a container does: time stands still for it while it is paused."""

from __future__ import annotations

from time import monotonic_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSED_LOOK_NS = 200_000_000


class Patience:
    """Begins anew when a pause ends that was found at its end."""

    def __init__(self, timeout_ns: int, is_paused: Callable[[], bool]) -> None:
        self._timeout_ns = timeout_ns
        self._is_paused = is_paused
        self._paused = False
        self._deadline = monotonic_ns() + timeout_ns

    def left_ms(self) -> int:
        """For poll(2), rounded up."""
        return max(-(-(self._deadline - monotonic_ns()) // 10**6), 0)

    def is_over(self) -> bool:
        """To be asked when nothing happened for `left_ms`; if it is not over, that counts anew."""
        was_paused, self._paused = self._paused, self._is_paused()
        if not (was_paused or self._paused):
            return True
        self._deadline = monotonic_ns() + (_PAUSED_LOOK_NS if self._paused else self._timeout_ns)
        return False
