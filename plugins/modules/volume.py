#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.volume: one named volume, present or absent."""

from __future__ import annotations

DOCUMENTATION = r"""
module: volume
short_description: Create and remove a named volume
description:
  - A volume is a directory that the engine keeps and that outlives the containers that mount it.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
attributes:
  idempotent:
    support: partial
    details:
      - With O(recreate=always) the volume is made anew every time.
options:
  name:
    description:
      - The volume's name.
    type: str
    required: true
    aliases: [volume_name]
  state:
    description:
      - V(absent) deletes the volume and what is in it. A volume that a container uses is refused.
    type: str
    choices: [present, absent]
    default: present
  labels:
    description:
      - Labels of a volume that is made.
    type: dict
  driver:
    description:
      - Only V(local) exists.
    type: str
    default: local
  driver_options:
    description:
      - What is mounted as the volume, as mount(8) would with C(-t type -o o device). Without, it is a directory of the
        engine's.
      - V(type) and V(device) go together, V(o) is a list with commas. V(type=none) with V(o=bind) is a directory of the
        host, V(type=tmpfs) with V(device=tmpfs) one in memory, which each container has for itself; or any type of
        file system that the host's kernel can mount.
      - For V(type=nfs), C(addr) in V(o) is a numeric address.
      - It is mounted when a container that has the volume starts, in that container only, so a mistake shows then.
    type: dict
  recreate:
    description:
      - Whether a volume that exists is deleted, with what is in it, and made anew. V(options-changed) does so where
        it has not all of O(labels) or other O(driver_options).
    type: str
    choices: [never, always, options-changed]
    default: never
seealso:
  - module: hull.engine.volume_info
  - module: hull.engine.container
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: A place for the database
  hull.engine.volume:
    name: db-data
    labels:
      backup: nightly

- name: A directory of the host, to be filled by the first container that has the volume
  hull.engine.volume:
    name: web-content
    driver_options:
      type: none
      o: bind
      device: /srv/web

- name: A share of a file server
  hull.engine.volume:
    name: shared
    driver_options:
      type: nfs
      o: addr=192.0.2.7,nfsvers=4.2,soft
      device: ":/export/shared"

- name: Delete it
  hull.engine.volume:
    name: db-data
    state: absent
"""

RETURN = r"""
volume:
  description:
    - The volume after the task (in check mode, before it) in the shape of C(docker volume inspect).
  returned: when there is one
  type: dict
  sample:
    Name: db-data
    Driver: local
    Mountpoint: /var/lib/hull/volumes/db-data/_data
    Labels:
      backup: nightly
    Scope: local
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
    - created_volume: db-data
"""

from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True, "aliases": ["volume_name"]},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "labels": {"type": "dict"},
    "driver": {"type": "str", "default": "local"},
    "driver_options": {"type": "dict"},
    "recreate": {"type": "str", "choices": ["never", "always", "options-changed"], "default": "never"},
}


def ensure_volume(task: Task) -> dict[str, Any]:
    """Bring the volume to what the task says."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.volumes import VolumeRequest, ensure

    options = task.options
    request = VolumeRequest(
        name=options["name"],
        state=options["state"],
        labels=_strings(options["labels"]),
        driver=options["driver"],
        options=_strings(options["driver_options"]),
        recreate=options["recreate"],
    )
    return outcome_result(ensure(task.engine, request, check=task.check), "volume")


def _strings(value: dict[str, Any] | None) -> dict[str, str] | None:
    return None if value is None else {str(name): str(item) for name, item in value.items()}


def main() -> None:
    """Run the module."""
    run_module(ensure_volume, ARGUMENTS)


if __name__ == "__main__":
    main()
