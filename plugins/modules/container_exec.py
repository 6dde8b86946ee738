#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_exec: one more command in a running container."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_exec
short_description: Execute a command in a running container
description:
  - Executes a command in a container that runs, as the container's own user and with its environment, and returns
    what it wrote.
  - As with M(ansible.builtin.command), a status other than 0 fails the task unless C(failed_when) says otherwise.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
attributes:
  check_mode:
    support: partial
    details:
      - In check mode the command is not executed and the task counts as skipped.
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - What a command changes is not known. The task is always changed unless C(changed_when) says otherwise.
options:
  container:
    description:
      - The container's name, id or the beginning of its id.
    type: str
    required: true
  argv:
    description:
      - The command as a list of words. No shell runs it.
    type: list
    elements: str
  command:
    description:
      - The command as one string that is split like a shell would. No shell runs it.
    type: str
  chdir:
    description:
      - The directory in which the command starts.
    type: str
  user:
    description:
      - Who executes it, as V(name), V(uid), V(name:group) or V(uid:gid).
    type: str
  env:
    description:
      - Further environment variables. Values are strings; put numbers and booleans into quotes.
    type: dict
  stdin:
    description:
      - What the command reads from its standard input.
    type: str
  stdin_add_newline:
    description:
      - Add a newline to O(stdin).
    type: bool
    default: true
  strip_empty_ends:
    description:
      - Remove empty lines at the end of the output.
    type: bool
    default: true
  tty:
    description:
      - Give the command a pseudo-terminal.
    type: bool
    default: false
  privileged:
    description:
      - Execute it with all capabilities.
    type: bool
    default: false
  detach:
    description:
      - Do not wait for the command's end.
    type: bool
    default: false
seealso:
  - module: hull.engine.container
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Reload the web server's configuration
  hull.engine.container_exec:
    container: web
    argv: [nginx, -s, reload]

- name: How large is the database?
  hull.engine.container_exec:
    container: db
    user: postgres
    argv: [psql, -At]
    stdin: SELECT pg_database_size('app')
  register: size
  changed_when: false
"""

RETURN = r"""
rc:
  description:
    - The exit status of the command.
  returned: when O(detach=false)
  type: int
  sample: 0
stdout:
  description:
    - What the command wrote to its standard output.
  returned: when O(detach=false)
  type: str
stderr:
  description:
    - What the command wrote to its standard error.
  returned: when O(detach=false)
  type: str
"""

from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "container": {"type": "str", "required": True},
    "argv": {"type": "list", "elements": "str"},
    "command": {"type": "str"},
    "chdir": {"type": "str"},
    "user": {"type": "str"},
    "env": {"type": "dict"},
    "stdin": {"type": "str"},
    "stdin_add_newline": {"type": "bool", "default": True},
    "strip_empty_ends": {"type": "bool", "default": True},
    "tty": {"type": "bool", "default": False},
    "privileged": {"type": "bool", "default": False},
    "detach": {"type": "bool", "default": False},
}

_SKIPPED = {"changed": False, "skipped": True, "rc": 0, "stdout": "", "stderr": ""}


def words(options: dict[str, Any]) -> tuple[str, ...]:
    """The command. Raises Invalid where it is empty or can't be split."""
    from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
    from ansible_collections.hull.engine.plugins.module_utils._engine.options import split_words

    option = "command" if options["argv"] is None else "argv"
    argv = split_words(options[option], option=option)
    if not argv:
        raise Invalid("there is no word in it", option=option, hint="give the program's name at least")
    return argv


def text(data: bytes, *, strip: bool) -> str:
    """Output as it stands in a result."""
    decoded = data.decode("utf-8", "replace")
    return decoded.rstrip("\r\n") if strip else decoded


def execute(task: Task) -> dict[str, Any]:
    """Execute the command, or in check mode say that it is skipped."""
    from ansible_collections.hull.engine.plugins.module_utils._engine import containers, exec
    from ansible_collections.hull.engine.plugins.module_utils._engine.options import environment

    options = task.options
    argv, env = words(options), environment(options["env"])
    if task.check:
        return {**_SKIPPED, "msg": "not executed in check mode"}
    record = containers.find(task.engine, options["container"])
    stdin = options["stdin"]
    process = exec.process_plan(
        record,
        argv,
        env=env,
        user=options["user"],
        working_dir=options["chdir"],
        tty=options["tty"],
        interactive=stdin is not None,
        privileged=options["privileged"],
    )
    if options["detach"]:
        exec.open_exec(task.engine, record, process, attach=False).close()
        return {"changed": True}
    newline = "\n" if stdin is not None and options["stdin_add_newline"] else ""
    done = exec.run(task.engine, record, process, stdin=None if stdin is None else (stdin + newline).encode())
    result: dict[str, Any] = {
        "changed": True,
        "rc": done.rc,
        "stdout": text(done.stdout, strip=options["strip_empty_ends"]),
        "stderr": text(done.stderr, strip=options["strip_empty_ends"]),
    }
    if done.dropped_bytes:
        result["warnings"] = [f"{done.dropped_bytes} bytes of output were too much and are not here"]
    return result


def main() -> None:
    """Run the module."""
    run_module(
        execute,
        ARGUMENTS,
        required_one_of=[("argv", "command")],
        mutually_exclusive=[("argv", "command")],
    )


if __name__ == "__main__":
    main()
