# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Where the engine keeps its things.

Two engines with different directories on one host do not disturb each other: everything in the kernel that carries
our name (cgroup parent, bridge, nftables table) carries `Paths.instance` too, which is empty for the default ones.
"""

from __future__ import annotations

import os

from .errors import Invalid
from .values import Value

DEFAULT_ROOT = "/var/lib/hull"
DEFAULT_RUN = "/run/hull"
DEFAULT_CONFIG = "/etc/hull"


class Paths(Value):
    """The three directories of an engine. All are absolute; nothing is created here.

    root/                    0700, survives a reboot
        hull.db              records (SQLite, WAL)
        layers/<hex>/        one unpacked layer by its diff ID, complete if it exists: see _store/layers.py
        settled/<hex>/fs     what a layer needs above it in one stack, by the chain ID: see _image/settle.py
        blobs/<algorithm>/<hex>  compressed layers as they came from a registry or an archive
        containers/<id>/     upper/ work/ etc/ (hosts, hostname, resolv.conf) container.log[.N] exit.json
        volumes/<name>/_data
        locks/  tmp/  trash/ everything half-made is in tmp/; what is being deleted is in trash/
    run/                     0700, tmpfs, gone after a reboot
        launch/<hash>/       the launch code, written once per version
        spawner.<hash>.sock  the spawner's socket
        containers/<id>/     state.json (written by the monitor), monitor.sock
    config/                  /etc/hull: engine.json, registries.json ...
    """

    root: str = DEFAULT_ROOT
    run: str = DEFAULT_RUN
    config: str = DEFAULT_CONFIG

    @property
    def instance(self) -> str:
        """Empty for the default root, else eight hex digits that stand for this root."""
        if self.root == DEFAULT_ROOT:
            return ""
        from zlib import crc32

        return f"{crc32(os.fsencode(self.root)):08x}"

    @property
    def database(self) -> str:
        return self.root + "/hull.db"

    @property
    def layers(self) -> str:
        return self.root + "/layers"

    @property
    def settled(self) -> str:
        return self.root + "/settled"

    @property
    def blobs(self) -> str:
        return self.root + "/blobs"

    @property
    def temporary(self) -> str:
        return self.root + "/tmp"

    @property
    def trash(self) -> str:
        return self.root + "/trash"

    @property
    def locks(self) -> str:
        return self.root + "/locks"

    @property
    def launch(self) -> str:
        return self.run + "/launch"

    def layer(self, diff_id: str) -> str:
        """The directory of a layer; its files are in `fs` below it."""
        return f"{self.layers}/{diff_id.partition(':')[2]}"

    def settled_layer(self, chain_id: str) -> str:
        """The directory of what lies above a layer in the stack that the chain ID names; its files are in `fs`."""
        return f"{self.settled}/{chain_id.partition(':')[2]}"

    def blob(self, digest: str) -> str:
        """The file of a blob."""
        return f"{self.blobs}/{digest.replace(':', '/')}"

    def stack(self, stack: tuple[str, ...]) -> tuple[str, ...]:
        """The directories that overlayfs stacks for an image record's `stack`, topmost first."""
        return tuple(f"{self.root}/{name}/fs" for name in reversed(stack))

    def container(self, container_id: str) -> str:
        return f"{self.root}/containers/{container_id}"

    def container_run(self, container_id: str) -> str:
        return f"{self.run}/containers/{container_id}"

    def volume(self, name: str) -> str:
        return f"{self.root}/volumes/{name}/_data"

    @property
    def cgroup(self) -> str:
        """The name of the cgroup that has all containers' below it, `hull` or `hull-<instance>`; `own_cgroup` of
        `engine_file.py` tells where it lies."""
        return f"hull-{self.instance}" if self.instance else "hull"


def _directory(value: str | None, variable: str, default: str) -> str:
    chosen = value or os.environ.get(variable) or default
    if not chosen.startswith("/") or "\0" in chosen:
        raise Invalid(f"{chosen!r} is not an absolute path", option=variable)
    return os.path.normpath(chosen)


def find_paths(root: str | None = None, run: str | None = None, config: str | None = None) -> Paths:
    """The directories from arguments, else HULL_ROOT, HULL_RUN and HULL_CONFIG, else the defaults.

    Where only the root is moved, the run-time directory moves with it (`/run/hull-<instance>`).
    """
    chosen_root = _directory(root, "HULL_ROOT", DEFAULT_ROOT)
    instance = Paths(root=chosen_root).instance
    default_run = f"{DEFAULT_RUN}-{instance}" if instance else DEFAULT_RUN
    return Paths(
        root=chosen_root,
        run=_directory(run, "HULL_RUN", default_run),
        config=_directory(config, "HULL_CONFIG", DEFAULT_CONFIG),
    )
