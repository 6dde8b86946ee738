# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What layers mean above others, shown by overlayfs: row by row, and on generated images, against a model."""

from __future__ import annotations

import os
import random
import stat
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged
from ansible_collections.hull.engine.plugins.module_utils._image import layer_view, settled_layer
from ansible_collections.hull.engine.plugins.module_utils._image.settle import settle

from tests.support.layer_model import link_groups, without_links
from tests.support.layer_stack import Entries, LayerStack, Tree, assert_same, meant
from tests.support.memory_directory import memory_directory
from tests.support.tars import describe, device, directory, entry, hard_link, make_tar, symlink, xattrs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def place() -> Iterator[Path]:
    with memory_directory() as path:
        yield path


@pytest.fixture
def stack(place: Path) -> LayerStack:
    return LayerStack(place)


LOWER: Entries = [
    directory("etc", mode=0o750, uid=5, gid=6, mtime=1_500_000_000),
    entry("etc/hostname", b"host\n", uid=7, gid=8, mode=0o4640, mtime=1_600_000_000, pax_headers=xattrs(user__a="b")),
    directory("etc/deep", mode=0o700, uid=9, pax_headers=xattrs(user__kept="yes")),
    directory("etc/deep/er", mode=0o2711, gid=10),
    entry("etc/deep/er/file", b"deep"),
    directory("p", mode=0o700, uid=1000, gid=1000, mtime=1_400_000_000),
    entry("p/old", b"old"),
    directory("usr"),
    directory("usr/bin", mode=0o711),
    entry("usr/bin/sh", b"shell", mode=0o755),
    hard_link("usr/bin/dash", "usr/bin/sh", mode=0o755),
    directory("usr/bin/plugins"),
    entry("usr/bin/plugins/one", b"1"),
    symlink("usr/bin/more", "/usr/lib/more"),
    directory("usr/lib"),
    directory("usr/lib/more"),
    symlink("bin", "usr/bin"),
    symlink("sbin", "/usr/../bin"),
    symlink("lost", "no/where"),
    symlink("climb", "../../../../usr/lib"),
    entry("file", b"a file"),
]

# each row: the layers above LOWER
ROWS: dict[str, list[Entries]] = {
    "whiteout, then the file": [[entry(".wh.file"), entry("file", b"new")]],
    "the file, then its whiteout": [[entry("file", b"new"), entry(".wh.file")]],
    "opaque last": [[directory("p"), entry("p/new", b"n"), entry("p/.wh..wh..opq")]],
    "opaque first": [[directory("p"), entry("p/.wh..wh..opq"), entry("p/new", b"n")]],
    "opaque without an entry keeps the attributes": [[entry("p/.wh..wh..opq"), entry("p/new", b"n")]],
    "a directory deleted and made again": [[entry(".wh.etc"), directory("etc"), entry("etc/new", b"n")]],
    "a directory deleted and made again, implicitly": [[entry(".wh.etc"), entry("etc/new", b"n")]],
    "a directory deleted and made deeper, implicitly": [[entry(".wh.etc"), entry("etc/deep/er/new", b"n")]],
    "a directory filled, then deleted": [[directory("etc"), entry("etc/new", b"n"), entry(".wh.etc")]],
    "a directory deleted, and what is in it": [[entry(".wh.etc"), entry("etc/.wh.hostname")]],
    "what is in a directory deleted, and then it": [[entry("etc/.wh.hostname"), entry(".wh.etc")]],
    "a whiteout of what is not there in a directory that is not there": [[entry("not/here/.wh.x"), entry("y", b"y")]],
    "a whiteout of what is not there": [[entry("etc/.wh.x")]],
    "an own directory with a whiteout of nothing": [[directory("own"), entry("own/.wh.x"), entry("own/y", b"y")]],
    "an implicit directory with a whiteout of nothing": [[entry("own/.wh.x"), entry("own/y", b"y")]],
    "a whiteout below a file": [[entry("file/.wh.x")]],
    "a whiteout deep below a file": [[entry("file/x/y/.wh.z"), entry("p/z", b"z")]],
    "a whiteout through a link": [[entry("bin/.wh.sh")]],
    "a whiteout through a link, of nothing": [[entry("bin/.wh.nothing")]],
    "a whiteout through two links": [[entry("sbin/.wh.sh"), entry("sbin/more/.wh.x")]],
    "a whiteout through a link that leads nowhere": [[entry("lost/.wh.x")]],
    "whiteouts through links that lead to no directory": [
        [symlink("loop", "pool"), symlink("pool", "loop"), symlink("to-file", "file")],
        [entry("loop/.wh.x"), entry("to-file/.wh.x"), entry("p/deep/.wh..wh..opq"), entry("x", b"x")],
    ],
    "whiteouts below an own file": [[entry("own", b"f"), entry("own/.wh.x"), entry("own/y/.wh..wh..opq")]],
    "an opaque directory that is not there": [[entry("not/here/.wh..wh..opq"), entry("p/not/.wh..wh..opq")]],
    "whiteouts below an opaque directory": [[entry("usr/.wh..wh..opq"), entry("usr/x/.wh.b"), entry("usr/c", b"c")]],
    "a whiteout of a whole directory through a link": [[entry("bin/.wh.plugins")]],
    "a whiteout and files through a link": [
        [entry("bin/.wh.sh"), entry("bin/tool", b"t"), entry("bin/plugins/two", b"2")]
    ],
    "an opaque directory through a link": [[entry("bin/plugins/.wh..wh..opq"), entry("bin/plugins/two", b"2")]],
    "a link made opaque": [[entry("bin/.wh..wh..opq"), entry("bin/tool", b"t")]],
    "implicit parents keep what they are": [[entry("p/new", b"n"), entry("etc/deep/er/new", b"n")]],
    "implicit parents over several layers": [
        [entry("p/one", b"1")],
        [directory("p", mode=0o755, uid=3), entry("etc/deep/two", b"2")],
        [entry("p/three", b"3"), entry("etc/deep/er/three", b"3")],
    ],
    "a new implicit parent": [[entry("new/er/file", b"f")], [entry("new/er/more", b"m")]],
    "an implicit parent in place of a file": [[entry(".wh.file"), entry("file/below", b"b")]],
    "a file through a link": [[entry("bin/tool", b"t", mode=0o755, uid=3)]],
    "files through links, deep": [
        [entry("sbin/a", b"a"), entry("bin/more/b", b"b"), entry("climb/more/c", b"c"), entry("climb/new/d", b"d")]
    ],
    "a file through a link that leads nowhere": [[entry("lost/and/found", b"f")]],
    "a file replaced through a link": [[entry("bin/sh", b"another shell", mode=0o700)]],
    "a directory described through a link": [
        [directory("bin/plugins", mode=0o700, uid=4), entry("bin/plugins/x", b"x")]
    ],
    "a link replaced by a directory": [[directory("bin"), entry("bin/tool", b"t")]],
    "everything through a link": [
        [
            symlink("bin/l", "sh", uid=3),
            entry("bin/fifo", type=tarfile.FIFOTYPE, mode=0o600),
            device("bin/null", tarfile.CHRTYPE, 1, 3, mode=0o666),
            entry("bin/x", b"x" * 5000, mode=0o4755, gid=3, pax_headers=xattrs(user__note="n")),
            hard_link("bin/y", "bin/x"),
            directory("bin/d", mode=0o1777),
            hard_link("bin/d/z", "bin/x"),
            entry("opt/one", b"1"),
            hard_link("bin/one", "opt/one"),
        ]
    ],
    "a link moved between the layers": [
        [entry("bin/a", b"a")],
        [symlink("bin", "usr/lib"), entry("bin/b", b"b")],
        [entry("bin/c", b"c")],
    ],
    "a directory becomes a file, a link, and a directory again": [
        [entry("p", b"file")],
        [symlink("p", "etc")],
        [entry("p/through", b"t")],
        [directory("p", mode=0o711), entry("p/new", b"n")],
    ],
    "a file becomes a directory": [[directory("file"), entry("file/x", b"x")], [entry("file", b"again")]],
    "a hard link to a lower file": [[hard_link("name", "etc/hostname")]],
    "a hard link to one of two names": [[hard_link("name", "usr/bin/sh")]],
    "a hard link to a lower link": [[hard_link("name", "bin")]],
    "a chain of hard links": [
        [hard_link("one", "etc/hostname"), hard_link("p/two", "one"), hard_link("two/three", "./p/two")],
        [hard_link("four", "two/three")],
    ],
    "a hard link through links": [[hard_link("sbin/ash", "sbin/sh"), hard_link("climb/x", "/bin/plugins/one")]],
    "a hard link, its target then replaced": [[hard_link("name", "etc/hostname"), entry("etc/hostname", b"new")]],
    "a hard link, its target then deleted": [[hard_link("etc/name", "etc/hostname"), entry("etc/.wh.hostname")]],
    "a hard link, then replaced": [[hard_link("name", "file"), entry("name", b"other"), hard_link("again", "file")]],
    "hard links replaced by directories": [[hard_link("p", "file"), directory("p"), entry("p/new", b"n")]],
    "a hard link in place of a directory": [[hard_link("etc", "file")], [entry("usr/x", b"x")]],
    "an opaque root": [[entry(".wh..wh..opq"), entry("only/this", b"t")], [entry("only/that", b"t")]],
    "an own root": [[directory("./", mode=0o711, uid=7, gid=8), entry("a", b"a")], [entry("b", b"b")]],
    "an own root, and implicit parents": [
        [directory("./", mode=0o711, uid=7, pax_headers=xattrs(user__r="r"))],
        [entry("p/b", b"b")],
        [entry("c", b"c")],
    ],
    "a directory emptied through a link, and filled by its name": [
        [entry("climb/.wh..wh..opq"), entry("climb/x", b"x"), entry("usr/lib/y", b"y"), entry("usr/lib/more/z", b"z")],
    ],
    "nothing at all": [[]],
    "a layer twice": [[entry("p/a", b"a")], [entry("p/.wh.a"), entry("b", b"b")], [entry("p/a", b"a")]],
    "an empty layer, often": [[], [], [entry("b", b"b")], []],
    "a lower file, shown below whiteouts and linked to": [[entry("file/.wh.x"), hard_link("name", "file")]],
    "names of a file behind links and deleted": [
        [hard_link("p/one", "file"), hard_link("usr/lib/two", "file")],
        [hard_link("three", "p/one"), entry("climb/.wh..wh..opq"), entry("climb/two/x", b"x"), entry("p/.wh.one")],
    ],
}


@pytest.mark.parametrize("row", ROWS)
def test_a_stack_shows_what_its_layers_mean(stack: LayerStack, row: str) -> None:
    layers = [LOWER, *ROWS[row]]
    assert_same(stack.tree(*layers), meant(*layers))
    assert os.listdir(stack.paths.temporary) == []


LOWEST: dict[str, Entries] = {
    "whiteouts": [entry(".wh.x"), entry("a/.wh.x"), directory("b"), entry("b/.wh.x"), entry("b/y", b"y")],
    "opaque": [entry(".wh..wh..opq"), entry("a/.wh..wh..opq"), entry("a/b", b"b"), entry("c/.wh.d")],
    "implicit": [entry("a/b/c", b"c")],
    "own root": [directory(".", mode=0o700), entry(".wh.x")],
    "nothing": [],
}


@pytest.mark.parametrize("case", LOWEST)
@pytest.mark.parametrize("writable", [False, True])
def test_a_lowest_layer_is_a_stack_like_any_other(stack: LayerStack, case: str, writable: bool) -> None:
    with stack.mounted(LOWEST[case], writable=writable) as merged:
        names = sorted(describe(merged))
        assert names == sorted(meant(LOWEST[case]))
    if not writable:
        assert_same(stack.tree(LOWEST[case]), meant(LOWEST[case]))


def test_most_images_need_no_further_layer(stack: LayerStack) -> None:
    upper = [directory("etc", mode=0o750), entry("etc/new", b"n"), entry("etc/.wh.deep"), entry("top", b"t")]
    assert all(name.startswith("layers/") for name in stack.settle(LOWER, upper, [entry("own/file", b"x")]))
    assert not os.path.exists(stack.paths.settled)


def test_settling_again_changes_nothing(stack: LayerStack) -> None:
    layers = [LOWER, [entry("p/new", b"n")], [entry("bin/tool", b"t")]]
    first = stack.settle(*layers)
    before = describe(stack.paths.settled)
    assert stack.settle(*layers) == first
    assert describe(stack.paths.settled) == before
    assert [name.partition("/")[0] for name in first] == ["layers", "layers", "settled", "layers", "settled"]


def test_a_layer_means_something_else_in_another_stack(stack: LayerStack) -> None:
    tool = [entry("bin/tool", b"t")]
    plain: Entries = [directory("bin", mode=0o700, uid=3)]
    for lower in (LOWER, plain, [entry("x", b"x")]):
        assert_same(stack.tree(lower, tool), meant(lower, tool))
    assert len(os.listdir(stack.paths.layers)) == 4 and len(os.listdir(stack.paths.settled)) == 2


def test_many_settle_the_same_at_once(stack: LayerStack) -> None:
    diff_ids = stack.bring(LOWER, [entry("bin/tool", b"t" * 100_000), hard_link("p/h", "file")])
    stacks: list[tuple[str, ...]] = []
    threads = [threading.Thread(target=lambda: stacks.append(settle(stack.paths, diff_ids))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stacks) == 8 and len(set(stacks)) == 1
    assert len(os.listdir(stack.paths.settled)) == 1 and os.listdir(stack.paths.temporary) == []


@pytest.mark.parametrize(
    ("upper", "message"),
    [
        ([hard_link("a", "nothing")], "hard link to nothing, which is not there"),
        ([hard_link("a", "b"), entry("b")], "hard link to b, which is not there"),
        ([hard_link("a", "etc")], "hard link to etc, which is a directory"),
        ([hard_link("a", "file/x")], "file is not a directory"),
        ([hard_link("a", "loop/x")], "too many symbolic links"),
        ([entry("loop/x", b"x")], "too many symbolic links"),
        ([entry("to-file/x", b"x")], "to-file leads to file, which is not a directory"),
    ],
)
def test_what_a_layer_can_t_mean_is_refused(stack: LayerStack, upper: Entries, message: str) -> None:
    lower = [*LOWER, symlink("loop", "pool"), symlink("pool", "loop"), symlink("to-file", "file")]
    with pytest.raises(Damaged, match=f"settle layer sha256:[0-9a-f]{{64}}: .*{message}"):
        stack.settle(lower, upper)
    assert not os.path.exists(stack.paths.settled) and os.listdir(stack.paths.temporary) == []


def test_nothing_is_read_or_written_outside(stack: LayerStack, place: Path) -> None:
    canary = place / "canary"
    canary.mkdir()
    (canary / "secret").write_text("secret")
    before = describe(canary)
    outside = str(canary)
    lower: Entries = [
        symlink("out", outside),
        symlink("up", "../" * 40 + outside),
        symlink("usr", "/"),
        symlink("dots", "usr/../../" + outside),
    ]
    upper: Entries = [
        entry("out/new", b"x"),
        entry("up/.wh.secret"),
        entry("dots/d/new", b"x"),
        entry("usr/x", b"x"),
        entry("up/secret", b"other"),
    ]
    tree = stack.tree(lower, upper)
    inside = os.fsencode(outside).lstrip(b"/")
    assert inside + b"/new" in tree and inside + b"/d/new" in tree and b"x" in tree
    with pytest.raises(Damaged, match="not there"):
        stack.settle(lower, [hard_link("stolen", "out/secret")])
    assert describe(canary) == before


def test_copies_keep_holes_and_capabilities(stack: LayerStack) -> None:
    capability = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0).decode("latin-1")
    lower = make_tar(
        entry("f", b"x", mode=0o4755, uid=3, pax_headers={"SCHILY.xattr.security.capability": capability}),
        entry(
            "GNUSparseFile.0/hole",
            b"1\n5000000\n0\n" + bytes(500),
            pax_headers={
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.name": "hole",
                "GNU.sparse.realsize": "50000000",
            },
        ),
    )
    with stack.mounted(lower, [hard_link("g", "f"), hard_link("hole2", "hole")]) as merged:
        assert os.getxattr(merged / "g", "security.capability")
        found = os.stat(merged / "hole2")
        assert found.st_size == 50_000_000 and found.st_blocks < 100
        assert os.path.samestat(os.stat(merged / "hole"), found)
        assert stat.S_IMODE(os.stat(merged / "g").st_mode) == 0o4755 and os.stat(merged / "g").st_uid == 3


def test_copies_of_lower_files_are_limited(stack: LayerStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled_layer, "_MOST_COPIED", 1_000_000)
    lower = [entry(f"f{number}", os.urandom(300_000)) for number in range(4)]
    with pytest.raises(Damaged, match="more than 1000000 bytes"):
        stack.settle(lower, [hard_link(f"g{number}", f"f{number}") for number in range(4)])
    stack.settle(lower, [hard_link(f"g{number}", "f0") for number in range(40)])
    several = [[hard_link(f"{name}{number}", f"f{number}") for number in (1, 2)] for name in "xyz"]
    with pytest.raises(Damaged, match="more than 1000000 bytes"):
        stack.settle(lower, *several)


def test_looks_into_lower_layers_are_limited(stack: LayerStack, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [[entry("a/" * 100 + f"f{number}")] for number in range(20)]
    stack.settle(*layers)
    monkeypatch.setattr(layer_view, "_MOST_LOOKUPS", 100 * 100)
    stack.settle(*layers[:10])
    with pytest.raises(Damaged, match="over 10000 looks into lower layers"):
        stack.settle(*layers)


def test_long_ways_through_links_end(stack: LayerStack) -> None:
    lower = [directory("d"), symlink("l0", "d/../" * 800)]
    lower += [symlink(f"l{number}", f"l{number - 1}/../" * 300 + "d") for number in range(1, 39)]
    upper = [entry(f"l38/x{number}/y", b"") for number in range(2000)]
    started = time.monotonic()
    try:
        stack.settle(lower, upper)
    except Damaged as error:
        assert "too many symbolic links" in str(error)
    assert time.monotonic() - started < 120  # not hours


# generated images

NAMES = ("a", "b", "bin", "usr", "lib", "x-y")


def random_layer(rng: random.Random, known: list[str]) -> Entries:
    entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    files: list[str] = []
    for _ in range(rng.randrange(1, 9)):
        path = "/".join(rng.choice(NAMES) for _ in range(rng.randrange(1, 4)))
        fields = {
            "mode": rng.choice((0o644, 0o755, 0o4711, 0o600)),
            "uid": rng.randrange(4),
            "mtime": 1_600_000_000 + rng.randrange(1000),
        }
        kind = rng.randrange(10)
        parent, _, name = path.rpartition("/")
        if kind < 4:
            entries[path] = entry(path, rng.randbytes(rng.randrange(20)), **fields)
            files.append(path)
        elif kind < 6:
            entries[path] = directory(path, **fields)
        elif kind < 7:
            entries[path] = symlink(path, rng.choice(("usr", "usr/lib", "/a", "../b", "bin", "a/b")), uid=3)
        elif kind < 8 and (files or known):
            entries[path] = hard_link(path, rng.choice(known + files))
        elif kind < 9:
            entries[f"{parent}/.wh.{name}"] = entry(f"{parent}/.wh.{name}".lstrip("/"))
        elif parent:
            entries[f"{parent}/.wh..wh..opq"] = entry(f"{parent}/.wh..wh..opq")
    known += files
    return [entries[path] for path in sorted(entries, key=lambda path: (path.count("/"), path))]


def clear_meaning(layers: list[Entries]) -> Tree | None:
    """What the layers mean, where that does not depend on the order of entries of one layer, which is free."""
    backwards = [layer[::-1] for layer in layers]
    orders = [
        layers,
        [sorted(layer, key=lambda item: item[0].name) for layer in layers],
        [sorted(layer, key=lambda item: (item[0].name.count("/"), item[0].name))[::-1] for layer in layers],
        [sorted(layer, key=lambda item: item[0].type != tarfile.LNKTYPE) for layer in layers],
        [sorted(layer, key=lambda item: item[0].type == tarfile.LNKTYPE) for layer in layers],
        [sorted(layer, key=lambda item: item[0].type == tarfile.LNKTYPE) for layer in backwards],
    ]
    found: list[Tree] = []
    for order in orders:
        try:
            found.append(meant(*order))
        except (LookupError, NotADirectoryError) as error:
            if not found or not isinstance(error, LookupError):
                return None  # else a hard link comes before its target
    if any(without_links(tree) != without_links(found[0]) for tree in found):
        return None
    return found[0] if all(link_groups(tree) == link_groups(found[0]) for tree in found) else None


@pytest.mark.parametrize("seed", range(8))
def test_generated_images_show_what_they_mean(place: Path, seed: int) -> None:
    compared = 0
    for number in range(40):
        rng = random.Random(seed * 1000 + number)
        known: list[str] = []
        layers = [random_layer(rng, known) for _ in range(rng.randrange(2, 5))]
        expected = clear_meaning(layers)
        if expected is not None:
            assert_same(LayerStack(place / str(number)).tree(*layers), expected)
            compared += 1
    assert compared
