# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""An image and a script that changes a container of it in every way that a layer has to give back."""

from __future__ import annotations

import tarfile

from tests.support.images import File, Image, busybox_image, directory, hard_link, symlink

OLD: dict[str, File | bytes] = {
    "work": directory(),
    "work/keep": b"kept\n",
    "work/append": b"one\n",
    "work/delete": b"gone\n",
    "work/mode": File(b"mode\n", 0o644),
    "work/owner": File(b"owner\n", 0o644, 5, 6),
    "work/replace": b"old\n",
    "work/one": b"shared\n",
    "work/two": hard_link("work/one"),
    "work/three": hard_link("work/one"),
    "work/symlink": symlink("keep"),
    "work/file-to-directory": b"file\n",
    "work/file-to-link": b"file\n",
    "work/link-to-file": symlink("keep"),
    "work/link-to-directory": symlink("keep"),
    **{f"work/{name}": directory() for name in ("gone", "remade", "to-file", "to-link", "renamed", "touched", "deep")},
    "work/gone/inside": b"x",
    "work/remade/old": b"old\n",
    "work/remade/both": b"old\n",
    "work/remade/sub": directory(),
    "work/remade/sub/old": b"x",
    "work/to-file/inside": b"x",
    "work/to-link/inside": b"x",
    "work/renamed/inside": b"moved\n",
    "work/renamed/sub": directory(0o750),
    "work/renamed/sub/more": b"more\n",
    "work/deep/a": directory(0o711),
    "work/deep/a/b": directory(),
    "work/deep/a/b/file": b"deep\n",
    "work/private": File(mode=0o700, uid=7, gid=8, kind=tarfile.DIRTYPE),
    "work/private/old": b"private\n",
}

SCRIPT = r"""
set -e
cd /work
echo two >> append
rm delete
chmod 4711 mode
chown 1000:3000000 owner
echo new > r && mv r replace
echo changed >> two
ln one linked-to-lower
echo new > fresh && ln fresh fresh-link && ln fresh a-first-link
ln -sf ../etc/passwd symlink
rm file-to-directory && mkdir file-to-directory && echo in > file-to-directory/in
rm file-to-link && ln -s keep file-to-link
rm link-to-file && echo file > link-to-file
rm link-to-directory && mkdir link-to-directory && echo in > link-to-directory/in
rm -r gone
rm -r remade && mkdir remade && echo new > remade/new && echo new > remade/both && mkdir remade/sub
rm -r to-file && echo file > to-file
rm -r to-link && ln -s /nowhere to-link
mv renamed renamed-to
touch -d '2001-02-03 04:05:06' touched
echo new > private/new
echo deeper >> deep/a/b/file
mkdir -p new/tree/empty && chmod 1777 new/tree && chown 9:9 new/tree/empty
mkfifo fifo && chmod 640 fifo
dd if=/dev/zero of=sparse bs=1 count=1 seek=5242879 2>/dev/null
: > empty
head -c 200000 /dev/urandom > large
echo long > "$(printf 'n%.0s' $(seq 1 200))"
mkdir "$(printf 'd%.0s' $(seq 1 120))" && echo in > "$(printf 'd%.0s' $(seq 1 120))/in"
echo bytes > "$(printf '\377\376 odd')"
printf x > "$(printf 'line\nbreak')"
echo z > zzz && rm zzz
mknod null c 1 3 && chmod 666 null
echo "umlaut" > "grün"
"""


def changed_image() -> Image:
    """The image that the script is for."""
    return busybox_image(OLD, User="")
