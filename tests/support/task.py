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
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIMEOUT_S = 120


def command(module: str, **options: Any) -> list[str]:
    """The words of a process that does the task."""
    return [sys.executable, os.path.abspath(__file__), module, json.dumps(options)]


def do(env: Mapping[str, str], module: str, **options: Any) -> dict[str, Any]:
    """Do the task; its result. Fails the test where the task does."""
    result = attempt(env, module, **options)
    assert not result.get("failed"), (options, result)
    return result


def attempt(env: Mapping[str, str], module: str, **options: Any) -> dict[str, Any]:
    """Do the task; its result, also a failed one's."""
    done = subprocess.run(command(module, **options), env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.stdout, (options, done.returncode, done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main(argv: list[str]) -> None:
    """Be the module."""
    sys.path.insert(0, f"{ROOT}/.collections")
    basic = importlib.import_module("ansible.module_utils.basic")
    options = {**json.loads(argv[1]), "_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False}
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": options}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    importlib.import_module(f"ansible_collections.hull.engine.plugins.modules.{argv[0]}").main()


if __name__ == "__main__":
    main(sys.argv[1:])
