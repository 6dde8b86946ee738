# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process on its way into a container tells arrives, however it ends."""

from __future__ import annotations

import os

from ansible_collections.hull.engine.plugins.module_utils._base.errors import LaunchError
from ansible_collections.hull.engine.plugins.module_utils._runtime import handshake
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import ProcessPlan
from ansible_collections.hull.engine.plugins.module_utils._runtime.wiring import Wiring


def follow(ours: int) -> handshake.Progress:
    progress = handshake.Progress()
    wiring = Wiring(ProcessPlan((), ()))
    progress.follow(ours, wiring, 5)
    wiring.close()
    os.close(ours)
    return progress


def test_a_reason_arrives_although_the_child_left_a_message_unread() -> None:
    ours, theirs = handshake.make_pair()
    handshake.send_failure(theirs, LaunchError("no such user"))
    handshake.send(ours, handshake.NETWORK_READY)
    os.close(theirs)
    assert str(follow(ours).failure) == "no such user"


def test_execution_is_told_by_the_end_of_the_channel() -> None:
    ours, theirs = handshake.make_pair()
    handshake.send(theirs, handshake.WARNING, "low limit")
    handshake.send(theirs, handshake.EXECUTING)
    os.close(theirs)
    progress = follow(ours)
    assert (progress.executing, progress.warnings, progress.failure) == (True, ["low limit"], None)
