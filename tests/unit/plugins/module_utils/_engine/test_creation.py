# SPDX-License-Identifier: GPL-3.0-or-later
"""What a killed creation leaves behind."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._engine import volumes
from ansible_collections.hull.engine.plugins.module_utils._engine.creation import sweep_creations
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine, open_engine

ID = "ab" * 32


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_engine(str(tmp_path / "root"), str(tmp_path / "run"), str(tmp_path / "etc"))


def leave(engine: Engine) -> str:
    """Have what a creation has that was killed after it made an anonymous volume. The path of its mark."""
    volume = volumes.create(engine, "cd" * 32, anonymous=True)
    volumes.create(engine, "named")
    os.makedirs(engine.paths.temporary, exist_ok=True)
    os.makedirs(engine.paths.container(ID) + "/upper")
    Path(engine.paths.volume(volume.name), "copied").touch()
    mark = Path(engine.paths.temporary, f"{ID}.creating")
    mark.write_text(f"{volume.name}\n{'ef' * 32}\n")
    return str(mark)


def test_r01_the_anonymous_volumes_of_a_killed_creation_go_with_it(engine: Engine) -> None:
    mark = leave(engine)
    sweep_creations(engine)
    assert [record.name for record in volumes.list_volumes(engine)] == ["named"]
    assert os.listdir(engine.paths.root + "/volumes") == ["named"]
    assert not os.path.exists(mark) and not os.path.exists(engine.paths.container(ID))
    assert os.listdir(engine.paths.locks) == [] and os.listdir(engine.paths.trash) == []


def test_r01_a_creation_that_goes_on_is_left_alone(engine: Engine) -> None:
    with open(leave(engine), "rb") as maker:
        fcntl.flock(maker, fcntl.LOCK_EX)
        sweep_creations(engine)
    assert len(volumes.list_volumes(engine)) == 2 and os.path.exists(engine.paths.container(ID))


def test_r01_what_killed_removals_set_aside_goes(engine: Engine) -> None:
    leave(engine)
    grave = Path(engine.paths.trash, "ab-1", "upper")
    gone = Path(engine.paths.container_run(ID) + ".gone-17")
    runs = Path(engine.paths.container_run("ef" * 32))
    for directory in (grave, gone, runs):
        directory.mkdir(parents=True)
    (gone / "state.json").touch()
    sweep_creations(engine)
    assert os.listdir(engine.paths.trash) == []
    assert os.listdir(runs.parent) == [runs.name]
