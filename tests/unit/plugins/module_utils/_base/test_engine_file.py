# SPDX-License-Identifier: GPL-3.0-or-later
"""What engine.json may say, and where it puts the engine's control groups."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.engine_file import own_cgroup, read_engine_file
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, Denied, HullError, Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths


def paths_with(directory: Path, text: str, root: str = "/var/lib/hull") -> Paths:
    (directory / "engine.json").write_text(text)
    return Paths(root=root, config=str(directory))


def test_no_file_says_nothing(tmp_path: Path) -> None:
    paths = Paths(config=f"{tmp_path}/none")
    assert read_engine_file(paths) == {}
    assert own_cgroup(paths) == "hull"


@pytest.mark.parametrize(
    ("parent", "root", "path"),
    [
        ("", "/var/lib/hull", "hull"),
        ("hull.slice", "/var/lib/hull", "hull.slice/hull"),
        ("machine-hull.slice", "/var/lib/hull", "machine.slice/machine-hull.slice/hull"),
        ("/machine-hull.slice", "/var/lib/hull", "machine-hull.slice/hull"),
        ("/a/b/", "/var/lib/hull", "a/b/hull"),
        ("hull.slice", "/srv/other", f"hull.slice/hull-{Paths(root='/srv/other').instance}"),
    ],
)
def test_the_engines_cgroup_lies_below_the_parent(tmp_path: Path, parent: str, root: str, path: str) -> None:
    assert own_cgroup(paths_with(tmp_path, f'{{"cgroup_parent": "{parent}"}}', root)) == path


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("{", Damaged, ["read"]),
        ("[]", Invalid, ["not an object"]),
        ('{"cgroup-parent": "x"}', Invalid, ["unknown key cgroup-parent", "cgroup_parent, default_limits"]),
        ('{"cgroup_parent": 1}', Invalid, ["cgroup_parent is not text"]),
        ('{"cgroup_parent": "a/../b"}', Invalid, ["cgroup_parent: 'a/../b' is not a cgroup", "name.slice"]),
        ('{"cgroup_parent": "a--b.slice"}', Invalid, ["cgroup_parent: 'a--b.slice' is not a slice"]),
        ('{"default_limits": []}', Invalid, ["default_limits is not an object"]),
        ('{"default_address_pools": {}}', Invalid, ["default_address_pools is not a list"]),
    ],
)
def test_a_mistake_is_told_with_the_file_and_the_key(
    tmp_path: Path, text: str, error: type[HullError], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        own_cgroup(paths_with(tmp_path, text))
    for word in [f"{tmp_path}/engine.json", *words]:
        assert word in str(caught.value)


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "engine.json").symlink_to("engine.json")
    with pytest.raises(Denied, match="engine.json"):
        read_engine_file(Paths(config=str(tmp_path)))
