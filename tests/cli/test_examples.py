# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The examples of the README, as typed."""

from __future__ import annotations

import io
import tarfile

from tests.cli.conftest import wait_until
from tests.support.images import busybox_layer


def test_run_echo(hull):
    assert hull.shell("hull run ubuntu:14.04 /bin/echo 'Hello world'") == "Hello world\n"


def test_run_a_shell_at_a_terminal(hull):
    with hull.terminal("run", "-t", "-i", "ubuntu:14.04", "/bin/bash") as terminal:
        terminal.wait_for("# ")
        terminal.type("echo $((6 * 7)); stty size\r")
        terminal.wait_for("\r\n42\r\n24 80\r\n")
        terminal.type("exit 5\r")
        assert terminal.exit_code() == 5
        assert terminal.attributes() == terminal.before


def test_run_detached_then_attach_stop_and_start(hull):
    script = "ID=$(hull run -d centos /usr/bin/top -b); echo $ID; hull stop -t 1 $ID; hull start $ID"
    lines = hull.shell(script).split()
    container = lines[0]
    assert len(container) == 64 and lines == [container] * 3
    assert hull.status(container) == "running"
    attached = hull.start("attach", container, stdin=-3, stdout=-1)
    try:
        assert b"Mem:" in attached.stdout.readline()
        hull("kill", container)
        attached.stdout.read()
        assert attached.wait(20) == 137
    finally:
        attached.stdout.close()
    wait_until(lambda: hull.status(container) == "exited", "the end of the container")


def test_import_a_template_from_a_pipe(hull, tmp_path):
    template = tmp_path / "template.tar.gz"
    template.write_bytes(busybox_layer("gzip").blob)
    image = hull.shell(f"cat {template} | hull import - ubuntu:14.04").strip()
    assert image.startswith("sha256:")
    assert "ubuntu" in hull("images") and hull("images", "-q", "--no-trunc").strip() == image
    assert hull("run", "ubuntu:14.04", "/bin/echo", "from the template") == "from the template\n"
    with tarfile.open(fileobj=io.BytesIO(template.read_bytes())) as tar:
        assert "bin/busybox" in tar.getnames()
