#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_prune: what nobody uses goes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_prune
short_description: Remove what nobody uses
description:
  - Removes stopped containers, images and volumes that nobody uses, each only if it is asked for.
  - Containers go first. What only they used goes along.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
  - hull.engine.docker
options:
  containers:
    description:
      - Remove containers that are stopped or were never started.
    type: bool
    default: false
  containers_filters:
    description:
      - Which of them, by C(until) (made before this time or as long ago, such as V(24h)), C(label) and C(label!)
        (V(name) or V(name=value)). A list means all of its values.
    type: dict
  images:
    description:
      - Remove images that have no name and that no container was made from.
    type: bool
    default: false
  images_filters:
    description:
      - Which of them, by C(until), C(label) and C(label!) as for O(containers_filters). The time is that of the image's
        making, as with Docker.
      - C(dangling) V(false) means images with names, too.
    type: dict
  volumes:
    description:
      - Remove anonymous volumes that no container uses, with what is in them.
    type: bool
    default: false
  volumes_filters:
    description:
      - Which of them, by C(label) and C(label!) as for O(containers_filters). C(all) V(true) means named volumes, too.
    type: dict
  networks:
    description:
      - Accepted for tasks that come from community.docker. The engine has no networks yet that could be unused.
    type: bool
    default: false
  networks_filters:
    description:
      - Which of them, by C(until), C(label) and C(label!).
    type: dict
  builder_cache:
    description:
      - Accepted for tasks that come from community.docker. The engine builds no images and keeps no cache.
    type: bool
    default: false
  builder_cache_all:
    description:
      - As O(builder_cache).
    type: bool
    default: false
  builder_cache_filters:
    description:
      - As O(builder_cache).
    type: dict
  builder_cache_keep_storage:
    description:
      - As O(builder_cache). A size such as V(1G).
    type: str
seealso:
  - module: hull.engine.container_image_remove
  - module: hull.engine.volume
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Remove containers that are older than a day, and images without a name
  hull.engine.container_prune:
    containers: true
    containers_filters:
      until: 24h
    images: true

- name: Remove all that nobody uses, except for what is marked
  hull.engine.container_prune:
    containers: true
    containers_filters:
      label!: keep
    images: true
    images_filters:
      dangling: false
      label!: keep
    volumes: true
"""

RETURN = r"""
containers:
  description:
    - The ids of the containers that went, or would go in check mode.
  returned: O(containers=true)
  type: list
  elements: str
  sample: []
containers_space_reclaimed:
  description:
    - The bytes of disk space that they took.
  returned: O(containers=true)
  type: int
  sample: 4096
images:
  description:
    - The ids of the images that went, or would go in check mode.
  returned: O(images=true)
  type: list
  elements: str
  sample: ["sha256:8f2b3c..."]
images_space_reclaimed:
  description:
    - The bytes of disk space that they took and no other image takes.
  returned: O(images=true)
  type: int
  sample: 116550000
volumes:
  description:
    - The names of the volumes that went, or would go in check mode.
  returned: O(volumes=true)
  type: list
  elements: str
  sample: []
volumes_space_reclaimed:
  description:
    - The bytes of disk space that they took.
  returned: O(volumes=true)
  type: int
  sample: 0
networks:
  description:
    - Always empty.
  returned: O(networks=true)
  type: list
  elements: str
  sample: []
builder_cache_space_reclaimed:
  description:
    - Always 0.
  returned: O(builder_cache=true)
  type: int
  sample: 0
builder_cache_caches_deleted:
  description:
    - Always empty.
  returned: O(builder_cache=true)
  type: list
  elements: str
  sample: []
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

ARGUMENTS: dict[str, dict[str, Any]] = {
    "containers": {"type": "bool", "default": False},
    "containers_filters": {"type": "dict"},
    "images": {"type": "bool", "default": False},
    "images_filters": {"type": "dict"},
    "volumes": {"type": "bool", "default": False},
    "volumes_filters": {"type": "dict"},
    "networks": {"type": "bool", "default": False},
    "networks_filters": {"type": "dict"},
    "builder_cache": {"type": "bool", "default": False},
    "builder_cache_all": {"type": "bool", "default": False},
    "builder_cache_filters": {"type": "dict"},
    "builder_cache_keep_storage": {"type": "str"},
}


def prune(task: Task) -> dict[str, Any]:
    """Remove what is asked for."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.pruning import KINDS, prune_all

    options = task.options
    refuse_other_hosts(options)
    wanted = {kind: filter_pairs(options[f"{kind}_filters"]) for kind in KINDS if options[kind]}
    pruned = prune_all(task.engine, wanted, check=task.check)
    result: dict[str, Any] = {"changed": any(found.removed for found in pruned.values())}
    for kind, found in pruned.items():
        result[kind] = list(found.removed)
        result[f"{kind}_space_reclaimed"] = found.space_bytes
    if result["changed"]:
        ids = {kind: list(found.removed) for kind, found in pruned.items()}
        result["diff"] = {"before": ids, "after": {kind: [] for kind in ids}}
    result.pop("networks_space_reclaimed", None)
    if options["builder_cache"]:
        result.update(builder_cache_space_reclaimed=0, builder_cache_caches_deleted=[])
    return result


def main() -> None:
    """Run the module."""
    run_module(prune, {**ARGUMENTS, **DOCKER_ARGUMENTS})


if __name__ == "__main__":
    main()
