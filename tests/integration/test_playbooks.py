# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Every playbook of tests/integration/playbooks passes: tasks as users write them, against this kernel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Playbooks

DIRECTORY = Path(__file__).with_name("playbooks")


@pytest.mark.parametrize("playbook", sorted(DIRECTORY.glob("*.yml")), ids=lambda path: path.stem)
def test_playbook(playbook: Path, playbooks: Playbooks) -> None:
    playbooks.run(playbook)


def test_role_in_check_mode_changes_nothing(playbooks: Playbooks) -> None:
    """On a host that has nothing yet."""
    playbooks.run(DIRECTORY / "role_host.yml", "--check", "--diff")


def test_role_changes_nothing_the_second_time(playbooks: Playbooks) -> None:
    """Its tasks run twice in the playbook: all that they change is changed the first time."""
    output = playbooks.run(DIRECTORY / "role_host.yml")
    assert output.count("TASK [hull.engine.host : Install the hull command]") == 2
    again = output.partition("TASK [Prepare it again]")[2].partition("TASK [Undo it]")[0]
    assert "ok: [localhost]" in again and "changed:" not in again


def test_the_password_of_a_registry_is_not_shown(playbooks: Playbooks) -> None:
    """Not even with -vvv and --diff."""
    assert "swordfish" not in playbooks.run(DIRECTORY / "role_host.yml", "-vvv", "--diff").partition("PLAY [")[2]
