# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Cgroups found by their names, wherever they are. Only looks."""

from __future__ import annotations

import os

from .cgroup_files import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .cgroup_host import CgroupHost

_OTHERS = (".scope", ".service")  # what is in these systemd has given to somebody, another engine for example


def find_cgroups(host: CgroupHost, is_wanted: Callable[[str], bool]) -> list[str]:
    """The paths, below the hierarchies' roots, of cgroups with a wanted name; each once, sorted.

    Nothing below one that is found is looked at, and nothing in systemd's services and scopes.
    """
    roots = dict.fromkeys([*host.mounts.values(), *([host.unified] if host.unified else [])])
    return sorted({path for root in roots for path in _below(root, "", is_wanted)})


def _below(root: str, path: str, is_wanted: Callable[[str], bool]) -> Iterator[str]:
    for child in children(f"{root}/{path}" if path else root):
        name = os.path.basename(child)
        inner = f"{path}/{name}" if path else name
        if is_wanted(name):
            yield inner
        elif not name.endswith(_OTHERS):
            yield from _below(root, inner, is_wanted)
