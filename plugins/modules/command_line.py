#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.command_line: the hull command as one file on the host, with completion and manual page."""

from __future__ import annotations

DOCUMENTATION = r"""
module: command_line
short_description: Install the hull command
description:
  - Writes the command C(hull) to the host as one executable file that holds the whole engine of this version of the
    collection. Nothing is downloaded. Completion for shells and a manual page can go along.
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
      - V(absent) removes the file, whatever it is, and completion and manual page with it.
    type: str
    choices: [present, absent]
    default: present
  interpreter:
    description:
      - The Python that executes it. Not given, it is the one that executes this module, by a name that stays where an
        upgrade changes its version; of a virtual environment the Python that it was made from.
      - Another Python 3.9 or newer works too, but starts more slowly.
    type: path
  completion:
    description:
      - Whether shells complete commands, flags and values, and the names of containers, images and volumes.
      - V(true) writes a script for each of bash, zsh and fish that the host has. Bash reads it where the package
        bash-completion is installed.
      - V(false) removes the scripts. Not given, they stay as they are.
    type: bool
  manual:
    description:
      - Whether there is a manual page, for C(man hull). Not given, it stays as it is.
    type: bool
  share_directory:
    description:
      - Where the manual page and the scripts of bash and zsh go, in the directories that are usual below it. Those that
        are missing are made, and removed with the files when they are empty.
    type: path
    default: /usr/local/share
  fish_directory:
    description:
      - Where the script of fish goes.
    type: path
    default: /etc/fish/completions
seealso:
  - module: hull.engine.engine
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: For people who sit at the host
  hull.engine.command_line:
    completion: true
    manual: true

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

import os  # noqa: E402

from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ansible_collections.hull.engine.plugins.module_utils._module.installed_file import InstalledFile

ARGUMENTS: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "default": "/usr/local/bin/hull"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "interpreter": {"type": "path"},
    "completion": {"type": "bool"},
    "manual": {"type": "bool"},
    "share_directory": {"type": "path", "default": "/usr/local/share"},
    "fish_directory": {"type": "path", "default": "/etc/fish/completions"},
}


def executable(interpreter: str) -> bytes:
    """The file's content, of the sources that came with this module."""
    # The command's own imports make Ansible send the whole engine along with this module; nothing imports `bundled`.
    from ansible_collections.hull.engine.plugins.module_utils._cli import bundled, main  # noqa: F401
    from ansible_collections.hull.engine.plugins.module_utils._module.command_line import build, sources_beside

    return build(sources_beside(main.__loader__, main.__file__), interpreter)


def companions(options: dict[str, Any]) -> list[InstalledFile]:
    """The scripts of the shells and the manual page, as the options want them."""
    from shutil import which

    from ansible_collections.hull.engine.plugins.module_utils._cli.manual import manual_page
    from ansible_collections.hull.engine.plugins.module_utils._cli.shells import completion_script
    from ansible_collections.hull.engine.plugins.module_utils._module.installed_file import InstalledFile

    name, share, fish = os.path.basename(options["path"]), options["share_directory"], options["fish_directory"]
    absent = options["state"] == "absent"
    completion, manual = (False if absent else options[option] for option in ("completion", "manual"))
    files = []
    for shell, path, within in (
        ("bash", f"{share}/bash-completion/completions/{name}", share),
        ("zsh", f"{share}/zsh/site-functions/_{name}", share),
        ("fish", f"{fish}/{name}.fish", fish),
    ):
        if completion and which(shell):
            files.append(InstalledFile(path, completion_script(shell, name).encode(), within=within))
        elif completion is False:
            files.append(InstalledFile(path, None, within=within))
    if manual is not None:
        page = manual_page().encode() if manual else None
        files.append(InstalledFile(f"{share}/man/man1/{name}.1", page, within=share))
    return files


def ensure_command(task: Task) -> dict[str, Any]:
    """Bring the files to what the task says."""
    from ansible_collections.hull.engine.plugins.module_utils._base.digests import sha256_of
    from ansible_collections.hull.engine.plugins.module_utils._base.version import VERSION
    from ansible_collections.hull.engine.plugins.module_utils._module.command_line import lasting_interpreter
    from ansible_collections.hull.engine.plugins.module_utils._module.installed_file import InstalledFile, ensure_files

    path, present = task.options["path"], task.options["state"] == "present"
    content = executable(task.options["interpreter"] or lasting_interpreter()) if present else None
    files = [InstalledFile(path, content, 0o755), *companions(task.options)]
    result = {**outcome_result(ensure_files(files, check=task.check), "file"), "path": path}
    return {**result, "version": VERSION, "digest": sha256_of(content)} if content is not None else result


def main() -> None:
    """Run the module."""
    run_module(ensure_command, ARGUMENTS)


if __name__ == "__main__":
    main()
