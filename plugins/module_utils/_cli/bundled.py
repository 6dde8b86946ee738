# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Imports from the `hull` file: code objects by their place in it, instead of sixty searches through a zip archive.

`_module/command_line.py` puts this file's code, compiled, in front of the archive, then all others', then an index.
The launcher executes it by itself, before anything of the engine is imported, if the Python is the one that made it.
"""

from __future__ import annotations

import os
from _frozen_importlib import ModuleSpec
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    Place = tuple[int, int]  # offset in the file and length; a package without code has length 0


class Bundle:
    """A finder and loader for the modules of one file. `archive` is that file, as zipimport's loaders have it."""

    def __init__(self, path: str, index: dict[str, Place], launch_version: str) -> None:
        self.archive = path
        self.launch_version = launch_version
        self._index = index

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """The import system's question."""
        place = self._index.get(name)
        if place is None:
            return None
        tail = ".py" if place[1] else "/__init__.py"
        origin = f"{self.archive}/{name.replace('.', '/')}{tail}"
        spec = ModuleSpec(name, self, origin=origin, is_package=not place[1])  # type: ignore[arg-type]
        spec.has_location = True
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """The import system makes the module itself."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute a module's code."""
        offset, size = self._index[module.__name__]
        if not size:
            return
        fd = os.open(self.archive, os.O_RDONLY | os.O_CLOEXEC)
        try:
            code = loads(os.pread(fd, size, offset))
        finally:
            os.close(fd)
        exec(code, module.__dict__)

    def get_data(self, path: str) -> bytes:
        """The bytes of a source, by its path with the archive's in front."""
        from zipimport import zipimporter

        return zipimporter(self.archive).get_data(path)


def install(path: str, offset: int, size: int) -> None:
    """Import from the file from now on. At `offset` lies the marshalled (index, version of the launch code)."""
    import sys

    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        index, launch_version = loads(file.read(size))
    sys.meta_path.insert(0, Bundle(path, index, launch_version))
