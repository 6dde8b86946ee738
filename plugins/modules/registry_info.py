#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.registry_info: what a registry has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_info
short_description: Tell about a registry and what it has
description:
  - Tells whether a registry answers and how it wants to know who asks; which tags a repository has; which digest a tag
    has now and for which platforms it is. Nothing is pulled, mirrors are not asked.
  - A registry that can't be reached, or lets nobody in, is a result and no error.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.info_attributes
options:
  registry_url:
    description:
      - The registry. Neither this nor O(name) given, it is the default registry of C(registries.json) in
        O(hull_config).
    type: str
    aliases: [registry, url]
  name:
    description:
      - A repository, such as V(registry.example.org/team/app), or with a tag or digest an image in one.
    type: str
  catalog:
    description:
      - Also list all repositories. Many registries, Docker Hub among them, do not tell that.
    type: bool
    default: false
  username:
    description:
      - Who asks. Not given, it is who is logged in.
    type: str
  password:
    description:
      - The password or token for O(username).
    type: str
seealso:
  - module: hull.engine.registry_login
  - module: hull.engine.container_image_info
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Does the registry answer?
  hull.engine.registry_info:
    registry_url: registry.example.org:5000
  register: answer

- name: Which digest has the tag now?
  hull.engine.registry_info:
    name: registry.example.org/team/app:stable
  register: app

- name: Run exactly that one
  hull.engine.container:
    name: app
    image: registry.example.org/team/app@{{ app.image.digest }}
"""

RETURN = r"""
registry:
  description:
    - The registry that was asked.
  returned: always
  type: dict
  contains:
    name:
      description: Its name, with its port.
      returned: always
      type: str
      sample: registry.example.org:5000
    url:
      description: Where it is asked.
      returned: always
      type: str
      sample: https://registry.example.org:5000
    reachable:
      description: Whether it answers.
      returned: always
      type: bool
      sample: true
    error:
      description: Why it does not answer, or does not let us in; empty where it does.
      returned: always
      type: str
    api_version:
      description: What it says that it speaks; empty where it does not say.
      returned: always
      type: str
      sample: registry/2.0
    authentication:
      description: How it wants to know who asks, V(none), V(basic) or V(bearer).
      returned: always
      type: str
      sample: bearer
repositories:
  description:
    - All its repositories.
  returned: when O(catalog=true) and it answers
  type: list
  elements: str
  sample: [team/app]
exists:
  description:
    - Whether it has the repository, and with a tag or digest in O(name) that image.
  returned: when O(name) is given and it answers
  type: bool
  sample: true
repository:
  description:
    - The repository's whole name.
  returned: when O(name) is given and it answers
  type: str
  sample: registry.example.org/team/app
tags:
  description:
    - The repository's tags, in the registry's order.
  returned: when O(name) is given and it answers
  type: list
  elements: str
  sample: [stable, "1.4"]
image:
  description:
    - What a tag or digest names.
  returned: when O(name) has a tag or digest and it exists
  type: dict
  contains:
    reference:
      description: Its whole name.
      returned: always
      type: str
      sample: registry.example.org/team/app:stable
    digest:
      description: The digest of the manifest or index.
      returned: always
      type: str
      sample: sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
    media_type:
      description: What that is.
      returned: always
      type: str
      sample: application/vnd.oci.image.index.v1+json
    platforms:
      description: The choice that an index offers. Empty for an image of one platform.
      returned: always
      type: list
      elements: dict
      sample:
        - platform: linux/amd64
          digest: sha256:0b2616b0e5a8...
    size:
      description: Bytes of all layers, compressed.
      returned: for an image of one platform
      type: int
      sample: 48500000
"""

from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "registry_url": {"type": "str", "aliases": ["registry", "url"]},
    "name": {"type": "str"},
    "catalog": {"type": "bool", "default": False},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
}


def tell_registry(task: Task) -> dict[str, Any]:
    """What the registry says."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.registries import Question, describe

    options = task.options
    question = Question(
        options["registry_url"] or "",
        options["name"] or "",
        options["catalog"],
        options["username"] or "",
        options["password"] or "",
    )
    return {"changed": False, **describe(task.engine, question)}


def main() -> None:
    """Run the module."""
    run_module(
        tell_registry,
        ARGUMENTS,
        required_together=[("username", "password")],
        mutually_exclusive=[("registry_url", "name")],
    )


if __name__ == "__main__":
    main()
