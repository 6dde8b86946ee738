#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_image_info: which images are on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image_info
short_description: Tell about images
description:
  - Tells about the images of these names, or about all images on the host. No registry is asked.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.info_attributes
options:
  name:
    description:
      - References, ids or beginnings of ids. An image that is not there is left out of the answer.
      - Not given, it is about all images.
    type: list
    elements: str
seealso:
  - module: hull.engine.container_image
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Which command does it run?
  hull.engine.container_image_info:
    name: debian:12
  register: debian

- name: Tell
  ansible.builtin.debug:
    msg: "{{ debian.images[0].Config.Cmd }}"
  when: debian.images | length > 0
"""

RETURN = r"""
images:
  description:
    - The images in the shape of C(docker image inspect), in the order of O(name), else newest first.
  returned: always
  type: list
  elements: dict
  sample:
    - Id: sha256:8f2b3c...
      RepoTags: [debian:12]
      Architecture: amd64
"""

from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {"name": {"type": "list", "elements": "str"}}


def tell_images(task: Task) -> dict[str, Any]:
    """The images named, or all."""
    from ansible_collections.hull.engine.plugins.module_utils._engine import images

    names = task.options["name"]
    if names is None:
        records = [record for record, _tags in images.list_images(task.engine)]
    else:
        found = (images.lookup(task.engine, name) for name in names)
        records = [record for record in found if record is not None]
    return {"changed": False, "images": [images.inspect(task.engine, record) for record in records]}


def main() -> None:
    """Run the module."""
    run_module(tell_images, ARGUMENTS)


if __name__ == "__main__":
    main()
