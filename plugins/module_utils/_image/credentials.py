# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Credentials that other tools keep: containers' `auth.json` and Docker's `config.json`. Only read, never written.

Not here yet: credential helpers (`credHelpers`, `credsStore`); an entry that is empty because a helper holds the
secret counts as none.

Source: containers-auth.json(5); Docker's "config.json" properties.
"""

from __future__ import annotations

import os

from .._base.errors import Damaged
from .settings import Credentials, read_small_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")


def auth_files(environ: Mapping[str, str]) -> list[str]:
    """The files in which credentials may be, the one to be asked first first."""
    home = environ.get("HOME") or "/root"
    if environ.get("REGISTRY_AUTH_FILE"):
        return [environ["REGISTRY_AUTH_FILE"]]
    run = environ.get("XDG_RUNTIME_DIR") or ("/run" if os.getuid() == 0 else f"/run/user/{os.getuid()}")
    files = [f"{run}/containers/auth.json"]
    if os.getuid() == 0:
        files.append("/run/containers/0/auth.json")
    files.append((environ.get("XDG_CONFIG_HOME") or f"{home}/.config") + "/containers/auth.json")
    files.append((environ.get("DOCKER_CONFIG") or f"{home}/.docker") + "/config.json")
    return list(dict.fromkeys(files))


def find_credentials(name: str, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """The credentials for `domain/path`, most specific key first, from the first file that has any.

    Raises Denied or Damaged, naming the file, where one can't be read.
    """
    for path in auth_files(os.environ if environ is None else environ):
        data = read_small_file(path)
        found = _search(data, name, path) if data and data.strip() else None
        if found:
            return found
    return None


def _search(data: bytes, name: str, path: str) -> Credentials | None:
    from .._base.codec import parse

    document = parse(data, source=path)
    auths = document.get("auths") if isinstance(document, dict) else None
    if not isinstance(auths, dict):
        return None
    for key in _keys(name):
        entry = auths.get(key)
        found = _entry(entry, key, path) if isinstance(entry, dict) else None
        if found:
            return found
    domain = name.partition("/")[0]
    for key, entry in auths.items():
        if "://" in key and key.partition("://")[2].partition("/")[0] == domain and isinstance(entry, dict):
            return _entry(entry, key, path)
    return None


def _keys(name: str) -> list[str]:
    """`host/ns/repo`, `host/ns`, `host`, and what Docker calls its own registry."""
    parts = name.split("/")
    keys = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return keys + list(_HUB_KEYS) if parts[0] == "docker.io" else keys


def _entry(entry: dict[str, Any], key: str, path: str) -> Credentials | None:
    token, auth = entry.get("identitytoken") or "", entry.get("auth") or ""
    username, password = entry.get("username") or "", entry.get("password") or ""
    if not all(isinstance(value, str) for value in (token, auth, username, password)):
        raise Damaged(f"read {path}: the entry of {key} is malformed")
    if auth:
        from binascii import Error, a2b_base64

        try:
            username, colon, password = a2b_base64(auth).decode().rstrip("\0").partition(":")
            if not colon:
                raise ValueError("no colon")
        except (Error, ValueError) as error:
            raise Damaged(f"read {path}: auth of {key} is not base64 of user:password") from error
    return Credentials(username, password, token) if username or token else None
