# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How users name a control group, as its path below each hierarchy's root. Pure."""

from __future__ import annotations

from .errors import Invalid

OPTION = "cgroup_parent"


def parent_path(text: str) -> str:
    """The path of a parent: `/a/b` is one; `a-b.slice` is where systemd has that slice, `a.slice/a-b.slice`.

    Raises Invalid.
    """
    parts = [part for part in text.split("/") if part]
    if not parts or any(part in (".", "..") or not part.isprintable() or part.startswith("cgroup.") for part in parts):
        raise Invalid(f"{text!r} is not a cgroup", option=OPTION, hint="/a/b, or name.slice")
    if len(parts) == 1 and parts[0].endswith(".slice") and not text.startswith("/"):
        parts = _slice_path(parts[0])
    return "/".join(parts)


def is_in_slice(path: str) -> bool:
    """Whether a directory on the path is a slice's, so that systemd takes controllers back from what lies in it."""
    return any(part.endswith(".slice") for part in path.split("/"))


def _slice_path(name: str) -> list[str]:
    """The directories of a slice: each dash is a level. Source: systemd.slice(5)."""
    words = name[: -len(".slice")].split("-")
    if not all(words):
        raise Invalid(f"{name!r} is not a slice", option=OPTION, hint="write it like web.slice or web-db.slice")
    return ["-".join(words[: count + 1]) + ".slice" for count in range(len(words))]
