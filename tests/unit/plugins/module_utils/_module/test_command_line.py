# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from hashlib import sha256
from types import SimpleNamespace

from ansible_collections.hull.engine.plugins.module_utils._module import command_line

MAIN = b"""
import os
from .._base.words import GREETING

def main(argv):
    os.write(1, GREETING + b" " + argv[0].encode())
    return 3
"""
UTILS = os.path.dirname(os.path.dirname(command_line.__file__))
SOURCES = {
    **command_line.sources_beside(None, f"{UTILS}/_cli/main.py"),
    "_base/words.py": b'GREETING = b"hello"',
    "_cli/main.py": MAIN,
}


def _run(path):
    return subprocess.run([path, "you there"], stdout=subprocess.PIPE, text=True, check=False)


def test_the_file_is_a_program_that_needs_nothing_beside_it(tmp_path):
    path = tmp_path / "hull"
    path.write_bytes(command_line.build(SOURCES, sys.executable))
    path.chmod(0o755)
    done = _run(str(path))
    assert (done.stdout, done.returncode) == ("hello you there", 3)
    assert os.listdir(tmp_path) == ["hull"]


def test_another_python_ignores_the_bytecode(tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, "MAGIC_NUMBER", b"\x01\x02\r\n")
    path = tmp_path / "hull"
    path.write_bytes(command_line.build(SOURCES, sys.executable))
    path.chmod(0o755)
    assert _run(str(path)).stdout == "hello you there"


def test_the_version_of_the_launch_code_is_in_the_file_as_the_sources_give_it(tmp_path):
    asked = b"""
import os
from .._runtime import launch_code

def main(argv):
    known = launch_code.version()
    launch_code._known.clear()
    __loader__.launch_version = ""
    os.write(1, f"{known} {launch_code.version()} {launch_code.__loader__.archive}".encode())
    return 0
"""
    path = tmp_path / "hull"
    path.write_bytes(command_line.build({**SOURCES, "_cli/main.py": asked}, sys.executable))
    path.chmod(0o755)
    known, computed, archive = _run(str(path)).stdout.split()
    assert known == computed
    assert archive == str(path)


def test_the_same_sources_give_the_same_bytes():
    again = dict(reversed(SOURCES.items()))
    assert command_line.build(SOURCES, "/usr/bin/python3") == command_line.build(again, "/usr/bin/python3")


BUILD = f"""
import asyncio, sys
from hashlib import sha256
from {command_line.__name__} import build, sources_beside

print(sha256(build(sources_beside(None, sys.argv[1]), "/usr/bin/python3")).hexdigest())
"""


def test_another_process_gives_the_same_bytes():
    main = f"{UTILS}/_cli/main.py"
    here = command_line.build(command_line.sources_beside(None, main), "/usr/bin/python3")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, main], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.strip() == sha256(here).hexdigest()


def test_sources_come_from_a_directory(tmp_path):
    for path in ("_cli/main.py", "_base/words.py", "_module/runner.py", "_base/notes.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"# " + path.encode())
    for layer in command_line._LAYERS:
        (tmp_path / layer).mkdir(exist_ok=True)
    found = command_line.sources_beside(None, str(tmp_path / "_cli" / "main.py"))
    assert found == {"_cli/main.py": b"# _cli/main.py", "_base/words.py": b"# _base/words.py"}


def test_sources_come_from_the_archive_that_ansible_sends(tmp_path):
    payload = tmp_path / "payload.zip"
    prefix = "ansible_collections/hull/engine/plugins/module_utils"
    with zipfile.ZipFile(payload, "w") as archive:
        archive.writestr(f"{prefix}/__init__.py", "")
        archive.writestr(f"{prefix}/_cli/__init__.py", "")
        archive.writestr(f"{prefix}/_cli/main.py", "main")
        archive.writestr(f"{prefix}/_module/runner.py", "runner")
        archive.writestr("ansible/module_utils/basic.py", "basic")
    loader = SimpleNamespace(archive=str(payload))
    assert command_line.sources_beside(loader, f"{payload}/{prefix}/_cli/main.py") == {"_cli/main.py": b"main"}


def test_the_interpreter_is_not_that_of_a_virtual_environment(tmp_path, monkeypatch):
    (tmp_path / "python").symlink_to("/usr/bin/python3")
    monkeypatch.setattr(command_line.sys, "executable", str(tmp_path / "python"))
    assert command_line.lasting_interpreter() == "/usr/bin/python3"


def test_an_interpreter_in_a_place_of_its_own_is_named_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "python3.99").write_bytes(b"")
    (tmp_path / "python").symlink_to("python3.99")
    monkeypatch.setattr(command_line.sys, "executable", str(tmp_path / "python"))
    assert command_line.lasting_interpreter() == str(tmp_path / "python3.99")
