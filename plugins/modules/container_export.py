#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_export: a container's files in a tar on the managed host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_export
short_description: Write a container's files to an archive
description:
  - Writes all that a container sees in its own file system, running or stopped, as one tar. What is mounted in it,
    volumes above all, is left out.
  - The archive depends on the files alone, so the same files give the same bytes. M(hull.engine.container_image) with
    O(hull.engine.container_image#module:source=import) makes an image of it.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
options:
  container:
    description:
      - The container's name, its id or at least the first 12 digits of that.
    type: str
    required: true
  path:
    description:
      - The file, on the managed host. It is replaced in one step and belongs to root alone; its directory has to exist.
    type: path
    required: true
    aliases: [dest]
  compression:
    description:
      - How the archive is compressed.
    type: str
    choices: [none, gzip]
    default: none
  force:
    description:
      - Write the file anew also where it holds just that already.
    type: bool
    default: false
seealso:
  - module: hull.engine.container_commit
  - module: hull.engine.container_image
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Take the container's files along
  hull.engine.container_export:
    container: web
    path: /srv/backup/web.tar.gz
    compression: gzip
"""

RETURN = r"""
path:
  description:
    - The file.
  returned: always
  type: str
  sample: /srv/backup/web.tar.gz
actions:
  description:
    - What was done, or would be done in check mode.
    - It has one key that says what, with the file as its value, and RV(actions[].reason).
  returned: always
  type: list
  elements: dict
  contains:
    reason:
      description: Why.
      returned: always
      type: str
      sample: its content is another
  sample:
    - exported: /srv/backup/web.tar.gz
      reason: not here
"""

from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "container": {"type": "str", "required": True},
    "path": {"type": "path", "required": True, "aliases": ["dest"]},
    "compression": {"type": "str", "choices": ["none", "gzip"], "default": "none"},
    "force": {"type": "bool", "default": False},
}


def export_container(task: Task) -> dict[str, Any]:
    """Have the file that the task wants."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.commit_task import ensure_export
    from ansible_collections.hull.engine.plugins.module_utils._engine.containers import find

    options = task.options
    outcome = ensure_export(
        task.engine,
        find(task.engine, options["container"]),
        options["path"],
        compression=options["compression"],
        force=options["force"],
        check=task.check,
    )
    return {**outcome_result(outcome, "container"), "path": options["path"]}


def main() -> None:
    """Run the module."""
    run_module(export_container, ARGUMENTS)


if __name__ == "__main__":
    main()
