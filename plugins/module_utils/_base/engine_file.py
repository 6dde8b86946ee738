# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The text of `engine.json`, and where it puts the engine's control groups.

    {
      "cgroup_parent": "hull.slice",            a path, or a slice: the engine's cgroup `hull` lies below
      "default_limits": {                       for containers whose task or flags do not say
        "memory": "512M", "memory_swap": "1G", "cpus": 1.5, "cpu_shares": 512, "pids_limit": 500,
        "ulimits": ["nofile=1024:4096"]
      },
      "log_driver": "json-file",                where a container's output goes
      "log_options": {"max-size": "10m", "max-file": "3"},
      "default_address_pools": [                where networks take their subnets from, in this order
        {"base": "10.88.0.0/13", "size": 16}    blocks of this prefix length inside the base
      ]
    }

All keys are optional; others are refused, so a misspelt one can't silently mean the default. The file is only read, and
only where a container or a network is made or the spawner started: a mistake in it keeps no container from being
stopped or removed. What the defaults come to is `_engine/engine_settings.py`'s.
"""

from __future__ import annotations

from .cgroup_paths import parent_path
from .codec import parse
from .config_file import checked, read_small_file
from .errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .config_file import Kind
    from .paths import Paths

FILE = "engine.json"
_KEYS: dict[str, Kind] = {
    "cgroup_parent": str,
    "default_limits": dict,
    "log_driver": str,
    "log_options": dict,
    "default_address_pools": list,
}


def file_path(paths: Paths) -> str:
    """Where the file is, if there is one."""
    return f"{paths.config}/{FILE}"


def read_engine_file(paths: Paths) -> dict[str, Any]:
    """The document, its keys and their types checked; empty where there is no file.

    Raises Invalid, naming the file and the key, Damaged for what is not JSON, Denied.
    """
    path = file_path(paths)
    data = read_small_file(path)
    return {} if data is None else check_document(paths, parse(data, source=path))


def check_document(paths: Paths, document: Any) -> dict[str, Any]:
    """The document of the file, also of one that is still to be written, its keys and their types checked."""
    return checked(document, _KEYS, file_path(paths), "")


def own_cgroup(paths: Paths, document: dict[str, Any] | None = None) -> str:
    """The engine's own cgroup, below a hierarchy's root: `hull`, or `hull.slice/hull` with a `cgroup_parent`.

    Spawner, monitors and all containers without a parent of their own lie below it. `document` is the file, where it
    was read already. Raises as `read_engine_file`.
    """
    parent = (read_engine_file(paths) if document is None else document).get("cgroup_parent")
    if not parent:
        return paths.cgroup
    try:
        return f"{parent_path(parent)}/{paths.cgroup}"
    except Invalid as error:
        raise Invalid(f"read {file_path(paths)}: {error.message}", hint=error.hint) from error
