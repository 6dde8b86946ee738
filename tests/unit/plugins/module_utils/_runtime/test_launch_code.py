# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The launch code: complete, small to import, the same from every place it is read from."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._runtime import launch_code

BASE = Path(launch_code.__file__).parent.parent
FORBIDDEN = (
    "typing json re enum socket signal subprocess dataclasses argparse logging asyncio contextlib functools "
    "collections importlib.metadata tempfile shutil pathlib threading traceback random datetime inspect"
).split()


def imports(name: str) -> set[str]:
    """The files that a file imports by relative import statements, also inside functions, but for annotations only."""
    layer = name.split("/")[0]
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
                for other in child.orelse:
                    visit(other)
                continue
            if isinstance(child, ast.ImportFrom) and child.level:
                package = [layer] if child.level == 1 else []
                parts = package + (child.module.split(".") if child.module else [])
                if len(parts) == 2:
                    found.add("/".join(parts) + ".py")
                else:
                    found.update(f"{parts[0]}/{alias.name}.py" for alias in child.names)
            visit(child)

    visit(ast.parse((BASE / name).read_text()))
    return found


def closure(*names: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += imports(name)
    return seen


def test_the_list_is_what_spawner_and_finisher_import() -> None:
    assert sorted(launch_code.FILES) == sorted(closure("_runtime/spawner.py", "_runtime/finisher.py"))
    assert list(launch_code.FILES) == sorted(launch_code.FILES)


def test_a_tasks_payload_gets_all_of_it() -> None:
    assert set(launch_code.FILES) <= closure("_runtime/client.py")


def run_isolated(directory: str, code: str) -> str:
    program = f"import sys; sys.path.insert(0, {directory!r}); {code}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(f"{tmp_path}/root", f"{tmp_path}/run", f"{tmp_path}/etc")


def test_a_spawner_imports_nothing_heavy(paths: Paths) -> None:
    directory = launch_code.materialise(paths)
    bare = set(run_isolated(directory, "print(*sys.modules)").split())
    loaded = set(run_isolated(directory, "import hull_launch._runtime.spawner; print(*sys.modules)").split()) - bare
    assert not loaded & set(FORBIDDEN)
    assert "ctypes" in loaded


def test_it_is_written_once_and_completely(paths: Paths) -> None:
    directory = launch_code.materialise(paths)
    assert directory == launch_code.directory(paths) == launch_code.materialise(paths)
    assert os.listdir(paths.launch) == [launch_code.version()]
    for name, data in launch_code.sources().items():
        assert Path(f"{directory}/hull_launch/{name}").read_bytes() == data == (BASE / name).read_bytes()
    assert os.stat(directory).st_mode & 0o77 == 0


def test_a_second_writer_at_the_same_time_does_no_harm(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    launch_code.materialise(paths)
    monkeypatch.setattr(
        os.path, "isdir", lambda path, real=os.path.isdir: path != launch_code.directory(paths) and real(path)
    )
    with pytest.raises(OSError):
        launch_code.materialise(paths)
    monkeypatch.undo()
    assert os.listdir(paths.launch) == [launch_code.version()]


@pytest.mark.parametrize("compiled", [False, True])
def test_it_is_the_same_from_a_zip_file(paths: Paths, tmp_path: Path, compiled: bool) -> None:
    archive = f"{tmp_path}/payload.zip"
    packages = {"", *(name.split("/")[0] + "/" for name in launch_code.FILES)}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for package in packages:
            file.writestr(f"hull/{package}__init__.py", "")
        for name in (*launch_code.FILES, "_runtime/launch_code.py"):
            file.write(BASE / name, f"hull/{name}")
            if compiled:
                import py_compile

                cache = py_compile.compile(str(BASE / name), f"{tmp_path}/c.pyc", doraise=True)
                assert cache
                file.write(cache, f"hull/{name}c")
    code = "from hull._runtime import launch_code; print(launch_code.version())"
    assert run_isolated(archive, code).strip() == launch_code.version()


def test_the_finisher_runs_from_the_launch_code(paths: Paths) -> None:
    command = launch_code.finisher_command(paths, "0" * 64)
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""
