#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch a container by hand, of busybox or of a directory as its only layer: for experiments with the launch code.

    tests/support/launch.py [-t] [-i] [--init] [--root DIRECTORY] COMMAND [ARGUMENT ...]

State lies in a temporary directory that is removed afterwards, with everything that ran in it.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def main(argv: list[str]) -> int:
    """Run the command, print its output, return its status."""
    import tests.conftest  # noqa: F401
    from tests.support.box import open_box

    options, layers = [], ()
    while argv and argv[0].startswith("-"):
        option = argv.pop(0)
        if option == "--root":
            layers = (os.path.abspath(argv.pop(0)),)
        options.append(option)
    with open_box() as box:
        process = {"tty": "-t" in options, "open_stdin": "-i" in options}
        plan = box.plan(*argv, process=process, init="--init" in options, layers=layers or (box.rootfs,))
        result = box.run(plan, sys.stdin.buffer.read() if "-i" in options else None)
        os.write(1, result.stdout)
        os.write(2, result.stderr)
        return result.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
