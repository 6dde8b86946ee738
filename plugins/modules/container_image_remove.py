#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_image_remove: an image, or one of its names, goes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image_remove
short_description: Remove an image
description:
  - Removes a name of an image and, where that was its last, the image with the layers that no other image contains.
  - The last name of an image that a container was made from is refused.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
  - hull.engine.docker
options:
  name:
    description:
      - The image, by reference, digest (V(debian@sha256:...)), id (V(sha256:...)) or at least the first 12 digits of
        that. An id means all names of the image.
    type: str
    required: true
  tag:
    description:
      - The tag, where O(name) has none. Without either it is V(latest).
    type: str
  force:
    description:
      - Remove all names of an image that is given by its id and has more than one.
      - Remove the name of an image that a container was made from, and keep the image for that container.
    type: bool
    default: false
  prune:
    description:
      - Accepted for tasks that come from community.docker. Images have no untagged parents here that could go along;
        layers go as soon as no image contains them.
    type: bool
    default: true
seealso:
  - module: hull.engine.container_image
  - module: hull.engine.container_prune
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Remove an image
  hull.engine.container_image_remove:
    name: debian:12
"""

RETURN = r"""
image:
  description:
    - The image before the task in the shape of C(docker image inspect). Empty where there was none.
  returned: always
  type: dict
  sample:
    Id: sha256:8f2b3c...
    RepoTags: [debian:12]
    RepoDigests: [debian@sha256:01ba47...]
    Architecture: amd64
    Os: linux
    Size: 116550000
untagged:
  description:
    - The names and digests that went, or would go in check mode.
  returned: always
  type: list
  elements: str
  sample: ["debian:12", "debian@sha256:01ba47..."]
deleted:
  description:
    - The id of the image that went, or would go in check mode.
  returned: always
  type: list
  elements: str
  sample: ["sha256:8f2b3c..."]
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
    - untagged: debian:12
    - deleted: sha256:8f2b3c...
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
    "force": {"type": "bool", "default": False},
    "prune": {"type": "bool", "default": True},
}


def remove_image(task: Task) -> dict[str, Any]:
    """Remove the image or its name."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.image_task import ensure_absent

    options = task.options
    refuse_other_hosts(options)
    name = with_tag(options["name"], options["tag"])
    outcome = ensure_absent(task.engine, name, force=options["force"], check=task.check)
    gone = {
        verb: sorted(action.subject for action in outcome.actions if action.verb == verb)
        for verb in ("untagged", "deleted")
    }
    return {"image": {}, **gone, **outcome_result(outcome, "image")}


def main() -> None:
    """Run the module."""
    run_module(remove_image, {**ARGUMENTS, **DOCKER_ARGUMENTS})


if __name__ == "__main__":
    main()
