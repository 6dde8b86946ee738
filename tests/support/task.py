# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A module as one process without Ansible around it, for tests that kill it, count its calls or run many at once.

    python tests/support/task.py container '{"name": "web", "image": "busybox"}'

Prints the module's result as JSON; ends with 1 where it failed. The engine's directories come from the environment.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def command(module: str, /, **options: Any) -> list[str]:
    """The words of a process that does the task."""
    return [sys.executable, os.path.abspath(__file__), module, json.dumps(options)]


def do(env: Mapping[str, str], module: str, /, **options: Any) -> dict[str, Any]:
    """Do the task in a forked process; its result. Fails the test where the task does."""
    result = attempt(env, module, **options)
    assert not result.get("failed"), (options, result)
    return result


def attempt(env: Mapping[str, str], module: str, /, **options: Any) -> dict[str, Any]:
    """Do the task in a forked process; its result, also a failed one's."""
    _load(module)
    with tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            _be_task(env, module, options, output.fileno())
        os.waitpid(pid, 0)
        output.seek(0)
        text = output.read().decode()
    return result_of(text)


def result_of(text: str) -> dict[str, Any]:
    """The result that a module has printed. Fails the test where it printed anything else."""
    assert text.startswith("\n{"), text
    result: dict[str, Any] = json.loads(text)
    return result


def _be_task(env: Mapping[str, str], module: str, options: Mapping[str, Any], output_fd: int) -> None:
    """In the child. Never returns."""
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        sys.stdout = open(1, "w", closefd=False)
        os.environ.clear()
        os.environ.update(env)
        run(module, options)
    except SystemExit:
        sys.stdout.flush()
    except BaseException as error:  # the fork boundary
        os.write(2, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(0)


def _load(module: str) -> Any:
    """The module, with the names that a module has when Ansible starts it."""
    return importlib.import_module(f"ansible_collections.hull.engine.plugins.modules.{module}")


def run(module: str, options: Mapping[str, Any]) -> None:
    """Be the module; ends by SystemExit."""
    basic = importlib.import_module("ansible.module_utils.basic")
    given = {**options, "_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False}
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    _load(module).main()


def main(argv: list[str]) -> None:
    """Be the module whose name and options the arguments give."""
    sys.path.insert(0, f"{ROOT}/.collections")
    run(argv[0], json.loads(argv[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
