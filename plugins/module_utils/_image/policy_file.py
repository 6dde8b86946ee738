# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The text of `policy.json` (`policy.py` says what it is for) and what it means for a reference.

The `identity` of a demand for signatures says which name has to stand in a signature. It is the name that was signed,
so a signature for one repository does not vouch for what somebody copied to another:

    "repository"                                                  the repository that is pulled; the default
    "exact"                                                       and its tag, where the image is pulled by tag
    {"repository": "registry.example.org/team/app"}               this one, wherever it is pulled from
    {"prefix": "mirror.lan/team", "signed_prefix": "registry.example.org/team"}    the repository that is pulled, with
                                                                  one prefix in the place of the other
"""

from __future__ import annotations

from .._base.codec import parse
from .._base.errors import Denied, HullError, Invalid
from .._base.values import Value
from .reference import Reference, normal_name, parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ACCEPT, DIGEST, REJECT = "accept", "digest", "reject"
_RULES = (ACCEPT, DIGEST, REJECT)
PEM = "-----BEGIN"
_CHOICES = 'it is "accept", "digest", "reject" or {"signed_by": [keys]}'
_PLACE = "write a registry as host or host:port, a path in one as host/path, or *.example.org"


class SignedBy(Value):
    """A demand: a signature by one of these keys. `where` names the place in the policy file that makes it."""

    where: str
    keys: tuple[str, ...]  # absolute paths of files, or PEM texts; `signatures.load_keys` reads them
    is_exact: bool = False
    repository: str = ""
    prefix: str = ""
    signed_prefix: str = ""

    def accepts(self, signed: Reference, pulled: Reference) -> bool:
        """Whether a signature for the one name vouches for the other."""
        wanted = normal_name(pulled.name)
        if self.repository:
            wanted = self.repository
        elif self.prefix:
            if not _covers(self.prefix, wanted):
                return False
            wanted = self.signed_prefix + wanted[len(self.prefix) :]
        is_tag_right = not self.is_exact or bool(pulled.digest) or signed.tag == pulled.tag
        return normal_name(signed.name) == wanted and is_tag_right


class Policy(Value):
    """What a policy file says. A rule is one of the words, or a demand for signatures."""

    source: str
    default: str | SignedBy
    accepts_archives: bool
    images: tuple[tuple[str, str | SignedBy], ...]

    def admit(self, reference: Reference) -> SignedBy | None:
        """As `policy.admit`."""
        scope, rule = self._rule_for(normal_name(reference.name))
        where = f"{self.source} ({f'images.{scope}' if scope else 'default'})"
        if isinstance(rule, SignedBy):
            return rule
        if rule == REJECT:
            raise Denied(
                f"image {reference.familiar}: rejected by {where}", hint="change the policy, or name another image"
            )
        if rule == DIGEST and not reference.digest:
            raise Denied(
                f"image {reference.familiar}: {where} wants images by digest",
                hint=f"write {reference.familiar}@sha256:... with the digest of the image that is meant",
            )
        return None

    def _rule_for(self, name: str) -> tuple[str, str | SignedBy]:
        """The rule of the most specific prefix of `domain/path`, and the prefix; a wildcard is the least specific."""
        fitting = [(not scope.startswith("*."), len(scope), scope) for scope, _ in self.images if _covers(scope, name)]
        scope = max(fitting)[2] if fitting else ""
        return scope, dict(self.images).get(scope, self.default)


def _covers(scope: str, name: str) -> bool:
    """Whether the prefix stands for this (normal) name."""
    if scope.startswith("*."):
        return name.partition("/")[0].partition(":")[0].endswith(scope[1:])
    return f"{name}/".startswith(scope + "/")


def parse_policy(data: bytes, path: str) -> Policy:
    """The policy in the text of a file; `path` names it in errors. Raises Invalid, Damaged."""
    document = _object(parse(data, source=path), ("default", "archives", "images"), path, "the document")
    if "default" not in document:
        raise Invalid(f"read {path}: default is missing", hint=_CHOICES)
    default = _rule(document["default"], path, "default")
    archives = document.get("archives", ACCEPT if default == ACCEPT else REJECT)
    if archives not in (ACCEPT, REJECT):
        raise Invalid(f"read {path}: archives is {archives!r:.100}", hint='it is "accept" or "reject"')
    images = document.get("images", {})
    if not isinstance(images, dict):
        raise Invalid(f"read {path}: images is not an object")
    rules = tuple((_scope(scope, path), _rule(rule, path, f"images.{scope}")) for scope, rule in images.items())
    return Policy(path, default, archives == ACCEPT, rules)


def _object(value: Any, keys: tuple[str, ...], path: str, where: str) -> dict[str, Any]:
    """The value as an object that has only these keys."""
    if not isinstance(value, dict):
        raise Invalid(f"read {path}: {where} is not an object")
    unknown = next((key for key in value if key not in keys), None)
    if unknown is not None:
        raise Invalid(f"read {path}: unknown key {unknown!r} in {where}", hint="known there: " + ", ".join(keys))
    return value


def _scope(scope: str, path: str) -> str:
    """The prefix, if images can have it: a misspelt one would never apply, without a sign."""
    bare = scope[2:] if scope.startswith("*.") else scope
    try:
        name = parse_reference(f"{bare}/x/y").name
    except HullError:
        name = ""
    if name != f"{bare}/x/y" or name != normal_name(name):
        raise Invalid(f"read {path}: images.{scope:.200} is not a prefix of images' names", hint=_PLACE)
    if bare != scope and "/" in bare:
        raise Invalid(f"read {path}: images.{scope:.200}: a wildcard stands for whole registries", hint=_PLACE)
    return scope


def _rule(value: Any, path: str, where: str) -> str | SignedBy:
    if isinstance(value, str) and value in _RULES:
        return value
    if not isinstance(value, dict):
        raise Invalid(f"read {path}: {where} is {value!r:.100}", hint=_CHOICES)
    fields = _object(value, ("signed_by", "identity"), path, where)
    keys = fields.get("signed_by")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
        raise Invalid(f"read {path}: {where}.signed_by is not a list of public keys", hint="paths of files, or PEM")
    for key in keys:
        if not key.startswith(("/", PEM)):
            raise Invalid(
                f"read {path}: {where}.signed_by: {key[:100]!r} is neither an absolute path nor a key in PEM form"
            )
    return SignedBy(f"{path}: {where}", tuple(keys), **_identity(fields.get("identity", "repository"), path, where))


def _identity(value: Any, path: str, where: str) -> dict[str, Any]:
    """The fields of SignedBy that `identity` sets."""
    where = f"{where}.identity"
    if value in ("repository", "exact"):
        return {"is_exact": value == "exact"}
    fields = _object(value, ("repository", "prefix", "signed_prefix"), path, where)
    if set(fields) not in ({"repository"}, {"prefix", "signed_prefix"}):
        hint = 'it is "repository", "exact", {"repository": name} or {"prefix": pulled, "signed_prefix": signed}'
        raise Invalid(f"read {path}: {where} is not understood", hint=hint)
    for key, name in fields.items():
        if not isinstance(name, str) or name.startswith("*.") or (key == "repository" and "/" not in name):
            raise Invalid(f"read {path}: {where}.{key} is not the name of a repository, with its registry")
        _scope(name, path)
    return fields
