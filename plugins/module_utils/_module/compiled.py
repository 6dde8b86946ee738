# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The engine's compiled code, kept between tasks.

A task's payload is a zip file, from which Python compiles anew whatever a task imports: 0.25 ms a KiB, more than most
tasks take otherwise. A task that changes something leaves the code objects that it used in `run/code/`, one file per
module and Python; later tasks with the same payload take them from there. The file is root's, in a directory that is
root's alone, goes with a reboot, and is ignored if anything about it is not as expected.

Not for anything but payloads: from a checkout or an installed command Python keeps its own.
"""

from __future__ import annotations

import marshal
import os
import sys
from importlib.machinery import ModuleSpec
from stat import S_IMODE, S_ISREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

    from .._base.paths import Paths

_PACKAGE = __name__.rpartition("._module.")[0]
_KEY_BYTES = 16
_LARGEST = 64 * 1024 * 1024


class CompiledCode:
    """A finder and loader for the engine's files in one payload, and the file that keeps their code objects.

    File: 16 bytes of key, then a marshalled pair: code objects by dotted name below module_utils, and the version of
    the launch code, for which 75 sources would be unpacked otherwise. The key covers the Python and the CRC of each
    file in the payload.
    """

    def __init__(self, path: str, importer: Any, base: str) -> None:
        self._path = path
        self._importer = importer
        self.archive: str = importer.archive  # as zipimport's own loader has it
        self._base = base
        self._files: dict[str, str] = {}  # dotted name to path
        self._key = self._read_directory()
        self._codes: dict[str, CodeType] = {}
        self.launch_version = ""  # launch_code.py's
        self._read()
        self._kept = (len(self._codes), self.launch_version)

    def _read_directory(self) -> bytes:
        import zipimport
        from _blake2 import blake2b

        # the archive's directory as zipimport keeps it: (path, compression, sizes ..., crc) by name in the archive
        entries: dict[str, Any] = zipimport._zip_directory_cache[self.archive]  # type: ignore[attr-defined]
        prefix = self._base[len(self.archive) + 1 :] + "/"
        state = blake2b(sys.version.encode(), digest_size=_KEY_BYTES)
        for name in sorted(entries):
            if name.startswith(prefix) and name.endswith(".py"):
                state.update(f"{name} {entries[name][7]} {entries[name][3]}\n".encode())
                dotted = name[len(prefix) : -3].replace("/", ".")
                self._files[dotted] = f"{self.archive}/{name}"
        return state.digest()

    def _read(self) -> None:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return
        with open(fd, "rb") as file:
            facts = os.fstat(fd)
            trusted = S_ISREG(facts.st_mode) and facts.st_uid == 0 and not S_IMODE(facts.st_mode) & 0o077
            if not trusted or facts.st_size > _LARGEST or file.read(_KEY_BYTES) != self._key:
                return
            try:
                self._codes, self.launch_version = marshal.load(file)
            except (EOFError, ValueError, TypeError):
                return

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """The import system's question; packages and everything else are left to others."""
        dotted = name[len(_PACKAGE) + 1 :] if name.startswith(_PACKAGE + ".") else ""
        if dotted not in self._files:
            return None
        spec = ModuleSpec(name, self, origin=self._files[dotted])  # type: ignore[arg-type]
        spec.has_location = True
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """The import system makes the module itself."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute a file's code, compiled now if it was not kept."""
        dotted = module.__name__[len(_PACKAGE) + 1 :]
        code = self._codes.get(dotted)
        if code is None:
            path = self._files[dotted]
            code = self._codes[dotted] = compile(self.get_data(path), path, "exec", dont_inherit=True)
        exec(code, module.__dict__)

    def get_data(self, path: str) -> bytes:
        """The bytes of a file of the payload."""
        data: bytes = self._importer.get_data(path)
        return data

    def keep(self) -> None:
        """Write the code objects for later tasks, if there are new ones and the run-time directory is there.

        Best effort: what can't be written is compiled again next time.
        """
        directory = os.path.dirname(self._path)
        if self._kept == (len(self._codes), self.launch_version) or not os.path.isdir(os.path.dirname(directory)):
            return
        temporary = f"{self._path}.{os.getpid()}"
        try:
            os.makedirs(directory, 0o700, exist_ok=True)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with open(fd, "wb") as file:
                file.write(self._key + marshal.dumps((self._codes, self.launch_version)))
            os.rename(temporary, self._path)
        except OSError:
            try:
                os.unlink(temporary)
            except OSError:
                pass


def use_compiled_code(paths: Paths, module_name: str) -> CompiledCode | None:
    """Let the engine's files of this payload be imported from kept code. None outside of a payload."""
    loader: Any = __loader__  # type: ignore[name-defined]
    if not hasattr(loader, "archive"):
        return None
    base = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    tag = sys.implementation.cache_tag or "python"
    try:
        code = CompiledCode(f"{paths.run}/code/{module_name.rpartition('.')[2]}.{tag}", loader, base)
    except (KeyError, AttributeError, IndexError):  # a zipimport that keeps its directory otherwise
        return None
    sys.meta_path.insert(0, code)
    return code
