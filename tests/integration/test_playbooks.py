# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Every playbook of tests/integration/playbooks passes: tasks as users write them, against this kernel."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Playbooks

DIRECTORY = Path(__file__).with_name("playbooks")
ROLE = DIRECTORY / "role_host.yml"  # the longest: one run of it serves all that is asked of its output
DEMONSTRATION = Path(__file__).resolve().parents[2] / "playbooks/hello.yml"


@pytest.mark.parametrize("playbook", sorted(set(DIRECTORY.glob("*.yml")) - {ROLE}), ids=lambda path: path.stem)
def test_playbook(playbook: Path, playbooks: Playbooks) -> None:
    playbooks.run(playbook)


def test_role_in_check_mode_changes_nothing(playbooks: Playbooks) -> None:
    """On a host that has nothing yet."""
    playbooks.run(ROLE, "--check", "--diff")


def test_role_changes_nothing_the_second_time_and_never_shows_a_password(playbooks: Playbooks) -> None:
    """Its tasks run twice in the playbook: all that they change is changed the first time. The password of a registry
    is not shown, not even with -vvv and --diff."""
    output = playbooks.run(ROLE, "-vvv", "--diff").partition("PLAY [")[2]
    assert output.count("TASK [hull.engine.host : Install the hull command]") == 2
    again = output.partition("TASK [Prepare it again]")[2].partition("TASK [Undo it]")[0]
    assert "ok: [localhost]" in again and "changed: [" not in again
    assert "swordfish" not in output


@pytest.mark.parametrize("image", ["", "{registry}/team/small:1"], ids=["from this machine", "from a registry"])
def test_demonstration(playbooks: Playbooks, image: str) -> None:
    """What `make demo` runs, and `make demo IMAGE=...`, in directories of its own."""
    variables = {
        "hello_image": image.format(**playbooks.variables),
        "hello_root": playbooks.paths.root,
        "hello_run": playbooks.paths.run,
    }
    output = playbooks.run(DEMONSTRATION, "-e", json.dumps(variables))
    assert output.count("Hello world\\n") == 2
    assert not os.path.exists(playbooks.paths.root)
