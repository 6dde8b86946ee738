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
  - hull.engine.docker
options:
  name:
    description:
      - References, ids or at least the first 12 digits of ids. An image that is not there is left out of the answer.
      - Not given, it is about all images.
    type: list
    elements: str
  filters:
    description:
      - Only images that fit all of these, with the names of C(docker images --filter) - C(dangling) (whether it has no
        name), C(label) and C(label!) (V(name) or V(name=value)), C(before) and C(since) (an image), C(until) (a time,
        or how long ago), C(reference) (a pattern). A list means all of its values, for C(reference) one of them.
    type: dict
  history:
    description:
      - Tell also how each image was made, newest step first, as C(History).
    type: bool
    default: false
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

- name: Which images have no name any more?
  hull.engine.container_image_info:
    filters:
      dangling: true
      until: 24h
"""

RETURN = r"""
images:
  description:
    - The images in the shape of C(docker image inspect), in the order of O(name), else newest first.
    - RV(images[].RepoDigests) are the digests that registries have of it, by which it can be named exactly.
  returned: always
  type: list
  elements: dict
  contains:
    History:
      description:
        - The steps by which the image was made, newest first, with C(Created), C(CreatedBy), C(Comment) and C(Size)
          (the bytes of its files, 0 where it added none).
      returned: with O(history=true)
      type: list
      elements: dict
  sample:
    - Id: sha256:8f2b3c...
      RepoTags: [debian:12]
      RepoDigests: [debian@sha256:01ba47...]
      Architecture: amd64
"""

from ansible_collections.hull.engine.plugins.module_utils._module.arguments import filter_pairs  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.docker_connection import (  # noqa: E402
    DOCKER_ARGUMENTS,
    refuse_other_hosts,
)
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ansible_collections.hull.engine.plugins.module_utils._store.records import ImageRecord

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "list", "elements": "str"},
    "filters": {"type": "dict"},
    "history": {"type": "bool", "default": False},
}


def tell_images(task: Task) -> dict[str, Any]:
    """The images named, or all."""
    from ansible_collections.hull.engine.plugins.module_utils._engine import images

    refuse_other_hosts(task.options)
    told = []
    for record in _chosen(task):
        facts = images.inspect(task.engine, record)
        if task.options["history"]:
            facts["History"] = _history(task, record)
        told.append(facts)
    return {"changed": False, "images": told}


def _history(task: Task, record: ImageRecord) -> list[dict[str, Any]]:
    from ansible_collections.hull.engine.plugins.module_utils._base.clock import format_time
    from ansible_collections.hull.engine.plugins.module_utils._engine.image_history import history

    return [
        {
            "Created": format_time(step.created_ns),
            "CreatedBy": step.created_by,
            "Comment": step.comment,
            "Size": step.size_bytes,
        }
        for step in history(task.engine, record)
    ]


def _chosen(task: Task) -> list[ImageRecord]:
    from ansible_collections.hull.engine.plugins.module_utils._engine import images
    from ansible_collections.hull.engine.plugins.module_utils._engine.image_filters import (
        LIST_FILTERS,
        parse_filters,
        select,
    )

    every = images.list_images(task.engine)
    filters = filter_pairs(task.options["filters"])
    fitting = select(every, parse_filters(task.engine, filters, LIST_FILTERS)) if filters else every
    records = [record for record, _tags in fitting]
    if task.options["name"] is None:
        return records
    named = [images.lookup(task.engine, name) for name in task.options["name"]]
    return [record for record in named if record is not None and record in records]


def main() -> None:
    """Run the module."""
    run_module(tell_images, {**ARGUMENTS, **DOCKER_ARGUMENTS})


if __name__ == "__main__":
    main()
