# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, Denied, HullError, Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.policy import admit, check_local
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.settings import RegistrySettings, load_settings

from tests.support.signing import write_policy

DEBIAN = parse_reference("debian:12")
RULES = "ansible_collections.hull.engine.plugins.module_utils._image.policy_file"


def _admit(directory: Path) -> object:
    return admit(load_settings(Paths(config=str(directory))), DEBIAN)


def _check_local(directory: Path) -> None:
    check_local(Paths(config=str(directory)), "/srv/app.tar")


def test_without_a_file_everything_is_admitted_and_nothing_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, RULES, raising=False)
    assert _admit(tmp_path) is None
    _check_local(tmp_path)
    assert admit(RegistrySettings(), DEBIAN) is None
    assert RULES not in sys.modules


def test_the_file_is_read_anew_each_time(tmp_path: Path) -> None:
    write_policy(str(tmp_path), {"default": "accept"})
    assert _admit(tmp_path) is None
    write_policy(str(tmp_path), {"default": "reject"})
    with pytest.raises(Denied, match=f"image debian:12: rejected by {tmp_path}/policy.json"):
        _admit(tmp_path)


def test_images_from_files_are_refused_where_the_policy_says_so(tmp_path: Path) -> None:
    write_policy(str(tmp_path), {"default": "accept"})
    _check_local(tmp_path)
    write_policy(str(tmp_path), {"default": "accept", "archives": "reject"})
    with pytest.raises(
        Denied, match=f'read image from /srv/app.tar: {tmp_path}/policy.json rejects .*; set "archives"'
    ):
        _check_local(tmp_path)
    assert _admit(tmp_path) is None


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", Damaged),
        (b'{"default": "accept"', Damaged),
        (b'{"defaults": "accept"}', Invalid),
        (b"{}", Invalid),
        (b" " * (1024 * 1024 + 1), Invalid),
    ],
)
def test_a_damaged_file_lets_nothing_in(tmp_path: Path, data: bytes, kind: type[HullError]) -> None:
    write_policy(str(tmp_path), data)
    for call in (_admit, _check_local):
        with pytest.raises(kind, match=f"read {tmp_path}/policy.json: "):
            call(tmp_path)


def test_a_file_that_cannot_be_opened_lets_nothing_in(tmp_path: Path) -> None:
    (tmp_path / "policy.json").symlink_to("policy.json")
    with pytest.raises(Denied, match="policy.json: Too many levels"):
        _admit(tmp_path)


@pytest.mark.parametrize("call", [_admit, _check_local])
def test_a_link_to_nothing_or_a_directory_lets_nothing_in(tmp_path: Path, call) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "policy.json"
    path.symlink_to("/nonexistent/policy.json")
    with pytest.raises(Denied, match="it is a link to nothing"):
        call(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(Invalid, match="policy.json: Is a directory"):
        call(tmp_path)
