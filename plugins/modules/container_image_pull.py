#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_image_pull: an image as its registry has it now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image_pull
short_description: Pull an image from a registry
description:
  - Has an image on the host as the registry has it under this name.
  - The registry is asked for the name's digest, which is one request. Only if that is not the one on the host,
    something is fetched, and of that only the layers that are not here.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
  - hull.engine.docker
attributes:
  check_mode:
    details:
      - The registry is asked, too, and the diff tells the id and the digest of the image that would come.
options:
  name:
    description:
      - The image, as a reference such as V(debian:12), V(registry.example.org:5000/team/app:1.4) or
        V(debian@sha256:...). An id can't be pulled.
    type: str
    required: true
  tag:
    description:
      - The tag, where O(name) has none. Without either it is V(latest).
    type: str
  platform:
    description:
      - Which variant to pull, such as V(linux/arm64). Not given, it is the host's.
    type: str
  pull:
    description:
      - V(always) asks the registry whether it has another image under the name.
      - V(not_present) asks only if there is no image of this name here, or one for another O(platform).
    type: str
    choices: [always, not_present]
    default: always
  username:
    description:
      - Who pulls. Not given, the configuration in O(hull_config) and what C(hull login) kept decide.
    type: str
  password:
    description:
      - The password or token for O(username).
    type: str
seealso:
  - module: hull.engine.container_image
  - module: hull.engine.container_image_info
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Have the newest one under the name
  hull.engine.container_image_pull:
    name: debian:12

- name: Have it for another platform
  hull.engine.container_image_pull:
    name: registry.example.org/team/app
    tag: "1.4"
    platform: linux/arm64
    username: deploy
    password: "{{ registry_token }}"
"""

RETURN = r"""
image:
  description:
    - The image after the task (in check mode, before it) in the shape of C(docker image inspect). Empty where there is
      none.
  returned: always
  type: dict
  sample:
    Id: sha256:8f2b3c...
    RepoTags: [debian:12]
    RepoDigests: [debian@sha256:01ba47...]
    Architecture: amd64
    Os: linux
    Size: 116550000
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
    - pulled_image: debian:12
      reason: the registry has another digest
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
    "platform": {"type": "str"},
    "pull": {"type": "str", "choices": ["always", "not_present"], "default": "always"},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
}


def pull_image(task: Task) -> dict[str, Any]:
    """Bring the image to what the registry has."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.image_source import ImageRequest
    from ansible_collections.hull.engine.plugins.module_utils._engine.image_task import ensure

    options = task.options
    refuse_other_hosts(options)
    request = ImageRequest(
        name=with_tag(options["name"], options["tag"]),
        source="pull",
        force_source=options["pull"] == "always",
        platform=options["platform"] or "",
        username=options["username"] or "",
        password=options["password"] or "",
    )
    return {"image": {}, **outcome_result(ensure(task.engine, request, check=task.check), "image")}


def main() -> None:
    """Run the module."""
    run_module(pull_image, {**ARGUMENTS, **DOCKER_ARGUMENTS}, required_together=[("username", "password")])


if __name__ == "__main__":
    main()
