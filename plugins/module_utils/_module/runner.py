# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Runs one module: reads its options, opens the engine, turns errors into one message, ends the process.

The only place that ends a module's process and the only one that catches every exception.
"""

from __future__ import annotations

import os
import sys

from ansible.module_utils.basic import AnsibleModule

from .._base.errors import Denied, HullError, Unsupported
from .._base.paths import find_paths
from .arguments import ENGINE_ARGUMENTS
from .compiled import use_compiled_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from .._engine.engine import Engine

    Result = dict[str, Any]

_TRACEBACK_VERBOSITY = 3
_OLDEST_PYTHON = (3, 9)


class TaskFailed(Exception):
    """The task did what it was told and that failed, as a command with a status other than 0 does."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class Task:
    """What a module's operation sees of its task: the engine, the options, and whether anything may be changed."""

    def __init__(
        self, engine: Engine, options: dict[str, Any], *, check: bool, log: Callable[[str], None] = lambda _text: None
    ) -> None:
        self.engine = engine
        self.options = options
        self.check = check
        self.log = log  # to the managed host's log of modules


class _Module(AnsibleModule):  # type: ignore[misc]
    """An AnsibleModule that knows cures for arguments that it refuses."""

    def __init__(self, arguments: dict[str, dict[str, Any]], cures: dict[str, str], **constraints: Any) -> None:
        self._cures = cures
        super().__init__(arguments, supports_check_mode=True, **constraints)
        self._cures = {}

    def fail_json(self, msg: str, **details: Any) -> None:
        """End the module; a message about arguments that has one of the words gets its cure."""
        cures = [cure for word, cure in self._cures.items() if word in msg]
        super().fail_json(msg="; ".join((msg, *cures)), **details)


def run_module(
    operation: Callable[[Task], Result],
    arguments: dict[str, dict[str, Any]],
    *,
    cures: dict[str, str] | None = None,
    **constraints: Any,
) -> None:
    """Run the operation with the task's options and end the process with its result.

    `cures` are what to tell beside AnsibleModule's message about a refused argument that has one of these words.
    `constraints` are AnsibleModule's: required_if, mutually_exclusive and their like.
    """
    module = _Module({**ENGINE_ARGUMENTS, **arguments}, cures or {}, **constraints)
    failure: Exception | None = None
    result: Result = {}
    try:
        check_host()
        result = _operate(module, operation)
    except Exception as error:  # the border: whatever it is, the user gets one message
        failure = error
    for warning in result.pop("warnings", []):
        module.warn(warning)
    if failure is not None:
        traced = bool(module._debug or module._verbosity >= _TRACEBACK_VERBOSITY)
        module.fail_json(**failure_result(failure, traced=traced))
    module.exit_json(**result)


def _operate(module: AnsibleModule, operation: Callable[[Task], Result]) -> Result:
    options = dict(module.params)
    paths = find_paths(*(options.pop(name) for name in ENGINE_ARGUMENTS))
    code = use_compiled_code(paths, module._name)
    from .._engine.engine import Engine  # after this, what the engine imports may come from kept code

    with Engine(paths) as engine:
        result = operation(Task(engine, options, check=module.check_mode, log=module.log))
    if code is not None and result.get("changed") and not module.check_mode:
        code.keep()
    return result


def check_host() -> None:
    """Raise Unsupported or Denied where the engine can't work at all."""
    version = tuple(sys.version_info[:2])
    if version < _OLDEST_PYTHON:
        raise Unsupported(
            f"Python {version[0]}.{version[1]} on the managed host is too old: 3.9 or newer is needed",
            hint="name one with ansible_python_interpreter",
        )
    if sys.platform != "linux":
        raise Unsupported(f"containers need Linux, this is {sys.platform}")
    if os.geteuid() != 0:
        raise Denied(f"containers are root's business and this is user {os.geteuid()}", hint="set become: true")


def failure_result(error: Exception, *, traced: bool) -> Result:
    """The result of a failed task. Only a traceback that was asked for is added, and never values of variables."""
    if isinstance(error, TaskFailed):
        return {**error.result, "msg": str(error)}
    if isinstance(error, HullError):
        result: Result = {"msg": str(error), "error": type(error).__name__}
    elif isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        result = {"msg": f"{place}{error.strerror}", "error": type(error).__name__}
    else:
        message = f"the engine stumbled: {type(error).__name__} in {_place(error.__traceback__)}"
        result = {"msg": message, "error": type(error).__name__}
    if traced:
        from traceback import format_tb

        result["traceback"] = "".join(format_tb(error.__traceback__)).splitlines()
    return result


def _place(traceback: TracebackType | None) -> str:
    """File and line where it happened, the file as the collection names it."""
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    if traceback is None:
        return "an unknown place"
    name = traceback.tb_frame.f_code.co_filename
    return f"{name.rpartition('module_utils/')[2]}:{traceback.tb_lineno}"
