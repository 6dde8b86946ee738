#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.command_line: the hull command as one file on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: command_line
short_description: Install the hull command
description:
  - Writes the command C(hull) to the host as one executable file that holds the whole engine of this version of the
    collection. Nothing is downloaded.
  - Containers, images and volumes of the command and of the modules are the same.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
options:
  path:
    description:
      - The file. Its directory must exist.
    type: path
    default: /usr/local/bin/hull
  state:
    description:
      - V(absent) removes the file, whatever it is.
    type: str
    choices: [present, absent]
    default: present
  interpreter:
    description:
      - The Python that executes it. Not given, it is the one that executes this module, by a name that stays where an
        upgrade changes its version; of a virtual environment the Python that it was made from.
      - Another Python 3.9 or newer works too, but starts more slowly.
    type: path
seealso:
  - module: hull.engine.engine
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: For people who sit at the host
  hull.engine.command_line:

- name: In a place of one's own
  hull.engine.command_line:
    path: /opt/bin/hull
    interpreter: /usr/bin/python3
"""

RETURN = r"""
path:
  description:
    - The file.
  returned: always
  type: str
  sample: /usr/local/bin/hull
version:
  description:
    - The engine's version in it.
  returned: when O(state=present)
  type: str
  sample: 0.1.0
digest:
  description:
    - The SHA-256 digest of the file.
  returned: when O(state=present)
  type: str
  sample: sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
actions:
  description:
    - What was done, or would be done in check mode.
  returned: always
  type: list
  elements: dict
  sample:
    - installed: /usr/local/bin/hull
      reason: not here
"""

from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "default": "/usr/local/bin/hull"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "interpreter": {"type": "path"},
}


def executable(interpreter: str) -> bytes:
    """The file's content, of the sources that came with this module."""
    # The command's own imports make Ansible send the whole engine along with this module; nothing imports `bundled`.
    from ansible_collections.hull.engine.plugins.module_utils._cli import bundled, main  # noqa: F401
    from ansible_collections.hull.engine.plugins.module_utils._module.command_line import build, sources_beside

    return build(sources_beside(main.__loader__, main.__file__), interpreter)


def ensure_command(task: Task) -> dict[str, Any]:
    """Bring the file to what the task says."""
    from ansible_collections.hull.engine.plugins.module_utils._module.command_line import lasting_interpreter
    from ansible_collections.hull.engine.plugins.module_utils._module.installed_file import ensure_absent, ensure_file

    path = task.options["path"]
    if task.options["state"] == "absent":
        return {**outcome_result(ensure_absent(path, check=task.check), "file"), "path": path}
    from ansible_collections.hull.engine.plugins.module_utils._base.digests import sha256_of
    from ansible_collections.hull.engine.plugins.module_utils._base.version import VERSION

    content = executable(task.options["interpreter"] or lasting_interpreter())
    result = outcome_result(ensure_file(path, content, mode=0o755, check=task.check), "file")
    return {**result, "path": path, "version": VERSION, "digest": sha256_of(content)}


def main() -> None:
    """Run the module."""
    run_module(ensure_command, ARGUMENTS)


if __name__ == "__main__":
    main()
