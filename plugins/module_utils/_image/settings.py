# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How registries are reached and who we are there: `/etc/hull/registries.json`, which `settings_file.py` reads."""

from __future__ import annotations

from .._base.config_file import read_small_file
from .._base.values import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.paths import Paths
    from .reference import Reference

FILE = "registries.json"
AUTH_FILE = "auth.json"
POLICY_FILE = "policy.json"
CERTIFICATES = "certs.d"
OTHERS_CERTIFICATES = ("/etc/containers/certs.d", "/etc/docker/certs.d")
STALL_TIMEOUT_S = 60.0


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


class Mirror(Value):
    """Where a copy of what a registry has may be. `given`: fields of RegistryConfig that this mirror has of its own."""

    location: str
    digest_only: bool = False
    given: dict[str, Any] = {}


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
    location: str = ""  # what takes the place of the prefix in requests
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()
    certificates: tuple[str, ...] = ()  # directories that may have one named `host:port` with certificates
    stall_timeout_s: float = STALL_TIMEOUT_S

    def locate(self, name: str) -> str:
        """The name under which `domain/path` is really asked for."""
        return self.moved(name, self.location) if self.location else name

    def moved(self, name: str, location: str) -> str:
        """The name with `location` in the place of the prefix; a wildcard stands for the whole domain."""
        covered = name.partition("/")[0] if self.prefix.startswith("*.") else self.prefix
        return location + name[len(covered) :]


class RegistrySettings(Value):
    """All that is configured. `override` are credentials given for one operation; they win over every other source."""

    default_registry: str = "docker.io"
    registries: tuple[RegistryConfig, ...] = ()
    override: Credentials | None = None
    source: str = ""
    foreign_layers: bool = False
    policy_file: str = ""  # who vouches for images (`policy.py`); empty: no policy
    short_names: dict[str, str] = {}
    keep_blobs: bool = True
    stall_timeout_s: float = STALL_TIMEOUT_S
    auth_file: str = ""  # where `hull login` keeps credentials; empty: nowhere
    certificates: tuple[str, ...] = ()

    def config_for(self, name: str) -> RegistryConfig:
        """The configuration of the longest prefix of `domain/path` that is set; one with a wildcard comes last.

        The override is in it, unless what has this prefix really is at another registry: nobody gave it for that.
        """
        found = self.config_without_override(name)
        is_same = found.locate(name).partition("/")[0] == name.partition("/")[0]
        return replace(found, credentials=self.override) if self.override and is_same else found

    def config_without_override(self, name: str) -> RegistryConfig:
        """As `config_for`, whatever user this operation is done as."""
        found, length = RegistryConfig(), -1
        for entry in self.registries:
            if _fits(entry.prefix, name):
                weight = 0 if entry.prefix.startswith("*.") else 1000
                if weight + len(entry.prefix) > length:
                    found, length = entry, weight + len(entry.prefix)
        return replace(found, certificates=self.certificates, stall_timeout_s=self.stall_timeout_s)

    def with_credentials(self, username: str, password: str, *, identity_token: str = "") -> RegistrySettings:
        """The same settings, used as this user."""
        return replace(self, override=Credentials(username, password, identity_token))

    def reference(self, text: str) -> Reference:
        """The reference that a user's text means: short names stand for what is set, else the default registry's.

        Raises Invalid.
        """
        from .reference import parse_reference

        cut = min(place for place in (text.find("@"), text.find(":"), len(text)) if place >= 0)
        text = self.short_names.get(text[:cut], text[:cut]) + text[cut:]
        return parse_reference(text, default_domain=self.default_registry)


def _fits(prefix: str, name: str) -> bool:
    if prefix.startswith("*."):
        return name.partition("/")[0].endswith(prefix[1:])
    return name == prefix or name.startswith(prefix + "/")


def load_settings(paths: Paths) -> RegistrySettings:
    """The settings in the configuration directory; the defaults where there is no file.

    Raises Invalid, naming the file and the key, Damaged for what is not JSON.
    """
    path = f"{paths.config}/{FILE}"
    data = read_small_file(path)
    settings = RegistrySettings(source=path)
    if data is not None:
        from .settings_file import parse_settings

        settings = parse_settings(data, path)
    return replace(
        settings,
        policy_file=f"{paths.config}/{POLICY_FILE}",
        auth_file=f"{paths.config}/{AUTH_FILE}",
        certificates=(f"{paths.config}/{CERTIFICATES}", *OTHERS_CERTIFICATES),
    )
