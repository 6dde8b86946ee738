# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory that looks like a cgroup: plain files with the kernel's initial contents."""

from __future__ import annotations

from typing import Any

from ansible_collections.hull.engine.plugins.module_utils._kernel import cgroup_files


class CgroupDirectory:
    """Files below `path`; `apply` writes settings, `written` tells the names and values in order."""

    def __init__(self, path: Any, **files: str) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (path / name.replace("__", ".")).write_text(content)

    def __str__(self) -> str:
        return str(self.path)

    def read(self, name: str) -> str:
        return (self.path / name).read_text()


def written(settings: list[cgroup_files.Setting]) -> list[tuple[str, str]]:
    """The settings as (file name, value)."""
    return [(setting.path.rpartition("/")[2], setting.value) for setting in settings]
