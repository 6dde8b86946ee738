# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`/etc/hull/policy.json`: which images may come in, and who has to have signed them.

    {
      "default": "accept",                      for images that nothing below covers; the one key that must be there
      "archives": "reject",                     for load and import; default: accept where `default` is, else reject
      "images": {
        "docker.io/library": "digest",          a registry, a path in one, or *.example.org: the most specific one wins
        "registry.example.org/team": {
          "signed_by": ["/etc/hull/keys/team.pub", "-----BEGIN PUBLIC KEY-----\\n..."],     any one of them
          "identity": "repository"              which name the signature has to be for, see `policy_file.py`
        }
      }
    }

    accept  whatever the registry has             digest  only where the reference says the digest
    reject  nothing                               object  only with a signature by one of these keys

It guards the ways in, not what is in the store: an image that is here stays usable when the policy changes, and the
next pull of its name, also one that finds it here, is judged anew. Nothing about earlier judgements is remembered.
Everything that is not clearly right is refused: a damaged file, a key that can't be read, a registry that does not
answer. Where there is no file, all this costs one failed open.
"""

from __future__ import annotations

import os

from .._base.config_file import read_small_file
from .._base.errors import Denied
from .settings import POLICY_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.paths import Paths
    from .policy_file import Policy, SignedBy
    from .reference import Reference
    from .settings import RegistrySettings


def admit(settings: RegistrySettings, reference: Reference) -> SignedBy | None:
    """Refuse what the policy refuses by its name; what the image has to be signed by, None where it needs not be.

    Nothing is asked of a registry. Raises Denied; Invalid and Damaged for a policy file that can't be used.
    """
    policy = _load(settings.policy_file) if settings.policy_file else None
    return policy.admit(reference) if policy else None


def check_local(paths: Paths, source: str) -> None:
    """Refuse images and root file systems from a file, directory or stream (`source` says which) if the policy does.

    Raises as `admit` does. To be called before anything is read.
    """
    path = f"{paths.config}/{POLICY_FILE}"
    policy = _load(path)
    if policy and not policy.accepts_archives:
        raise Denied(
            f"read image from {source}: {path} rejects images that do not come from a registry",
            hint='set "archives" to "accept" there, or push the image to a registry and pull it',
        )


def _load(path: str) -> Policy | None:
    data = read_small_file(path)
    if data is None:
        if os.path.islink(path):
            raise Denied(f"read {path}: it is a link to nothing", hint="remove it if no policy is meant to be")
        return None
    from .policy_file import parse_policy

    return parse_policy(data, path)
