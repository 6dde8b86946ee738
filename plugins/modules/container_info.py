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
  - hull.engine.engine.info_attributes
options:
  name:
    description:
      - The container's name, id or the beginning of its id. Not given, it is about all, running or not.
    type: str
seealso:
  - module: hull.engine.container
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
containers:
  description:
    - The same for each container, newest first.
  returned: always
  type: list
  elements: dict
"""

from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {"name": {"type": "str"}}


def tell_containers(task: Task) -> dict[str, Any]:
    """One container or all."""
    from ansible_collections.hull.engine.plugins.module_utils._engine import containers

    name = task.options["name"]
    if name is None:
        records = [record for record, _state in containers.list_containers(task.engine, all=True)]
        return {"changed": False, "containers": [containers.inspect(task.engine, record) for record in records]}
    found = containers.lookup(task.engine, name)
    facts = containers.inspect(task.engine, found) if found else None
    return {"changed": False, "exists": facts is not None, "container": facts, "containers": [facts] if facts else []}


def main() -> None:
    """Run the module."""
    run_module(tell_containers, ARGUMENTS)


if __name__ == "__main__":
    main()
