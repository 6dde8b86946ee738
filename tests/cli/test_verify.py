# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`hull verify` as it is typed, and a damaged image repaired below a container that runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .conftest import Hull

LINE = re.compile(r"(sound|damaged) +(layer|blob) sha256:[0-9a-f]{64} \(\S+/busybox:latest\)")


def busybox_of(hull: Hull) -> Path:
    """The file of the program in the layer that has it."""
    (found,) = [path for path in Path(hull.paths.layers).glob("*/fs/bin/busybox") if not path.is_symlink()]
    return found


def flip(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(-100, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def test_a_sound_image_is_said_to_be_one(hull: Hull) -> None:
    hull("pull", "-q", "busybox")
    lines = hull("verify", "busybox").splitlines()
    assert lines and all(LINE.fullmatch(line) and line.startswith("sound") for line in lines)
    assert hull("image", "verify", "--all").splitlines() == lines
    assert hull("verify", "-q", "-a") == ""


def test_what_is_damaged_is_listed_and_the_exit_code_says_so(hull: Hull) -> None:
    hull("pull", "-q", "busybox")
    flip(busybox_of(hull))
    os.chmod(busybox_of(hull), 0o700)
    done = hull.run("verify", "-q", "busybox")
    assert done.returncode == 1
    first, *details = done.stdout.decode().splitlines()
    assert LINE.fullmatch(first) and first.startswith("damaged  layer")
    assert "    bin/busybox: mode 0755 became 0700, time, content" in details
    assert "/busybox:latest: damaged; pull or load again, that repairs in place" in done.stderr.decode()


def test_wrong_arguments_are_refused(hull: Hull) -> None:
    assert "name the images, or say --all" in hull.fails(1, "verify")
    assert "--all goes without names" in hull.fails(1, "verify", "--all", "busybox")
    assert "no such image" in hull.fails(1, "verify", "nothing")


def test_a_pull_repairs_below_a_container_that_runs(hull: Hull) -> None:
    hull("run", "-d", "--name", "web", "busybox", "sleep", "600")
    program = busybox_of(hull)
    inner = program.parent.parent / "etc"
    names = sorted(path.name for path in inner.iterdir())
    (inner / "added").write_text("by nobody")
    assert hull("exec", "web", "cat", "/etc/added") == "by nobody"
    assert hull.run("verify", "busybox").returncode == 1
    hull("pull", "-q", "busybox")
    assert sorted(path.name for path in inner.iterdir()) == names
    assert hull.run("exec", "web", "cat", "/etc/added").returncode == 1
    assert hull.status("web") == "running" and "damaged" not in hull("verify", "busybox")
