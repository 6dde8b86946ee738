# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Credentials written to a file that is ours or another tool's, or given to the helper that the file names.

Everything else in the file stays as it is. The file is replaced whole, readable by its owner only.

Source: containers-auth.json(5); Docker's "config.json" properties.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from .._base.errors import Denied
from .._base.values import Value
from .._store.files import write_atomic
from .credentials import HUB, HUB_KEY, helper_of, is_for_domain, parse_entry, read_auth_file, section
from .settings import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Change(Value):
    """What a file (or its helper) has of a registry now, and will have. Made by `plan_change`, done by `apply`."""

    path: str
    name: str
    before: Credentials | None
    after: Credentials | None
    document: dict[str, Any]  # the file's as it will be
    is_needed: bool
    helper: tuple[str, str] | None = None  # who keeps the secret instead, and its key


def plan_change(path: str, name: str, credentials: Credentials | None) -> Change:
    """What has to be done so that a file has these credentials (None: has none) for a registry, or a path in one.

    Only the entry of exactly this name is meant. Raises Denied, Damaged for what can't be read, and as helpers do.
    """
    document = read_auth_file(path)
    auths = dict(section(document, "auths", path))
    keys = [key for key in auths if _is_same(key, name)]
    helper = _helper(document, name, path)
    if helper:
        from .credential_helpers import ask

        before = ask(helper[0], helper[1], os.environ)
    else:
        found = (parse_entry(auths[key], key, path) for key in keys if isinstance(auths[key], dict))
        before = next(filter(None, found), None)
    for key in keys:
        del auths[key]
    if credentials is not None:
        auths[HUB_KEY if name == HUB else name] = {} if helper else _entry(credentials)
    if helper is None and before == credentials and len(keys) == (credentials is not None):
        return Change(path, name, before, credentials, document, is_needed=False)
    after = {**document, "auths": auths}
    is_needed = before != credentials or (helper is None and auths != section(document, "auths", path))
    return Change(path, name, before, credentials, after, is_needed, helper[:2] if helper else None)


def _helper(document: dict[str, Any], name: str, path: str) -> tuple[str, str, bool] | None:
    return helper_of(document, name, path) if "/" not in name else None


def helper_for(name: str, path: str) -> str:
    """The helper that keeps a registry's credentials because the file says so; empty where the file keeps them."""
    helper = _helper(read_auth_file(path), name, path)
    return helper[0] if helper else ""


def apply(change: Change) -> None:
    """Do what was planned. Raises Denied, naming the file, and as helpers do."""
    if change.helper:
        from .credential_helpers import erase, store

        if change.after:
            store(*change.helper, change.after, os.environ)
        else:
            erase(*change.helper, os.environ)
    path = os.path.realpath(change.path)
    with _locked_directory(path):
        # Planned anew: another process may have written the file since.
        _write(path, plan_change(path, change.name, change.after).document)


def logged_in(path: str) -> list[str]:
    """The registries, and paths in them, that a file has entries for; Docker's own as `docker.io`."""
    auths = section(read_auth_file(path), "auths", path)
    return sorted({HUB if is_for_domain(key, HUB) else _plain(key) for key in auths})


@contextmanager
def _locked_directory(path: str) -> Iterator[None]:
    """Keep other processes of this engine from changing files beside this one. Makes the directory. Raises Denied."""
    from fcntl import LOCK_EX, flock

    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Denied(f"write {path}: {error.strerror}", hint="check the directory's owner and mode") from error
    try:
        flock(fd, LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write(path: str, document: dict[str, Any]) -> None:
    """Replace the file's content; its owner stays. Raises Denied."""
    import json  # people read this file: it is indented

    try:
        found = os.stat(path) if os.path.exists(path) else None
        owner = (found.st_uid, found.st_gid) if found and found.st_uid != os.geteuid() else None
        data = (json.dumps(document, indent="\t", ensure_ascii=False) + "\n").encode()
        write_atomic(path, data, 0o600, owner=owner)
    except OSError as error:
        raise Denied(f"write {path}: {error.strerror}", hint="check the directory's owner and mode") from error


def _is_same(key: str, name: str) -> bool:
    return key == name or ("/" not in name and is_for_domain(key, name))


def _plain(key: str) -> str:
    host_and_path = key.partition("://")[2] or key
    host = host_and_path.partition("/")[0]
    return host if is_for_domain(key, host) else host_and_path


def _entry(credentials: Credentials) -> dict[str, str]:
    from binascii import b2a_base64

    if credentials.identity_token and not credentials.username:
        return {"identitytoken": credentials.identity_token}
    pair = f"{credentials.username}:{credentials.password}"
    return {"auth": b2a_base64(pair.encode(), newline=False).decode()}
