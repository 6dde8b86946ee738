#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_image_tag: more names for an image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image_tag
short_description: Give an image more names
description:
  - Gives an image that is on the host one or more further names. No registry is asked.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
  - hull.engine.docker
options:
  name:
    description:
      - The image, by reference, id (V(sha256:...)) or at least the first 12 digits of that.
    type: str
    required: true
  tag:
    description:
      - The tag, where O(name) has none. Without either it is V(latest).
      - Also that of every name in O(repository) that has none.
    type: str
  repository:
    description:
      - The names that the image is to have, such as V(registry.example.org/team/app:1.4).
    type: list
    elements: str
    required: true
  existing_images:
    description:
      - What becomes of a name in O(repository) that another image has. V(overwrite) gives it to this one, V(keep)
        leaves it.
    type: str
    choices: [keep, overwrite]
    default: overwrite
seealso:
  - module: hull.engine.container_image
  - module: hull.engine.container_image_remove
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Two more names
  hull.engine.container_image_tag:
    name: python:3.12
    repository:
      - python-3:3.12
      - registry.example.org:5000/python-3/3.12:latest
"""

RETURN = r"""
image:
  description:
    - The image after the task (in check mode, before it) in the shape of C(docker image inspect).
  returned: always
  type: dict
  sample:
    Id: sha256:8f2b3c...
    RepoTags: [debian:12]
    RepoDigests: [debian@sha256:01ba47...]
    Architecture: amd64
    Os: linux
    Size: 116550000
tagged_images:
  description:
    - The names that the image got.
  returned: always
  type: list
  elements: str
  sample: [python-3:3.12]
actions:
  description:
    - What was done, or would be done in check mode, in order.
    - Each has one key that says what, with the object as its value, and RV(actions[].reason) where there is one.
  returned: always
  type: list
  elements: dict
  contains:
    reason:
      description: Why.
      returned: where it is known
      type: str
      sample: not here
  sample:
    - tagged: python-3:3.12
      reason: not here
"""

from ansible_collections.hull.engine.plugins.module_utils._module.arguments import with_tag  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.docker_connection import (  # noqa: E402
    DOCKER_ARGUMENTS,
    refuse_other_hosts,
)
from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "tag": {"type": "str"},
    "repository": {"type": "list", "elements": "str", "required": True},
    "existing_images": {"type": "str", "choices": ["keep", "overwrite"], "default": "overwrite"},
}


def tag_image(task: Task) -> dict[str, Any]:
    """Give the image its names."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.image_task import ensure_tagged

    options = task.options
    refuse_other_hosts(options)
    tag = options["tag"]
    outcome = ensure_tagged(
        task.engine,
        with_tag(options["name"], tag),
        tuple(with_tag(name, tag) for name in options["repository"]),
        keep=options["existing_images"] == "keep",
        check=task.check,
    )
    tagged = [action.subject for action in outcome.actions]
    return {"tagged_images": tagged, **outcome_result(outcome, "image")}


def main() -> None:
    """Run the module."""
    run_module(tag_image, {**ARGUMENTS, **DOCKER_ARGUMENTS})


if __name__ == "__main__":
    main()
