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
