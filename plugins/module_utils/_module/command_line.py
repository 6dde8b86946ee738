# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The `hull` command as one executable file: the engine's code, and its sources in a zip archive.

The sources come from where this module's own process got them, so command and modules are always of one version. The
same sources and the same Python give the same bytes. In front lies what the shell reads, then code objects with an
index (`_cli/bundled.py`), because to look through a zip archive takes longer than to start a container. Another Python
than the one that made the file takes the sources and compiles them.

Source: PEP 441 (zip archives as programs).
"""

from __future__ import annotations

import io
import os
import sys
import zipfile
from importlib.util import MAGIC_NUMBER
from marshal import dumps
from types import CodeType

from .._base.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PACKAGE = "hull"
_LAYERS = ("_base", "_sys", "_kernel", "_store", "_image", "_net", "_runtime", "_engine", "_cli")
_START = b"""\
import os
import sys

from hull._cli.main import main

os._exit(main(sys.argv[1:]))
"""
# The interpreter could be on the first line, but then it runs the archive through runpy, which takes longer to import
# than the shell takes to start. -I and -S leave out what surrounds the interpreter: the environment and site-packages.
_LAUNCHER = """\
#!/bin/sh
exec '{interpreter}' -IS -c 'import os, sys
from _frozen_importlib_external import MAGIC_NUMBER
sys.path.insert(0, sys.argv[1])
if MAGIC_NUMBER.hex() == "{magic}":
    from marshal import loads
    with open(sys.argv[1], "rb", 0) as file:
        file.seek({start:<10})
        code = {{}}
        exec(loads(file.read({size:<10})), code)
    code["install"](sys.argv[1], {index_start:<10}, {index_size:<10})
from hull._cli.main import main
os._exit(main(sys.argv[2:]))' "$0" "$@"
"""
_LASTING_NAMES = ("/usr/bin/python3", "/usr/libexec/platform-python", "/usr/local/bin/python3")
_BUNDLED = "_cli/bundled.py"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def sources_beside(loader: Any, module_file: str) -> dict[str, bytes]:
    """The engine's files by their path below module_utils, from the archive or directory that a module came from.

    `loader` and `module_file` are those of any module below module_utils. Raises Unsupported for other loaders.
    """
    archive = getattr(loader, "archive", None)
    if archive:
        return _sources_in_archive(archive)
    directory = os.path.dirname(os.path.dirname(module_file))
    if not os.path.isdir(directory):
        raise Unsupported(f"read the engine's sources: {module_file} is neither in an archive nor in a directory")
    return _sources_in_directory(directory)


def _sources_in_archive(path: str) -> dict[str, bytes]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            _, _, below = name.partition("/plugins/module_utils/")
            if _belongs(below):
                found[below] = archive.read(name)
    return found


def _sources_in_directory(directory: str) -> dict[str, bytes]:
    found = {}
    for layer in _LAYERS:
        for name in os.listdir(f"{directory}/{layer}"):
            if _belongs(f"{layer}/{name}"):
                with open(f"{directory}/{layer}/{name}", "rb") as file:
                    found[f"{layer}/{name}"] = file.read()
    return found


def _belongs(path: str) -> bool:
    layer, _, name = path.partition("/")
    return layer in _LAYERS and name.endswith(".py") and name != "__init__.py"


def lasting_interpreter() -> str:
    """The path of the Python that runs now by which it will be found for longest: no virtual environment's."""
    actual = os.path.realpath(sys.executable)
    lasting = (path for path in _LASTING_NAMES if os.path.realpath(path) == actual)
    return next(lasting, actual)


def build(sources: dict[str, bytes], interpreter: str) -> bytes:
    """The executable. Deterministic. `sources` by their path below module_utils, as `sources_beside` gives them."""
    files = {"__main__.py": _START, f"{PACKAGE}/__init__.py": b""}
    for path, source in sources.items():
        files[f"{PACKAGE}/{path}"] = source
        files.setdefault(f"{PACKAGE}/{path.partition('/')[0]}/__init__.py", b"")
    buffer = io.BytesIO(_with_code(files, interpreter))
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            _add(archive, path, files[path])
    return buffer.getvalue()


def _with_code(files: dict[str, bytes], interpreter: str) -> bytes:
    """What lies in front of the archive: the launcher, the importer's code, all other code, the index."""
    from .._runtime.launch_code import version_of

    start = len(_launcher(interpreter, 0, 0, 0, 0))
    importer = _code(files[f"{PACKAGE}/{_BUNDLED}"], _BUNDLED)
    pieces, at, index = [importer], start + len(importer), {}
    for path in sorted(path for path in files if path.startswith(f"{PACKAGE}/")):
        code = _code(files[path], path.partition("/")[2]) if files[path] else b""
        index[path[: -len(".py")].replace("/", ".").replace(".__init__", "")] = (at, len(code))
        pieces.append(code)
        at += len(code)
    launch_version = version_of({path.partition("/")[2]: files[path] for path in files})
    table = dumps((index, launch_version))
    return b"".join((_launcher(interpreter, start, len(importer), at, len(table)), *pieces, table))


def _launcher(interpreter: str, start: int, size: int, index_start: int, index_size: int) -> bytes:
    """What the shell reads; as long whatever the numbers are."""
    return _LAUNCHER.format(
        interpreter=interpreter.replace("'", "'\\''"),
        magic=MAGIC_NUMBER.hex(),
        start=start,
        size=size,
        index_start=index_start,
        index_size=index_size,
    ).encode()


def _code(source: bytes, path: str) -> bytes:
    """A file's marshalled code object."""
    code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    held: list[Any] = []  # until it is written
    return dumps(_settled(code, held))


def _settled(value: Any, held: list[Any]) -> Any:
    """A code object or constant so that marshal writes the same bytes in every process.

    Before Python 3.11 it writes sets in the order of their hashes: tuples take their place. It marks what else the
    process refers to, such as a name that another module has too: `held` refers to all. And it marks what is interned,
    which characters, there once in a process, are or not by what others did with them.
    """
    if isinstance(value, CodeType):
        value = value.replace(co_consts=tuple(_settled(each, held) for each in value.co_consts))
        held += (*value.co_names, *value.co_varnames, *value.co_freevars, *value.co_cellvars)
        held += (value.co_filename, value.co_name)
    elif isinstance(value, (tuple, frozenset)):
        members = sorted(value, key=repr) if isinstance(value, frozenset) else value
        value = tuple(_settled(each, held) for each in members)
    elif isinstance(value, str) and len(value) < 2:
        value = sys.intern(value)
    held.append(value)
    return value


def _add(archive: zipfile.ZipFile, path: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(path, _EPOCH)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)
