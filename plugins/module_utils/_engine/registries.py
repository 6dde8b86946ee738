# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Registries: logged in to and out of, searched, asked what they have. Nothing here touches images of this host."""

from __future__ import annotations

import os

from .._base.errors import Denied, HullError, Invalid, NotFound, RegistryError
from .._base.plan import Action, Outcome
from .._base.values import Value
from .._image.reference import parse_reference
from .._image.settings import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._image.listings import Hit
    from .._image.reference import Reference
    from .._image.registry import Document, Registry
    from .._image.settings import RegistrySettings
    from .engine import Engine


class Login(Value):
    """Who wants to be known at a registry. `path` is the file that keeps it; empty: the engine's own."""

    server: str
    username: str = ""
    password: str = ""
    path: str = ""
    reauthorize: bool = False  # ask the registry even if the file has these credentials


def server_name(engine: Engine, text: str) -> str:
    """The registry, or path in one, that people write with a scheme or as Docker's old URL; empty: the default one.

    Raises Invalid.
    """
    name = text.partition("://")[2] if "://" in text else text
    name = name.rstrip("/")
    for ending in ("/v1", "/v2"):
        name = name[: -len(ending)] if name.endswith(ending) else name
    domain, slash, path = (name if text else engine.settings().default_registry).partition("/")
    try:
        reference = parse_reference(path or "x", default_domain=domain)
        if path and "." not in domain and ":" not in domain and domain != "localhost":
            raise Invalid("no registry")
    except Invalid as error:
        shown = text.rpartition("@")[2]  # a password may stand before it
        raise Invalid(f"{shown!r} is not a registry", hint="write host, host:port or host/path") from error
    return f"{reference.domain}/{path}" if slash and path else reference.domain


def credential_file(engine: Engine, path: str = "") -> str:
    """The file to keep credentials in: the one given, or that REGISTRY_AUTH_FILE names, or the engine's own."""
    return path or os.environ.get("REGISTRY_AUTH_FILE") or engine.settings().auth_file


def where_kept(engine: Engine, server: str, path: str = "") -> str:
    """Where the credentials of a registry are kept, for people."""
    from .._image.credential_files import helper_for

    file = credential_file(engine, path)
    helper = helper_for(server_name(engine, server), file)
    return f"by docker-credential-{helper}" if helper else f"in {file}, readable for its owner only but not encrypted"


def log_in(engine: Engine, login: Login, *, check: bool = False) -> Outcome:
    """Have the file keep these credentials, once the registry has accepted them.

    Raises Denied where it does not, and nothing is written then.
    """
    from .._image.credential_files import apply, plan_change

    name = server_name(engine, login.server)
    wanted = Credentials(login.username, login.password)
    if not wanted.username or not wanted.password:
        raise Invalid("it is empty", option="password" if wanted.username else "username")
    if ":" in wanted.username:
        raise Invalid("a user name has no colon", option="username")
    change = plan_change(credential_file(engine, login.path), name, wanted)
    if change.is_needed or login.reauthorize:
        check_credentials(engine, name, wanted)
    before, after = _shown(name, change.before), _shown(name, wanted)
    if not change.is_needed:
        return Outcome(False, before=before, after=after)
    if not check:
        apply(change)
    reason = "not logged in" if change.before is None else "other user" if before != after else "other password"
    return Outcome(True, (Action("logged_in", name, reason),), before, after)


def log_out(engine: Engine, server: str, *, path: str = "", check: bool = False) -> Outcome:
    """Have the file keep no credentials for a registry. The registry is not asked."""
    from .._image.credential_files import apply, plan_change

    name = server_name(engine, server)
    change = plan_change(credential_file(engine, path), name, None)
    if not change.is_needed:
        return Outcome(False, before=_shown(name, None), after=_shown(name, None))
    if not check:
        apply(change)
    return Outcome(True, (Action("logged_out", name),), _shown(name, change.before), _shown(name, None))


def logins(engine: Engine, path: str = "") -> list[str]:
    """The registries that the file has credentials for."""
    from .._image.credential_files import logged_in

    return logged_in(credential_file(engine, path))


def _shown(name: str, credentials: Credentials | None) -> dict[str, Any]:
    user = credentials.username or "<token>" if credentials else None
    return {"registry": name, "logged_in": credentials is not None, "username": user}


def check_credentials(engine: Engine, name: str, credentials: Credentials) -> None:
    """Ask the registry whether it accepts credentials. Raises Denied, RegistryError."""
    with _registry_at(engine.settings(), name, credentials) as registry:
        try:
            registry.ping()
        except Denied as error:
            raise Denied(error.message, hint="check the user name and password") from error


def _registry_at(settings: RegistrySettings, name: str, credentials: Credentials | None) -> Registry:
    """The registry itself, never a mirror; without credentials given, as whoever files say."""
    from .._image.registry import Registry, credentials_of

    config = settings.config_without_override(name)
    return Registry(name.partition("/")[0], config, credentials=credentials, find=credentials_of(name, settings))


def search(engine: Engine, term: str, limit: int) -> tuple[str, list[Hit]]:
    """The registry and its repositories that a term finds; `registry/term` searches there, else the default one does.

    `registry/`, or `registry:port`, is all that it has.

    Raises Unsupported where it can't be searched.
    """
    from .._image.listings import search as search_registry

    settings = engine.settings()
    first, slash, rest = term.partition("/")
    has_domain = ":" in first or slash and ("." in first or first == "localhost")
    name, words = (server_name(engine, first), rest) if has_domain else (settings.default_registry, term)
    with _registry_at(settings, name, None) as registry:
        return registry.domain, search_registry(registry, words, limit)


class Question(Value):
    """What to find out: about a registry, and where `name` is given, about a repository or image in one."""

    server: str = ""
    name: str = ""
    catalog: bool = False
    username: str = ""
    password: str = ""


def describe(engine: Engine, question: Question) -> dict[str, Any]:
    """What a registry says about itself and what it has, for registry_info.

    One that can't be reached or does not let us in is a result, not an error.
    """
    settings = engine.settings()
    if question.username:
        settings = settings.with_credentials(question.username, question.password)
    reference = settings.reference(question.name) if question.name else None
    name = reference.name if reference else server_name(engine, question.server)
    facts: dict[str, Any] = {}
    with _registry_at(settings, name, settings.override) as registry:
        facts["registry"] = _registry_facts(registry)
        is_open = facts["registry"]["reachable"] and not facts["registry"]["error"]
        if question.catalog and is_open:
            facts["repositories"] = registry.catalog()
        if reference and is_open:
            has_version = ":" in question.name.rpartition("/")[2] or "@" in question.name
            facts.update(_repository_facts(registry, reference, with_image=has_version))
    return facts


def _registry_facts(registry: Registry) -> dict[str, Any]:
    facts = {"name": registry.domain, "url": registry.home.text.rstrip("/"), "reachable": True, "error": ""}
    version = ""
    try:
        version = registry.ping().get("docker-distribution-api-version")
    except Denied as error:
        facts["error"] = str(error)
    except HullError as error:
        facts.update(reachable=isinstance(error, RegistryError) and error.status > 0, error=str(error))
    return {**facts, "api_version": version, "authentication": registry.auth_scheme or "none"}


def _repository_facts(registry: Registry, reference: Reference, *, with_image: bool) -> dict[str, Any]:
    """Tags, and the image where it is asked for; a registry may have an image in a repository that it does not list."""
    facts: dict[str, Any] = {"repository": reference.name}
    try:
        facts = {**facts, "exists": True, "tags": registry.tags(reference.path)}
    except NotFound:
        facts = {**facts, "exists": False, "tags": []}
    if not with_image:
        return facts
    try:
        document = registry.manifest(reference.path, reference.version)
    except NotFound:
        return {**facts, "exists": False}
    return {**facts, "exists": True, "image": _image_facts(reference, document)}


def _image_facts(reference: Reference, document: Document) -> dict[str, Any]:
    from .._image.manifest import Index, parse_artifact, parse_manifest

    try:
        found = parse_manifest(document.data, document.media_type, document.digest)
    except HullError:
        found = parse_artifact(document.data, document.media_type, document.digest)
    facts = {"reference": reference.canonical, "digest": document.digest, "media_type": found.media_type}
    if not isinstance(found, Index):
        return {**facts, "platforms": [], "size": sum(layer.size for layer in found.layers)}
    entries = [entry for entry in found.manifests if not entry.is_attestation]
    return {
        **facts,
        "platforms": [
            {"platform": str(entry.platform) if entry.platform else "", "digest": entry.digest} for entry in entries
        ],
    }
