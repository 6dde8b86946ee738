#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_image_load: the images of an archive."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image_load
short_description: Load images from an archive
description:
  - Has the images of an archive on the host, with the names that they have in it.
  - The archive is a file as C(docker save), C(podman save), C(skopeo copy) or M(hull.engine.container_image_export)
    write it, plain or compressed with gzip, bzip2, xz or zstd, or an OCI layout directory. It may hold several images.
  - All of it is added or nothing.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
  - hull.engine.docker
options:
  path:
    description:
      - The file or directory on the host.
    type: path
    required: true
seealso:
  - module: hull.engine.container_image_export
  - module: hull.engine.container_image_import
  - module: hull.engine.container_image
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Load the images that another host has saved
  hull.engine.container_image_load:
    path: /srv/images/team.tar
  register: loaded

- name: Tell their names
  ansible.builtin.debug:
    var: loaded.image_names
"""

RETURN = r"""
image_names:
  description:
    - The names of the images in the archive, in its order.
  returned: always
  type: list
  elements: str
  sample: ["app:1.4", "app:stable"]
images:
  description:
    - The images of the archive that are on the host, in the shape of C(docker image inspect). In check mode those that
      were there before.
  returned: always
  type: list
  elements: dict
  sample:
    - Id: sha256:8f2b3c...
      RepoTags: ["app:1.4", "app:stable"]
actions:
  description:
    - What was done, or would be done in check mode, a name after the other.
    - Each has one key that says what, with the object as its value, and RV(actions[].reason).
  returned: always
  type: list
  elements: dict
  contains:
    reason:
      description: Why.
      returned: always
      type: str
      sample: not here
  sample:
    - loaded_image: app:1.4
      reason: not here
"""

from ansible_collections.hull.engine.plugins.module_utils._module.docker_connection import (  # noqa: E402
    DOCKER_ARGUMENTS,
    refuse_other_hosts,
)
from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {"path": {"type": "path", "required": True}}


def load_images(task: Task) -> dict[str, Any]:
    """Have the images of the archive."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.archive_tasks import load

    refuse_other_hosts(task.options)
    result = outcome_result(load(task.engine, task.options["path"], check=task.check), "found")
    return {**result.pop("found"), **result}


def main() -> None:
    """Run the module."""
    run_module(load_images, {**ARGUMENTS, **DOCKER_ARGUMENTS})


if __name__ == "__main__":
    main()
