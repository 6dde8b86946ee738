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
  - What the command has started ends with it, and with the task, also where that is interrupted.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.docker
  - hull.engine.engine.attributes
attributes:
  check_mode:
    support: partial
    details:
      - In check mode the command is not executed. The task counts as skipped, unless O(creates) or O(removes) tells
        whether it would be.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - What a command changes is not known. The task is changed unless C(changed_when) says otherwise, or O(creates)
        or O(removes) that there is nothing to do.
options:
  container:
    description:
      - The container's name, its id or at least the first 12 digits of that.
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
  creates:
    description:
      - A path in the container, absolute. Where it exists, the command is not executed.
    type: str
  removes:
    description:
      - A path in the container, absolute. Where it does not exist, the command is not executed.
    type: str
  command_timeout:
    description:
      - The seconds after which the command and all that it has started are ended, and the task fails.
      - V(0) is for never.
    type: float
    default: 0
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

- name: Set the database up, once
  hull.engine.container_exec:
    container: db
    command: /usr/local/bin/setup --all
    creates: /var/lib/app/ready
    command_timeout: 300
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
    - What the command wrote to its standard output, the first 16 MiB of it. A warning tells how much more there was.
  returned: when O(detach=false)
  type: str
stderr:
  description:
    - What the command wrote to its standard error.
  returned: when O(detach=false)
  type: str
exec_id:
  description:
    - The number of the command's process on the managed host.
  returned: when O(detach=true)
  type: str
  sample: "4711"
"""

from ansible_collections.hull.engine.plugins.module_utils._base.errors import NotFound  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.docker_connection import (  # noqa: E402
    DOCKER_ARGUMENTS,
    refuse_other_hosts,
)
from ansible_collections.hull.engine.plugins.module_utils._module.runner import (  # noqa: E402
    Task,
    TaskFailed,
    run_module,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ansible_collections.hull.engine.plugins.module_utils._engine.exec import ExecResult
    from ansible_collections.hull.engine.plugins.module_utils._store.records import ContainerRecord

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
    "creates": {"type": "str"},
    "removes": {"type": "str"},
    "command_timeout": {"type": "float", "default": 0},
}

_NOTHING = {"changed": False, "rc": 0, "stdout": "", "stderr": ""}


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


def reason_not_to(task: Task, record: ContainerRecord) -> str:
    """Why `creates` or `removes` says that there is nothing to do; empty where there is."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.copy_tasks import exists_inside

    creates, removes = task.options["creates"], task.options["removes"]
    if creates and exists_inside(task.engine, record, creates, option="creates"):
        return f"{creates} exists"
    if removes and not exists_inside(task.engine, record, removes, option="removes"):
        return f"{removes} does not exist"
    return ""


def execute(task: Task) -> dict[str, Any]:
    """Execute the command, or say that it is not."""
    from ansible_collections.hull.engine.plugins.module_utils._engine import containers, exec
    from ansible_collections.hull.engine.plugins.module_utils._engine.options import environment

    options = task.options
    refuse_other_hosts(options)
    argv, env = words(options), environment(options["env"])
    has_condition = bool(options["creates"] or options["removes"])
    if task.check and not has_condition:
        return {**_NOTHING, "skipped": True, "msg": "not executed in check mode"}
    record = containers.lookup(task.engine, options["container"])
    if record is None:
        raise NotFound(f'Could not find container "{options["container"]}"')
    if has_condition:
        reason = reason_not_to(task, record)
        if reason:
            return {**_NOTHING, "stdout": f"skipped, since {reason}", "msg": f"not executed, since {reason}"}
    if task.check:
        return {**_NOTHING, "changed": True, "msg": "not executed in check mode"}
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
        with exec.open_exec(task.engine, record, process, attach=False) as session:
            return {"changed": True, "exec_id": str(session.pid)}
    newline = "\n" if stdin is not None and options["stdin_add_newline"] else ""
    done = exec.run(
        task.engine,
        record,
        process,
        stdin=None if stdin is None else (stdin + newline).encode(),
        timeout_s=options["command_timeout"],
    )
    return result_of(done, options)


def result_of(done: ExecResult, options: dict[str, Any]) -> dict[str, Any]:
    """The result of a command that has ended. Raises TaskFailed where its time ran out."""
    result: dict[str, Any] = {
        "changed": True,
        "rc": done.rc,
        "stdout": text(done.stdout, strip=options["strip_empty_ends"]),
        "stderr": text(done.stderr, strip=options["strip_empty_ends"]),
    }
    if done.dropped_bytes:
        result["warnings"] = [f"{done.dropped_bytes} bytes of output were too much and are not here"]
    if done.timed_out:
        seconds = options["command_timeout"]
        message = f"command_timeout: the command in container {options['container']} was ended after {seconds:g} s"
        raise TaskFailed(message, result)
    return result


def main() -> None:
    """Run the module."""
    run_module(
        execute,
        {**DOCKER_ARGUMENTS, **ARGUMENTS},
        required_one_of=[("argv", "command")],
        mutually_exclusive=[("argv", "command")],
    )


if __name__ == "__main__":
    main()
