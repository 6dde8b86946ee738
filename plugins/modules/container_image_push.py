#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_image_push: an image, or several as one, in a registry."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image_push
short_description: Push an image to a registry
description:
  - Has an image of the host in the registry that its name says, under that name.
  - The registry is asked first. If it has what would be pushed, that one request is all. Layers that it has are not
    sent, those that it has in another repository are taken over from there.
  - An image that was pulled has the same digest in the other registry, since its manifest and its compressed layers
    are sent as they came.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
  - hull.engine.docker
attributes:
  check_mode:
    details:
      - The registry is asked, too, and the diff tells the digest before and after.
options:
  name:
    description:
      - The name to push, such as V(registry.example.org:5000/team/app:1.4). An image on the host has to have it, unless
        O(index) is given. An id or a digest can't be pushed to.
    type: str
    required: true
  tag:
    description:
      - The tag, where O(name) has none. Without either it is V(latest).
    type: str
  index:
    description:
      - Images on the host, by name, id or at least its first 12 digits, one for each platform. They are pushed as one
        image of several platforms under O(name).
    type: list
    elements: str
  platform:
    description:
      - What the image has to be for, such as V(linux/arm64). One that is for another platform is not pushed.
      - If the registry has an index of several platforms under O(name), from which this image was pulled, it counts as
        having the image. With this option the image takes the place of that index.
    type: str
  username:
    description:
      - Who pushes. Not given, the configuration in O(hull_config) and what C(hull login) kept decide.
    type: str
  password:
    description:
      - The password or token for O(username).
    type: str
seealso:
  - module: hull.engine.container_image_tag
  - module: hull.engine.container_image_pull
  - module: hull.engine.registry_login
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Have the image in the registry
  hull.engine.container_image_push:
    name: registry.example.org/team/app:1.4
    username: ci
    password: "{{ registry_token }}"
  register: pushed

- name: Tell what to deploy
  ansible.builtin.debug:
    msg: "registry.example.org/team/app@{{ pushed.digest }}"

- name: Have one image of two platforms
  hull.engine.container_image_push:
    name: registry.example.org/team/app
    tag: "1.4"
    index:
      - app:1.4-amd64
      - app:1.4-arm64
"""

RETURN = r"""
digest:
  description:
    - The digest that the registry has under the name after the task, or would have, in check mode.
  returned: unless it is new, the task runs in check mode, and it takes the push to know it
  type: str
  sample: sha256:01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b
image:
  description:
    - The image in the shape of C(docker image inspect). Empty with O(index).
  returned: always
  type: dict
  sample:
    Id: sha256:8f2b3c...
    RepoTags: ["registry.example.org/team/app:1.4"]
    RepoDigests: ["registry.example.org/team/app@sha256:01ba47..."]
actions:
  description:
    - What was done, or would be done in check mode.
    - Each has one key that says what, with the object as its value, and RV(actions[].reason).
  returned: always
  type: list
  elements: dict
  contains:
    reason:
      description: Why.
      returned: always
      type: str
      sample: the registry has another digest
  sample:
    - pushed_image: registry.example.org/team/app:1.4
      reason: not in the registry
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
    "index": {"type": "list", "elements": "str"},
    "platform": {"type": "str"},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
}


def push_image(task: Task) -> dict[str, Any]:
    """Have the image in the registry."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.pushing import PushRequest, ensure_pushed

    options = task.options
    refuse_other_hosts(options)
    request = PushRequest(
        name=with_tag(options["name"], options["tag"]),
        index=tuple(options["index"] or ()),
        platform=options["platform"] or "",
        username=options["username"] or "",
        password=options["password"] or "",
    )
    outcome = ensure_pushed(task.engine, request, check=task.check)
    digest = outcome.after["digest"]
    return {**outcome_result(outcome, "image"), **({"digest": digest} if digest else {})}


def main() -> None:
    """Run the module."""
    run_module(
        push_image,
        {**ARGUMENTS, **DOCKER_ARGUMENTS},
        required_together=[("username", "password")],
        mutually_exclusive=[("index", "platform")],
    )


if __name__ == "__main__":
    main()
