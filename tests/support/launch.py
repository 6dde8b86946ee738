#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch a container by hand, from a directory as its only layer: for experiments with the launch code alone.

    tests/support/launch.py [-t] [-i] [--init] ROOTFS COMMAND [ARGUMENT ...]

State lies in a temporary directory that is removed afterwards; the spawner ends because its launch code is gone.
"""

from __future__ import annotations

import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
import tests.conftest  # noqa: E402, F401

from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._runtime import client  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import (  # noqa: E402
    LaunchPlan,
    LogPlan,
    ProcessPlan,
)

CAPABILITIES = tuple(
    "CAP_" + name
    for name in "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP".split()
)


def make_plan(paths: Paths, container_id: str, layers: tuple[str, ...], args: tuple[str, ...]) -> LaunchPlan:
    """A plan with the engine's usual strictness but no network, its directories made."""
    root = paths.container(container_id)
    for name in ("upper", "work"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    return LaunchPlan(
        container_id=container_id,
        name=container_id[:12],
        instance=paths.instance,
        root_directory=root,
        run_directory=paths.container_run(container_id),
        layers=layers,
        process=ProcessPlan(args=args, env=("PATH=/bin:/usr/bin",), capabilities=CAPABILITIES),
        hostname="box",
        cgroup=f"{paths.cgroup}/{container_id}",
        log=LogPlan(f"{root}/container.log", 1024 * 1024, 3),
    )


def main(argv: list[str]) -> int:
    options = []
    while argv and argv[0].startswith("-"):
        options.append(argv.pop(0))
    rootfs, *args = argv
    with tempfile.TemporaryDirectory(prefix="hull-launch-") as top:
        paths = Paths(f"{top}/root", f"{top}/run", f"{top}/etc")
        plan = make_plan(paths, os.urandom(32).hex(), (os.path.abspath(rootfs),), tuple(args))
        process = replace(plan.process, tty="-t" in options, open_stdin="-i" in options)
        plan = replace(plan, process=process, init="--init" in options)
        started = client.start(paths, plan, attach=True)
        assert started.session is not None
        for warning in started.warnings:
            print("warning:", warning, file=sys.stderr)
        if "-i" in options:
            started.session.write_stdin(sys.stdin.buffer.read())
            started.session.close_stdin()
        with started.session as session:
            while (frame := session.read()) is not None:
                if frame.kind in ("stdout", "stderr"):
                    os.write(1 if frame.kind == "stdout" else 2, frame.data)
                elif frame.kind == "exit":
                    return int(frame.data)
                else:
                    print(frame, file=sys.stderr)
    return 125


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
