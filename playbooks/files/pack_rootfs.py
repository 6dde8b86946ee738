#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Pack a tiny root file system out of programs of this machine: a shell, a few commands, and the libraries they load.

For demonstrations and tests that must not need a network; not a distribution. With a static busybox that one file is
enough, else the programs are found in PATH and their libraries with ldd. The same programs give the same bytes.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile

COMMANDS = ("cat", "echo", "false", "head", "hostname", "id", "ls", "mkdir", "rm", "sh", "sleep", "touch", "true")
NEEDED = ("cat", "echo", "sh", "sleep")
DIRECTORIES = {"bin": 0o755, "dev": 0o755, "etc": 0o755, "proc": 0o755, "root": 0o700, "sys": 0o755, "tmp": 0o1777}
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}


def libraries(program: str) -> list[str]:
    """Paths of the libraries and of the loader, as the program asks for them; none for a static program."""
    done = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    paths = ([word for word in line.split() if word.startswith("/")] for line in lines)
    return [found[-1] for found in paths if found]


def choose_files() -> tuple[dict[str, str], dict[str, str]]:
    """Files (path in the archive to path here) and symbolic links (path to target). Ends the program if one lacks."""
    busybox = shutil.which("busybox")
    if busybox and not libraries(busybox):
        return {"bin/busybox": busybox}, {f"bin/{name}": "busybox" for name in COMMANDS}
    found = {name: shutil.which(name) for name in COMMANDS}
    missing = [name for name in NEEDED if not found[name]]
    if missing:
        sys.exit(f"pack_rootfs: not found in PATH: {' '.join(missing)}")
    files = {f"bin/{name}": path for name, path in found.items() if path}
    for path in list(files.values()):
        files.update({library.lstrip("/"): library for library in libraries(path)})
    return files, {}


def add(archive: tarfile.TarFile, name: str, kind: bytes, mode: int, *, content: bytes = b"", target: str = "") -> None:
    """One entry, owned by root, at the beginning of time."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname, entry.size = kind, mode, target, len(content)
    archive.addfile(entry, io.BytesIO(content))


def pack(destination: str) -> None:
    """Write the archive, whole or not at all."""
    files, links = choose_files()
    directories = dict(DIRECTORIES)
    for name in files:
        while name := os.path.dirname(name):
            directories.setdefault(name, 0o755)
    half = f"{destination}.{os.getpid()}"
    with (
        open(half, "wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(directories):
            add(archive, name, tarfile.DIRTYPE, directories[name])
        for name, text in sorted(ACCOUNTS.items()):
            add(archive, name, tarfile.REGTYPE, 0o644, content=text.encode())
        for name, path in sorted(files.items()):
            with open(path, "rb") as file:
                add(archive, name, tarfile.REGTYPE, 0o755, content=file.read())
        for name, target in sorted(links.items()):
            add(archive, name, tarfile.SYMTYPE, 0o777, target=target)
    os.replace(half, destination)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: pack_rootfs.py DESTINATION.tar.gz")
    pack(sys.argv[1])
