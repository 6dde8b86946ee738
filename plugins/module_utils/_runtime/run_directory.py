# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The run-time directory of one container: state.json, monitor.sock, monitor.lock. It has files only."""

from __future__ import annotations

import os

GONE = ".gone-"  # in the name of a directory that is being removed


def remove_run_directory(path: str) -> None:
    """Remove the directory with its files. It goes in one step, by a rename: who finds none may make a new one."""
    gone = f"{path}{GONE}{os.getpid()}"
    try:
        os.rename(path, gone)
        for name in os.listdir(gone):
            os.unlink(f"{gone}/{name}")
        os.rmdir(gone)
    except OSError:
        pass
