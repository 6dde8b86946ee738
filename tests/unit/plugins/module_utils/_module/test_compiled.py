# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Kept code against a payload made as Ansible makes it: a zip file on sys.path with packages in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

ENGINE = Path(__file__).resolve().parents[5] / "plugins" / "module_utils"
PACKAGES = "ansible_collections/hull/engine/plugins/module_utils"

# Counts what is compiled, imports a part of the engine that was not kept or was, and keeps it.
TASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
compiled = []
sys.addaudithook(lambda event, args: compiled.append(str(args[1])) if event == "compile" else None)
package = "ansible_collections.hull.engine.plugins.module_utils"
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._module.compiled import use_compiled_code
code = use_compiled_code(Paths("/nonexistent", sys.argv[2], "/nonexistent"), "hull.engine.container")
from ansible_collections.hull.engine.plugins.module_utils._engine import comparison
assert comparison.__file__.endswith(".zip/" + package.replace(".", "/") + "/_engine/comparison.py"), comparison.__file__
assert comparison.__loader__.get_data(comparison.__file__).startswith(b"# SPDX")
assert comparison.check_comparisons({"env": "strict"}) == {"env": "strict"}
code.keep()
print(json.dumps([name.rpartition("/")[2] for name in compiled]))
"""


def make_payload(path: Path, *, extra: str = "") -> str:
    with zipfile.ZipFile(path, "w") as archive:
        parts = PACKAGES.split("/")
        for depth in range(len(parts)):
            archive.writestr("/".join([*parts[: depth + 1], "__init__.py"]), "")
        for layer in ENGINE.iterdir():
            if layer.name.startswith("_") and layer.name != "__pycache__":
                archive.writestr(f"{PACKAGES}/{layer.name}/__init__.py", "")
                for file in layer.glob("*.py"):
                    text = file.read_text() + (extra if file.name == "comparison.py" else "")
                    archive.writestr(f"{PACKAGES}/{layer.name}/{file.name}", text)
    return str(path)


def run(payload: str, run_directory: Path) -> list[str]:
    command = [sys.executable, "-I", "-S", "-c", TASK, payload, str(run_directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    compiled: Any = json.loads(done.stdout)
    return list(compiled)


@pytest.fixture
def payload(tmp_path: Path) -> str:
    return make_payload(tmp_path / "payload.zip")


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    return directory


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's files are trusted")


@needs_root
def test_a_second_task_compiles_nothing_of_the_engine(payload: str, run_directory: Path) -> None:
    assert "comparison.py" in run(payload, run_directory)
    (kept,) = (run_directory / "code").iterdir()
    assert kept.name.startswith("container.") and kept.stat().st_mode & 0o777 == 0o600
    assert "comparison.py" not in run(payload, run_directory)


@needs_root
def test_another_payload_takes_nothing_of_it(payload: str, run_directory: Path, tmp_path: Path) -> None:
    run(payload, run_directory)
    other = make_payload(tmp_path / "other.zip", extra="\n# a later version\n")
    assert "comparison.py" in run(other, run_directory)
    assert "comparison.py" not in run(other, run_directory)


@needs_root
@pytest.mark.parametrize("harm", ["truncated", "writable for others", "somebody's", "a link"])
def test_a_file_that_is_not_as_expected_is_ignored(
    payload: str, run_directory: Path, tmp_path: Path, harm: str
) -> None:
    run(payload, run_directory)
    (kept,) = (run_directory / "code").iterdir()
    if harm == "truncated":
        kept.write_bytes(kept.read_bytes()[:-100])
    elif harm == "writable for others":
        kept.chmod(0o666)
    elif harm == "somebody's":
        os.chown(kept, 1000, 1000)
    else:
        kept.rename(tmp_path / "elsewhere")
        kept.symlink_to(tmp_path / "elsewhere")
    assert "comparison.py" in run(payload, run_directory)


def test_without_a_run_time_directory_nothing_is_written(payload: str, tmp_path: Path) -> None:
    run(payload, tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
