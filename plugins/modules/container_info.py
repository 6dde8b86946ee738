#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_info: what containers are and do now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_info
short_description: Tell about containers
description:
  - Tells about one container, or about all of them.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.docker
  - hull.engine.engine.info_attributes
options:
  name:
    description:
      - The container's name, its id or at least the first 12 digits of that. Not given, it is about all, running or
        not.
    type: str
  changes:
    description:
      - Whether to tell also what the container O(name) has changed in its own file system, as C(docker diff) does.
    type: bool
    default: false
seealso:
  - module: hull.engine.container
  - module: hull.engine.container_commit
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Is it running?
  hull.engine.container_info:
    name: web
  register: web

- name: Tell its address
  ansible.builtin.debug:
    msg: "{{ web.container.NetworkSettings.IPAddress }}"
  when: web.exists and web.container.State.Running

- name: What has it changed?
  hull.engine.container_info:
    name: web
    changes: true

- name: All containers
  hull.engine.container_info:
  register: all_of_them
"""

RETURN = r"""
exists:
  description:
    - Whether there is such a container.
  returned: when O(name) is given
  type: bool
  sample: true
container:
  description:
    - The container in the shape of C(docker inspect), or none.
  returned: when O(name) is given
  type: dict
  sample:
    Name: /web
    State:
      Status: running
      Running: true
changes:
  description:
    - What the container has changed, in order of paths.
  returned: when O(changes) is true and there is such a container
  type: list
  elements: dict
  contains:
    kind:
      description: V(A) for added, V(C) for changed, V(D) for deleted.
      returned: always
      type: str
    path:
      description: The path in the container; bytes that are not UTF-8 are escaped.
      returned: always
      type: str
  sample:
    - kind: C
      path: /etc
    - kind: A
      path: /etc/app.conf
containers:
  description:
    - The same for each container, newest first.
  returned: always
  type: list
  elements: dict
"""

from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.docker_connection import (  # noqa: E402
    DOCKER_ARGUMENTS,
    refuse_other_hosts,
)
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ansible_collections.hull.engine.plugins.module_utils._store.records import ContainerRecord

ARGUMENTS: dict[str, dict[str, Any]] = {"name": {"type": "str"}, "changes": {"type": "bool", "default": False}}


def tell_containers(task: Task) -> dict[str, Any]:
    """One container or all."""
    from ansible_collections.hull.engine.plugins.module_utils._engine import containers

    refuse_other_hosts(task.options)
    name = task.options["name"]
    if name is None and task.options["changes"]:
        raise Invalid("needs name", option="changes")
    if name is None:
        records = [record for record, _state in containers.list_containers(task.engine, all=True)]
        return {"changed": False, "containers": [containers.inspect(task.engine, record) for record in records]}
    found = containers.lookup(task.engine, name)
    facts = containers.inspect(task.engine, found) if found else None
    result = {"changed": False, "exists": facts is not None, "container": facts, "containers": [facts] if facts else []}
    if found and task.options["changes"]:
        result["changes"] = changes_of(task, found)
    return result


def changes_of(task: Task, record: ContainerRecord) -> list[dict[str, str]]:
    """What a container has changed."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.commit_task import shown_path
    from ansible_collections.hull.engine.plugins.module_utils._engine.committing import diff

    return [{"kind": change.kind, "path": shown_path(change.path)} for change in diff(task.engine, record)]


def main() -> None:
    """Run the module."""
    run_module(tell_containers, {**DOCKER_ARGUMENTS, **ARGUMENTS})


if __name__ == "__main__":
    main()
