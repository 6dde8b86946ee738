# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The text of `registries.json`.

    {
      "default_registry": "docker.io",          for names without a registry, such as debian:12
      "short_names": {"web": "registry.example.org/team/web"},    what a name without registry and tag stands for
      "foreign_layers": false,                  true: fetch layers from outside the registry, where a manifest says so
      "keep_blobs": true,                       false: compressed layers are not kept once they are unpacked
      "stall_timeout": 60,                      seconds after which a registry that sends nothing is given up
      "registries": {
        "registry.example.org": {               a registry with its port, a path in one, or *.example.org for all below:
                                                the longest that fits wins
          "plain_http": false,                  true: HTTP without TLS. Loopback registries have it unless false is set
          "tls_verify": true,                   false: TLS without knowing who answers
          "ca_file": "/etc/hull/ca.pem",        certificates of authorities trusted besides the system's
          "client_cert": "/etc/hull/me.pem",    certificate (and key, if in one file) shown to the registry
          "client_key": "/etc/hull/me.key",
          "token_hosts": ["login.example.org"], further hosts that may see the credentials in exchange for a token
          "credentials": {"username": "ci", "password": "...", "identity_token": "..."},
          "location": "other.example.org/x",    takes the place of the prefix in what is asked for
          "blocked": false,                     true: nothing is asked for
          "mirrors": [                          asked first, in this order, for pulls
            {"location": "mirror.example.org/hub", "digest_only": false}    and the keys above location
          ]
        }
      }
    }

All keys are optional; others are refused, so a misspelt one can't silently mean the default. The file is only read.
"""

from __future__ import annotations

from .._base.codec import parse
from .._base.config_file import checked
from .._base.errors import Invalid
from .reference import HUB, HUB_ALIASES, is_domain, names_registry, parse_reference
from .settings import STALL_TIMEOUT_S, Credentials, Mirror, RegistryConfig, RegistrySettings
from .urls import split_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.config_file import Kind

_TOP_KEYS: dict[str, Kind] = {
    "default_registry": str,
    "foreign_layers": bool,
    "keep_blobs": bool,
    "registries": dict,
    "short_names": dict,
    "stall_timeout": int,
}
_REACH_KEYS: dict[str, Kind] = {
    "plain_http": bool,
    "tls_verify": bool,
    "ca_file": str,
    "client_cert": str,
    "client_key": str,
    "token_hosts": list,
    "credentials": dict,
}
_REGISTRY_KEYS: dict[str, Kind] = {**_REACH_KEYS, "location": str, "blocked": bool, "mirrors": list}
_MIRROR_KEYS: dict[str, Kind] = {**_REACH_KEYS, "location": str, "digest_only": bool}
_CREDENTIAL_KEYS: dict[str, Kind] = {"username": str, "password": str, "identity_token": str}
_PLACE = "write host, host:port or host/path, no scheme"


def parse_settings(data: bytes, path: str) -> RegistrySettings:
    """The settings in the text of a file; `path` names it in errors. Raises Invalid, Damaged."""
    document = checked(parse(data, source=path), _TOP_KEYS, path, "")
    registries = tuple(_registry(prefix, value, path) for prefix, value in document.get("registries", {}).items())
    stall_timeout = document.get("stall_timeout", int(STALL_TIMEOUT_S))
    if not 1 <= stall_timeout <= 3600:
        raise Invalid(f"read {path}: stall_timeout is not between 1 and 3600 seconds")
    default_registry = document.get("default_registry", HUB)
    if not is_domain(default_registry):
        raise Invalid(f"read {path}: default_registry is not a registry", hint="write host or host:port, no scheme")
    _check_reach(registries, default_registry, path)
    return RegistrySettings(
        default_registry=default_registry,
        registries=registries,
        source=path,
        foreign_layers=document.get("foreign_layers", False),
        short_names=_short_names(document.get("short_names", {}), path),
        keep_blobs=document.get("keep_blobs", True),
        stall_timeout_s=float(stall_timeout),
    )


def _short_names(names: dict[str, Any], path: str) -> dict[str, str]:
    for name, meaning in names.items():
        where = f"read {path}: short_names.{name}"
        if not name or ":" in name or "@" in name or "/" in name:
            raise Invalid(f"{where} is not a short name", hint="it has no registry, no path and no tag")
        if not isinstance(meaning, str) or "@" in meaning or ":" in meaning.rpartition("/")[2] or "/" not in meaning:
            raise Invalid(f"{where} is not a name with its registry and without a tag")
        if not names_registry(meaning.partition("/")[0]):
            raise Invalid(f"{where} is not a name with its registry", hint=f"write {HUB}/{meaning} if that is meant")
        try:
            parse_reference(meaning)
        except Invalid as error:
            raise Invalid(f"{where}: {error.message}", hint=error.hint) from error
    return names


def _registry(prefix: str, value: Any, path: str) -> RegistryConfig:
    where = f"registries.{prefix}"
    fields = dict(checked(value, _REGISTRY_KEYS, path, where))
    wildcard, domain = prefix.startswith("*."), prefix[2:] if prefix.startswith("*.") else prefix
    if not _is_place(domain) or (wildcard and "/" in domain):
        raise Invalid(f"read {path}: {where} is not a registry", hint=f"{_PLACE}; or *.example.org")
    _check_location(fields, path, where)
    mirrors = tuple(
        _mirror(mirror, path, f"{where}.mirrors[{index}]") for index, mirror in enumerate(fields.pop("mirrors", []))
    )
    return RegistryConfig(prefix=prefix, mirrors=mirrors, **_reach(fields, path, where))


def _mirror(value: Any, path: str, where: str) -> Mirror:
    fields = dict(checked(value, _MIRROR_KEYS, path, where))
    if not fields.get("location"):
        raise Invalid(f"read {path}: {where}.location is missing", hint=_PLACE)
    _check_location(fields, path, where)
    return Mirror(fields.pop("location"), fields.pop("digest_only", False), _reach(fields, path, where))


def _reach(fields: dict[str, Any], path: str, where: str) -> dict[str, Any]:
    """The fields of RegistryConfig in an object whose keys are checked."""
    if "credentials" in fields:
        given = checked(fields["credentials"], _CREDENTIAL_KEYS, path, where + ".credentials")
        fields["credentials"] = Credentials(**given)
    if "token_hosts" in fields:
        if not all(isinstance(host, str) for host in fields["token_hosts"]):
            raise Invalid(f"read {path}: {where}.token_hosts is not a list of text")
        fields["token_hosts"] = tuple(fields["token_hosts"])
    for key in ("ca_file", "client_cert", "client_key"):
        if fields.get(key) and not fields[key].startswith("/"):
            raise Invalid(f"read {path}: {where}.{key} is not an absolute path")
    return fields


def _check_location(fields: dict[str, Any], path: str, where: str) -> None:
    if "location" in fields and not _is_place(fields["location"]):
        raise Invalid(f"read {path}: {where}.location is not a registry", hint=_PLACE)


def _is_place(text: str) -> bool:
    """Whether something can be asked for there; more than images' names can begin with, as `location` never is one."""
    authority, *components = text.split("/")
    host, port = split_port(authority, 443)
    return (
        text.split() == [text]
        and bool(host)
        and port > 0
        and not authority.endswith(":")
        and all(component not in ("", ".", "..") for component in [host, *components])
        and not any(sign in text for sign in "*@?#")
    )


def _check_reach(registries: tuple[RegistryConfig, ...], default_registry: str, path: str) -> None:
    """Refuse an entry for what is asked for nowhere: who blocks `library/debian` means `docker.io/library/debian`."""
    places = [entry.location for entry in registries]
    places += [mirror.location for entry in registries for mirror in entry.mirrors]
    hosts = {default_registry, *(place.partition("/")[0] for place in places)}
    for prefix in (entry.prefix for entry in registries if not entry.prefix.startswith("*.")):
        first = prefix.partition("/")[0]
        is_alias = first in HUB_ALIASES
        if first in hosts or (names_registry(first) and not is_alias):
            continue
        meant = HUB + prefix[len(first) :] if is_alias else f"{HUB}/{prefix}"
        raise Invalid(f"read {path}: registries.{prefix} is no registry's", hint=f"write {meant} if that is meant")
