# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Pulls from mirrors: asked one after the other, the registry itself last. Loaded only where there are mirrors.

A mirror is trusted with what a tag means, unless it is for digests only; bytes are checked against digests as ever. It
never gets the credentials of the registry or of the task. One that can't be reached is not asked again in the same
operation. Requests other than pulls go to the registry itself.
"""

from __future__ import annotations

from functools import partial

from .._base.digests import is_digest
from .._base.errors import HullError, NotFound
from .._base.values import Value, replace
from .registry import Document, Registry, credentials_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from .http import Response
    from .manifest import Descriptor
    from .settings import Credentials, RegistryConfig, RegistrySettings

    Answer = TypeVar("Answer")


class OpenMirror(Value):
    """A mirror with its registry and what is called there instead of a name's prefix."""

    registry: Registry
    location: str
    digest_only: bool


def open_mirrors(name: str, config: RegistryConfig, settings: RegistrySettings) -> tuple[OpenMirror, ...]:
    """The mirrors that are set for `domain/path`; blocked ones are left out. Nothing is requested."""
    found = []
    for mirror in config.mirrors:
        place = config.moved(name, mirror.location)
        own = settings.config_without_override(place)
        if own.blocked:
            continue
        own = replace(own, prefix="", location="", mirrors=(), **mirror.given)
        registry = Registry(place.partition("/")[0], own, find=credentials_of(place, settings))
        found.append(OpenMirror(registry, mirror.location, mirror.digest_only))
    return tuple(found)


class MirroredRegistry(Registry):
    """A registry whose pulls are tried at mirrors first."""

    def __init__(
        self,
        domain: str,
        config: RegistryConfig,
        mirrors: tuple[OpenMirror, ...],
        find: Callable[[], Credentials | None],
    ) -> None:
        super().__init__(domain, config, find=find)
        self._mirrors = list(mirrors)
        self._last: OpenMirror | None = None

    def forget_connections(self) -> None:
        """As `Registry.forget_connections`, for the mirrors too."""
        super().forget_connections()
        for mirror in self._mirrors:
            mirror.registry.forget_connections()

    @property
    def serving(self) -> str:
        """Who gave the last answer, for messages."""
        return f"mirror {self._last.location} for {self.domain}" if self._last else self.domain

    def head(self, repository: str, version: str) -> str:
        """As `Registry.head`, from the first that has it."""
        own = partial(super().head, repository, version)
        return self._first(repository, version, lambda mirror, name: mirror.head(name, version), own)

    def manifest(self, repository: str, version: str) -> Document:
        """As `Registry.manifest`, from the first that has it."""
        own = partial(super().manifest, repository, version)
        return self._first(repository, version, lambda mirror, name: mirror.manifest(name, version), own)

    def small_blob(self, repository: str, descriptor: Descriptor) -> bytes:
        """As `Registry.small_blob`, from the first that has it whole."""
        own = partial(super().small_blob, repository, descriptor)
        return self._first(repository, descriptor.digest, lambda mirror, name: mirror.small_blob(name, descriptor), own)

    def open_blob(self, repository: str, digest: str, offset: int) -> Response:
        """As `Registry.open_blob`, from the first that has it. Whether it is whole, only its end shows."""
        own = partial(super().open_blob, repository, digest, offset)
        return self._first(repository, digest, lambda mirror, name: mirror.open_blob(name, digest, offset), own)

    def note_fault(self) -> None:
        """Ask the mirror whose transfer broke off no more."""
        if self._last in self._mirrors:
            self._mirrors.remove(self._last)

    def _first(
        self, repository: str, version: str, ask: Callable[[Registry, str], Answer], own: Callable[[], Answer]
    ) -> Answer:
        """What the first mirror answers that can, else the registry itself; its errors name the mirrors' too."""
        failures = []
        for mirror in list(self._mirrors):
            if mirror.digest_only and not is_digest(version):
                continue
            place = self._config.moved(f"{self.domain}/{repository}", mirror.location)
            self._last = mirror
            try:
                answer = ask(mirror.registry, place.partition("/")[2])
            except HullError as error:
                failures.append(error.message)
                self._note_failure(mirror, error)
                continue
            self.warnings += [text for text in mirror.registry.warnings if text not in self.warnings]
            return answer
        self._last = None
        try:
            return own()
        except HullError as error:
            if failures:
                error.hint = "; ".join(filter(None, (error.hint, "before that, at its mirrors", *failures)))
            raise

    def _note_failure(self, mirror: OpenMirror, error: HullError) -> None:
        """One that lacks something may have the rest; one that fails is not asked again, and people are told."""
        if not isinstance(error, NotFound) and mirror in self._mirrors:
            self._mirrors.remove(mirror)
            self.warnings.append(f"mirror {mirror.location} is passed over: {error.message}")
