# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a doctor finds: one fault of an engine's state, and how it can be mended."""

from __future__ import annotations

from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Finding(Value):
    """One fault. `cure` is what to do about it, as a command to somebody; `mend` does it, where it can be done safely.

    `mend` looks again before it acts, may be called twice, and raises HullError or OSError where it does not succeed.
    """

    kind: str  # container, cgroup, link, port, layer ...
    where: str  # path, name or id
    what: str
    cure: str
    mend: Callable[[], object] | None = None

    @property
    def is_fixable(self) -> bool:
        return self.mend is not None

    @property
    def key(self) -> tuple[str, str, str]:
        """The same for the same fault at another time."""
        return self.kind, self.where, self.what

    def document(self) -> dict[str, Any]:
        """The finding as JSON has it."""
        return {
            "kind": self.kind,
            "where": self.where,
            "what": self.what,
            "cure": self.cure,
            "fixable": self.is_fixable,
        }
