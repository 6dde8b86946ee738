# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.modules import container_copy_from, container_copy_into


@pytest.mark.parametrize(
    ("value", "how", "mode"),
    [
        (None, "legacy", None),
        (0o644, "legacy", 0o644),
        ("420", "legacy", 0o644),
        (0o644, "modern", 0o644),
        ("644", "modern", 0o644),
        ("0644", "modern", 0o644),
        ("04755", "octal_string_only", 0o4755),
    ],
)
def test_a_mode_is_read_as_docker_container_copy_into_reads_it(value: Any, how: str, mode: int | None) -> None:
    assert container_copy_into.parse_mode(value, how) == mode


@pytest.mark.parametrize(
    ("value", "how"),
    [
        ("0644", "legacy"),  # a decimal number nobody means
        (0o644, "octal_string_only"),
        ("u=rw", "modern"),
        ("٦٤٤", "modern"),
        ("1_0", "legacy"),
        (-1, "legacy"),
        (0o10000, "modern"),
        (True, "modern"),
        (6.44, "legacy"),
        ([], "legacy"),
    ],
)
def test_what_is_no_mode_is_refused(value: Any, how: str) -> None:
    with pytest.raises(Invalid, match="^mode: "):
        container_copy_into.parse_mode(value, how)


def test_a_mode_on_the_host_is_octal() -> None:
    parse = container_copy_from.parse_mode
    assert [parse(value) for value in (None, "preserve", "0644", "755", 0o600)] == [None, None, 0o644, 0o755, 0o600]
    for value in ("0888", "u=rw", "", True, 10**6):
        with pytest.raises(Invalid, match="^mode: "):
            parse(value)


def test_an_owner_is_a_name_of_the_host_or_a_number() -> None:
    assert container_copy_from.account_id("root", "owner") == 0 == container_copy_from.account_id("root", "group")
    assert (
        container_copy_from.account_id("1234", "owner") == 1234
        and container_copy_from.account_id(None, "owner") is None
    )
    with pytest.raises(Invalid, match="^owner: there is no 'nobody-at-all'"):
        container_copy_from.account_id("nobody-at-all", "owner")


def test_content_may_be_encoded() -> None:
    def read(content: str | None, encoded: bool) -> bytes | None:
        return container_copy_into.content_bytes({"content": content, "content_is_b64": encoded})

    assert (read(None, False), read("é\n", False), read("AAE=", True)) == (None, "é\n".encode(), b"\0\1")
    with pytest.raises(Invalid, match="^content: "):
        read("not base64", True)
