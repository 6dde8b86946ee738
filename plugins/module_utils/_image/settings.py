# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`/etc/hull/registries.json`: how registries are reached and who we are there.

    {
      "default_registry": "docker.io",          for names without a registry, such as debian:12
      "registries": {
        "registry.example.org": {               a registry with its port, or a path in one: the longest that fits wins
          "plain_http": false,                  true: HTTP without TLS. Loopback registries have it unless false is set
          "tls_verify": true,                   false: TLS without knowing who answers
          "ca_file": "/etc/hull/ca.pem",        certificates of authorities trusted besides the system's
          "client_cert": "/etc/hull/me.pem",    certificate (and key, if in one file) shown to the registry
          "client_key": "/etc/hull/me.key",
          "token_hosts": ["login.example.org"], further hosts that may see the credentials in exchange for a token
          "credentials": {"username": "ci", "password": "...", "identity_token": "..."}
        }
      }
    }

All keys are optional; others are refused, so a misspelt one can't silently mean the default. The file is only read.
"""

from __future__ import annotations

import os

from .._base.errors import Denied, Invalid
from .._base.values import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.paths import Paths

FILE = "registries.json"
_MAX_FILE = 1024 * 1024


class Credentials(Value):
    """Who we are at a registry: a user name with a password, an identity token that buys access tokens, or a ready
    access token.

    The text form hides the secrets, so a value that slips into a message tells nothing.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, ...)"


class RegistryConfig(Value):
    """How one registry, or one path in it, is reached. `plain_http` None: HTTP for loopback addresses only."""

    prefix: str = ""
    plain_http: bool | None = None
    tls_verify: bool = True
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    token_hosts: tuple[str, ...] = ()
    credentials: Credentials | None = None


class RegistrySettings(Value):
    """All that is configured. `override` are credentials given for one operation; they win over every other source."""

    default_registry: str = "docker.io"
    registries: tuple[RegistryConfig, ...] = ()
    override: Credentials | None = None
    source: str = ""

    def config_for(self, name: str) -> RegistryConfig:
        """The configuration of the longest prefix of `domain/path` that is set, with the override applied."""
        fitting = [entry for entry in self.registries if name == entry.prefix or name.startswith(entry.prefix + "/")]
        found = max(fitting, key=lambda entry: len(entry.prefix), default=RegistryConfig())
        return replace(found, credentials=self.override) if self.override else found

    def with_credentials(self, username: str, password: str, *, identity_token: str = "") -> RegistrySettings:
        """The same settings, used as this user."""
        return replace(self, override=Credentials(username, password, identity_token))


_TOP_KEYS: dict[str, type] = {"default_registry": str, "registries": dict}
_REGISTRY_KEYS: dict[str, type] = {
    "plain_http": bool,
    "tls_verify": bool,
    "ca_file": str,
    "client_cert": str,
    "client_key": str,
    "token_hosts": list,
    "credentials": dict,
}
_CREDENTIAL_KEYS: dict[str, type] = {"username": str, "password": str, "identity_token": str}
_TYPE_NAMES = {str: "text", dict: "an object", bool: "true or false", list: "a list of text"}


def load_settings(paths: Paths) -> RegistrySettings:
    """The settings in the configuration directory; the defaults where there is no file.

    Raises Invalid, naming the file and the key, Damaged for what is not JSON.
    """
    path = f"{paths.config}/{FILE}"
    data = read_small_file(path)
    return parse_settings(data, path) if data is not None else RegistrySettings(source=path)


def read_small_file(path: str) -> bytes | None:
    """The content of a configuration file of at most 1 MiB; None where it does not exist. Raises Denied, Invalid."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Denied(f"read {path}: {error.strerror}") from error
    try:
        data = b""
        while len(data) <= _MAX_FILE and (piece := os.read(fd, 65536)):
            data += piece
    except OSError as error:
        raise Invalid(f"read {path}: {error.strerror}") from error
    finally:
        os.close(fd)
    if len(data) > _MAX_FILE:
        raise Invalid(f"read {path}: larger than {_MAX_FILE} bytes")
    return data


def parse_settings(data: bytes, path: str) -> RegistrySettings:
    """The settings in the text of a file; `path` names it in errors."""
    from .._base.codec import parse

    document = _checked(parse(data, source=path), _TOP_KEYS, path, "")
    registries = tuple(_registry(prefix, value, path) for prefix, value in document.get("registries", {}).items())
    return RegistrySettings(document.get("default_registry", "docker.io"), registries, None, path)


def _checked(value: Any, keys: dict[str, type], path: str, where: str) -> dict[str, Any]:
    """The value as an object that has only these keys, each of its type."""
    if not isinstance(value, dict):
        raise Invalid(f"read {path}: {where or 'the document'} is not an object")
    for key, item in value.items():
        name = f"{where}.{key}" if where else key
        if key not in keys:
            raise Invalid(f"read {path}: unknown key {name}", hint="known there: " + ", ".join(keys))
        if not isinstance(item, keys[key]) or (isinstance(item, list) and not all(isinstance(x, str) for x in item)):
            raise Invalid(f"read {path}: {name} is not {_TYPE_NAMES[keys[key]]}")
    return value


def _registry(prefix: str, value: Any, path: str) -> RegistryConfig:
    where = f"registries.{prefix}"
    fields = dict(_checked(value, _REGISTRY_KEYS, path, where))
    if "credentials" in fields:
        fields["credentials"] = Credentials(
            **_checked(fields["credentials"], _CREDENTIAL_KEYS, path, where + ".credentials")
        )
    if "token_hosts" in fields:
        fields["token_hosts"] = tuple(fields["token_hosts"])
    for key in ("ca_file", "client_cert", "client_key"):
        if fields.get(key) and not fields[key].startswith("/"):
            raise Invalid(f"read {path}: {where}.{key} is not an absolute path")
    if "://" in prefix or prefix != prefix.strip("/") or not prefix:
        raise Invalid(f"read {path}: {where} is not a registry", hint="write host, host:port or host/path, no scheme")
    return RegistryConfig(prefix=prefix, **fields)
