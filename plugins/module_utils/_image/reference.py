# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Names of images: `registry.example.org:5000/team/app:1.2@sha256:...` and what people shorten it to.

Pure text; whether such an image exists is asked of a registry or the records.

Source: OCI distribution specification 1.1, "Pulling manifests" (path and tag); Docker's rule for what the first
component is: a registry where it has a dot, a colon or a capital letter, or is `localhost`.
"""

from __future__ import annotations

from .._base.digests import check_digest
from .._base.errors import Invalid
from .._base.values import Value

HUB = "docker.io"
HUB_ALIASES = ("index.docker.io", "registry-1.docker.io")
_OFFICIAL = "library/"
_MAX_NAME = 255
_MAX_TAG = 128

_DIGITS = frozenset("0123456789")
_LOWER = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyz")
_LETTERS = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX = frozenset("0123456789abcdef")
_TAG = _LETTERS | frozenset("_.-")
_SEPARATORS = ("__", "_", ".")


class Reference(Value):
    """One image name, complete: the registry's domain (with its port), the repository there, and a tag or a digest.

    A tag is there or a digest, or both; where both are, the digest decides and the tag is for people.
    """

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Domain and path: `docker.io/library/debian`."""
        return f"{self.domain}/{self.path}"

    @property
    def canonical(self) -> str:
        """The name under which records keep it: `docker.io/library/debian:12`, or `...@sha256:...` with a digest."""
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"

    @property
    def familiar(self) -> str:
        """As people write it: `debian:12`; domains other than docker.io stay."""
        name = self.path if self.domain == HUB else self.name
        if self.domain == HUB and name.startswith(_OFFICIAL) and "/" not in name[len(_OFFICIAL) :]:
            name = name[len(_OFFICIAL) :]
        tag = f":{self.tag}" if self.tag else ""
        return name + tag + (f"@{self.digest}" if self.digest else "")

    @property
    def version(self) -> str:
        """What a registry is asked for: the digest if there is one, else the tag."""
        return self.digest or self.tag


def parse_reference(text: str, *, default_domain: str = HUB) -> Reference:
    """The reference that a text means; `default_domain` is for names without a registry, the tag defaults to latest.

    Raises Invalid, naming the reference and the part that is wrong.
    """
    name, at, digest = text.partition("@")
    if at:
        check_digest(digest, what=f"image name {text[:300]!r}: digest")
    name, tag = _split_tag(name)
    if tag is not None and not _is_tag(tag):
        raise _invalid(text, f"tag {tag[:140]!r}", "a tag has up to 128 letters, digits, '_', '.' and '-'")
    domain, path = _split_domain(name, default_domain)
    if not is_domain(domain):
        raise _invalid(text, f"registry {domain!r}", "write a host name or address, with a port if needed: host:5000")
    _check_path(text, domain, path)
    return Reference(domain, path, tag or ("" if digest else "latest"), digest)


def normal_name(name: str) -> str:
    """A name, `domain/path`, of which other spellings of the same registry's domain are the same.

    Names are kept and asked for as they are written; this is for rules that no other spelling may evade.
    """
    domain, slash, path = name.partition("/")
    domain = domain.lower()
    host, colon, port = _split_bracket(domain) if domain.startswith("[") else domain.partition(":")
    if colon and _DIGITS.issuperset(port):
        domain = host if int(port or "443") == 443 else f"{host}:{int(port)}"
    return (HUB if domain in HUB_ALIASES else domain) + slash + path


def _invalid(text: str, what: str, hint: str) -> Invalid:
    return Invalid(f"image name {text[:300]!r}: {what} is not valid", hint=hint)


def _split_tag(name: str) -> tuple[str, str | None]:
    """The name and the tag after its last colon; a colon before a slash belongs to a port."""
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag and not (tag.endswith("]") and "/" not in head) else (name, None)


def _split_domain(name: str, default_domain: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and names_registry(first):
        domain, path = first, rest
    else:
        domain, path = default_domain, name
    if domain in HUB_ALIASES:
        domain = HUB
    if domain == HUB and path and "/" not in path:
        path = _OFFICIAL + path
    return domain, path


def names_registry(first: str) -> bool:
    """Whether the first component of a name of several is a registry's domain, by Docker's rule."""
    return first == "localhost" or "." in first or ":" in first or first != first.lower()


def is_domain(domain: str) -> bool:
    """Whether a registry can be called so: a host's name or address, with its port if it has one."""
    host, colon, port = domain.partition(":") if not domain.startswith("[") else _split_bracket(domain)
    if colon and not (0 < len(port) <= 5 and _DIGITS.issuperset(port) and 0 < int(port) < 65536):
        return False
    if host.startswith("["):
        return len(host) > 4 and (_HEX | frozenset("ABCDEF:.")).issuperset(host[1:-1])
    return len(host) <= _MAX_NAME and all(_is_label(label) for label in host.split("."))


def _split_bracket(domain: str) -> tuple[str, str, str]:
    host, bracket, rest = domain.partition("]")
    if not bracket or (rest and not rest.startswith(":")):
        return "", ":", ""
    return host + bracket, rest[:1], rest[1:]


def _is_label(label: str) -> bool:
    return bool(label) and (_LETTERS | {"-"}).issuperset(label) and label[0] != "-" and label[-1] != "-"


def _is_tag(tag: str) -> bool:
    return 0 < len(tag) <= _MAX_TAG and tag[0] not in ".-" and _TAG.issuperset(tag)


def _check_path(text: str, domain: str, path: str) -> None:
    if not path or not all(_is_component(component) for component in path.split("/")):
        hint = "use lower-case letters and digits, between them '.', '_', '__' or '-', and '/' between components"
        raise _invalid(text, f"repository {path!r}", hint)
    if len(domain) + 1 + len(path) > _MAX_NAME:
        raise _invalid(text, f"name of {len(domain) + 1 + len(path)} characters", f"at most {_MAX_NAME} are allowed")
    last = path.rpartition("/")[2]
    if path == _OFFICIAL + last and len(last) == 64 and _HEX.issuperset(last):
        raise _invalid(text, "repository of 64 hex digits", "it reads like an image's id; ids can't be names")


def _is_component(component: str) -> bool:
    """Lower-case letters and digits, with one `.`, one or two `_`, or any number of `-` between them."""
    position = 0
    while position < len(component):
        start = position
        while position < len(component) and component[position] in _LOWER:
            position += 1
        if position == start:
            return False
        if position == len(component):
            return True
        position = _after_separator(component, position)
    return False


def _after_separator(component: str, position: int) -> int:
    """Where a separator that begins here ends; the same position where there is none."""
    if component[position] == "-":
        while position < len(component) and component[position] == "-":
            position += 1
        return position
    found = next((mark for mark in _SEPARATORS if component.startswith(mark, position)), "")
    return position + len(found) if found else len(component)
