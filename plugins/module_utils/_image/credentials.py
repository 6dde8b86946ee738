# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Credentials in files: our own `auth.json`, containers' `auth.json`, Docker's `config.json`. Only read here.

Loaded when a registry asks who we are. `credential_files.py` writes, `credential_helpers.py` asks the programs that
some of these files name.

Source: containers-auth.json(5); Docker's "config.json" properties.
"""

from __future__ import annotations

import os

from .._base.codec import parse
from .._base.config_file import read_small_file
from .._base.errors import Damaged
from .settings import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HUB = "docker.io"
HUB_KEY = "https://index.docker.io/v1/"
HUB_KEYS = (HUB_KEY, "index.docker.io", "registry-1.docker.io")
TOKEN_USER = "<token>"  # Docker's name for who has an identity token only
_OLD_FILE = ".dockercfg"  # a flat map of what is below `auths` elsewhere


def auth_files(environ: Mapping[str, str], own_file: str = "") -> list[str]:
    """The files in which credentials may be, the one to be asked first first.

    A file that the environment names takes the place of those of other tools.
    """
    home = environ.get("HOME") or "/root"
    own = [own_file] if own_file else []
    if environ.get("REGISTRY_AUTH_FILE"):
        return list(dict.fromkeys([environ["REGISTRY_AUTH_FILE"], *own]))
    run = environ.get("XDG_RUNTIME_DIR") or ("/run" if os.getuid() == 0 else f"/run/user/{os.getuid()}")
    files = [*own, f"{run}/containers/auth.json"]
    if os.getuid() == 0:
        files.append("/run/containers/0/auth.json")
    files.append((environ.get("XDG_CONFIG_HOME") or f"{home}/.config") + "/containers/auth.json")
    files.append((environ.get("DOCKER_CONFIG") or f"{home}/.docker") + "/config.json")
    files.append(f"{home}/{_OLD_FILE}")
    return list(dict.fromkeys(files))


def find_credentials(name: str, environ: Mapping[str, str] | None = None, *, own_file: str = "") -> Credentials | None:
    """The credentials for `domain/path`, most specific key first, from the first file that has any.

    Raises Denied or Damaged, naming the file, where one can't be read; NotFound, Denied, Timeout for helpers.
    """
    environ = os.environ if environ is None else environ
    for path in auth_files(environ, own_file):
        found = search_file(path, name, environ)
        if found:
            return found
    return None


def search_file(path: str, name: str, environ: Mapping[str, str]) -> Credentials | None:
    """The credentials that one file, or a helper that it names, has for `domain/path`."""
    document = read_auth_file(path)
    auths = section(document, "auths", path) if not path.endswith("/" + _OLD_FILE) else document
    domain = name.partition("/")[0]
    helper = helper_of(document, domain, path)
    if helper and helper[2]:
        return _ask(helper[0], helper[1], environ)
    found = _search(auths, name, path)
    return found or (_ask(helper[0], helper[1], environ) if helper else None)


def read_auth_file(path: str) -> dict[str, Any]:
    """The document in a file of credentials; empty where there is none. Raises Denied, Damaged."""
    data = read_small_file(path)
    document = parse(data, source=path) if data and data.strip() else {}
    if not isinstance(document, dict):
        raise Damaged(f"read {path}: not a JSON object")
    return document


def section(document: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    """An object in the document; empty where it has none. Raises Damaged."""
    found = document.get(name)
    if found is not None and not isinstance(found, dict):
        raise Damaged(f"read {path}: {name} is not an object")
    return found or {}


def helper_of(document: dict[str, Any], domain: str, path: str) -> tuple[str, str, bool] | None:
    """The helper that keeps a registry's credentials, the key to ask it for, and whether it is for this one only."""
    helpers = section(document, "credHelpers", path)
    keys = [domain, *HUB_KEYS] if domain == HUB else [domain]
    chosen = next(((helpers[key], key, True) for key in keys if helpers.get(key)), None)
    if chosen is None and document.get("credsStore"):
        chosen = (document["credsStore"], HUB_KEY if domain == HUB else domain, False)
    if chosen is not None and not isinstance(chosen[0], str):
        raise Damaged(f"read {path}: the credential helper for {domain} is not text")
    return chosen


def _ask(helper: str, key: str, environ: Mapping[str, str]) -> Credentials | None:
    from .credential_helpers import ask

    return ask(helper, key, environ)


def _search(auths: dict[str, Any], name: str, path: str) -> Credentials | None:
    for key in _keys(name):
        entry = auths.get(key)
        found = parse_entry(entry, key, path) if isinstance(entry, dict) else None
        if found:
            return found
    domain = name.partition("/")[0]
    for key, entry in auths.items():
        if is_for_domain(key, domain) and isinstance(entry, dict):
            found = parse_entry(entry, key, path)
            if found:
                return found
    return None


def _keys(name: str) -> list[str]:
    """`host/ns/repo`, `host/ns`, `host`, and what Docker calls its own registry."""
    parts = name.split("/")
    keys = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return keys + list(HUB_KEYS) if parts[0] == HUB else keys


def is_for_domain(key: str, domain: str) -> bool:
    """Whether a key means a whole registry: `host`, `https://host/v1/` and the like."""
    scheme, mark, rest = key.partition("://")
    host, _, path = (rest if mark else key).partition("/")
    if not mark and path.strip("/") not in ("", "v1", "v2"):
        return False
    return host == domain or (domain == HUB and host in HUB_KEYS)


def parse_entry(entry: dict[str, Any], key: str, path: str) -> Credentials | None:
    """What an entry holds; None for an empty one, whose secret a helper has. Raises Damaged."""
    values = [entry.get(name) or "" for name in ("identitytoken", "registrytoken", "auth", "username", "password")]
    if not all(isinstance(value, str) for value in values):
        raise Damaged(f"read {path}: the entry of {key} is malformed")
    token, registry_token, auth, username, password = values
    if auth:
        from binascii import Error, a2b_base64

        try:
            username, colon, password = a2b_base64(auth).decode().rstrip("\0").partition(":")
            if not colon:
                raise ValueError("no colon")
        except (Error, ValueError) as error:
            raise Damaged(f"read {path}: auth of {key} is not base64 of user:password") from error
    if username == TOKEN_USER:
        username, token, password = "", token or password, ""
    found = Credentials(username, password, token, registry_token)
    return found if username or token or registry_token else None
