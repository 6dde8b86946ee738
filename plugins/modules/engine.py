#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.engine: the engine's directories, and everything that lives in them, gone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: engine
short_description: Make or remove an engine's directories
description:
  - An engine is a state directory and a directory of run-time files. No task needs this module before it runs a
    container; the directories are made when something is put into them.
  - Removing an engine removes its containers, images, volumes and networks, what they have in the kernel, the
    process that starts containers, and the directories. The configuration stays.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
options:
  state:
    description:
      - V(present) has the directories exist, readable by root only. V(absent) removes everything.
      - V(stopped) has nothing of the engine run and keeps all that it has. Containers are stopped as when the host is
        shut down, so that C(hull boot) starts those whose restart policy says so.
    type: str
    choices: [present, stopped, absent]
    default: present
  force:
    description:
      - With O(state=absent), remove containers too. Without it an engine that has containers is refused.
    type: bool
    default: false
seealso:
  - module: hull.engine.engine_info
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: This host no longer runs containers
  hull.engine.engine:
    state: absent
    force: true
"""

RETURN = r"""
actions:
  description:
    - What was done, or would be done in check mode, in order.
  returned: always
  type: list
  elements: dict
  sample:
    - removed: /var/lib/hull
"""

from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "stopped", "absent"], "default": "present"},
    "force": {"type": "bool", "default": False},
}


def ensure_engine(task: Task) -> dict[str, Any]:
    """Bring the engine to what the task says."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.teardown import set_up, stop, tear_down

    if task.options["state"] == "present":
        outcome = set_up(task.engine, check=task.check)
    elif task.options["state"] == "stopped":
        outcome = stop(task.engine, check=task.check)
    else:
        outcome = tear_down(task.engine, force=task.options["force"], check=task.check)
    return outcome_result(outcome, "engine")


def main() -> None:
    """Run the module."""
    run_module(ensure_engine, ARGUMENTS)


if __name__ == "__main__":
    main()
