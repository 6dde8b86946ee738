#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.volume_info: which volumes there are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: volume_info
short_description: Tell about volumes
description:
  - Tells about one volume, or about all of them.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.info_attributes
options:
  name:
    description:
      - The volume's name. Not given, it is about all volumes.
    type: str
    aliases: [volume_name]
seealso:
  - module: hull.engine.volume
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Where does it lie?
  hull.engine.volume_info:
    name: db-data
  register: data

- name: Tell
  ansible.builtin.debug:
    msg: "{{ data.volume.Mountpoint }}"
  when: data.exists
"""

RETURN = r"""
exists:
  description:
    - Whether there is such a volume.
  returned: when O(name) is given
  type: bool
  sample: true
volume:
  description:
    - The volume in the shape of C(docker volume inspect), or none.
  returned: when O(name) is given
  type: dict
  sample:
    Name: db-data
    Mountpoint: /var/lib/hull/volumes/db-data/_data
volumes:
  description:
    - The same for each volume, by name.
  returned: always
  type: list
  elements: dict
"""

from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {"name": {"type": "str", "aliases": ["volume_name"]}}


def tell_volumes(task: Task) -> dict[str, Any]:
    """One volume or all."""
    from ansible_collections.hull.engine.plugins.module_utils._engine import volumes

    name = task.options["name"]
    found = [
        volumes.inspect(task.engine, record)
        for record in volumes.list_volumes(task.engine)
        if name is None or record.name == name
    ]
    if name is None:
        return {"changed": False, "volumes": found}
    return {"changed": False, "exists": bool(found), "volume": found[0] if found else None, "volumes": found}


def main() -> None:
    """Run the module."""
    run_module(tell_volumes, ARGUMENTS)


if __name__ == "__main__":
    main()
