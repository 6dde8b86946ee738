# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A process's own files of proc are written only in a real proc that nothing is mounted over."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel.own_proc import write_attribute

from tests.support.isolated import run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def attempt(*commands: str) -> tuple[int, str]:
    """The errno of writing this process's name after shell commands, and the name then; %d is this process."""
    for command in commands:
        subprocess.run(["sh", "-ec", command.replace("%d", str(os.getpid()))], check=True)
    try:
        write_attribute("comm", b"written")
    except OSError as error:
        return error.errno or 0, ""
    return 0, Path("/proc/self/comm").read_text().strip()


def test_s18_the_attribute_is_written() -> None:
    assert run_isolated(attempt) == (0, "written")


@pytest.mark.parametrize(
    "commands",
    [
        ("mount -t tmpfs none /proc; mkdir /proc/%d; : > /proc/%d/comm",),
        ("mount --bind /proc/%d /proc",),
        ("mount -t tmpfs none /proc/%d; : > /proc/%d/comm",),
        ("mount -t tmpfs none /tmp; : > /tmp/comm; mount --bind /tmp/comm /proc/%d/comm",),
        ("mount --bind /proc/1/comm /proc/%d/comm",),
    ],
)
def test_s18_what_only_looks_like_proc_is_refused(commands: tuple[str, ...]) -> None:
    assert run_isolated(attempt, *commands)[0] in (errno.EXDEV, errno.ENOENT, errno.ELOOP)


def test_s18_a_link_for_proc_is_refused() -> None:
    def act() -> int:
        subprocess.run(["sh", "-ec", "mount -t tmpfs none /mnt; ln -s /proc /mnt/proc"], check=True)
        os.chroot("/mnt")
        try:
            write_attribute("comm", b"written")
        except OSError as error:
            return error.errno or 0
        return 0

    assert run_isolated(act) == errno.ELOOP
