# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Constants of linux/sched.h (clone3, unshare, setns) and the resource numbers of asm-generic/resource.h."""

from __future__ import annotations

CLONE_NEWTIME = 0x00000080  # collides with an exit signal of the old clone; clone3 and unshare take it
CLONE_VM = 0x00000100
CLONE_FS = 0x00000200
CLONE_FILES = 0x00000400
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_CLEAR_SIGHAND = 0x100000000
CLONE_INTO_CGROUP = 0x200000000

SIGCHLD = 17

# The names are those of limits.conf and of a container's `ulimits`; the same on x86 and asm-generic machines.
RLIMITS = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}
