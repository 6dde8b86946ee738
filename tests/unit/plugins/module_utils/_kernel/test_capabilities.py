# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Capability names, masks and the lists of a task."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._kernel.capabilities import (
    ALL_CAPABILITIES,
    DEFAULT_CAPABILITIES,
    NUMBERS,
    mask_of,
    names_of,
    resolve_capabilities,
)


def test_numbers_are_the_kernel_s() -> None:
    assert len(ALL_CAPABILITIES) == 41
    known = {"CAP_CHOWN": 0, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21, "CAP_MKNOD": 27, "CAP_CHECKPOINT_RESTORE": 40}
    assert known.items() <= NUMBERS.items()


def test_the_default_is_docker_s_without_mknod_net_raw_and_audit_write() -> None:
    docker = 0xA80425FB
    assert mask_of(DEFAULT_CAPABILITIES) == docker & ~mask_of(("CAP_MKNOD", "CAP_NET_RAW", "CAP_AUDIT_WRITE"))


def test_masks_and_names_are_inverse_and_unknown_bits_are_left_out() -> None:
    assert names_of(mask_of(ALL_CAPABILITIES) | 1 << 63) == ALL_CAPABILITIES


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), DEFAULT_CAPABILITIES),
        (("net_admin",), (), (*DEFAULT_CAPABILITIES, "CAP_NET_ADMIN")),
        (("CAP_NET_ADMIN", "NET_ADMIN"), ("ALL",), ("CAP_NET_ADMIN",)),
        ((), ("all",), ()),
        ((), ("cap_chown",), DEFAULT_CAPABILITIES[1:]),
        (("ALL",), (), ALL_CAPABILITIES),
        (("ALL",), ("CHOWN",), ALL_CAPABILITIES[1:]),
        (("CHOWN",), ("CHOWN",), DEFAULT_CAPABILITIES),
    ],
)
def test_lists_are_read_as_docker_reads_them(
    add: tuple[str, ...], drop: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert set(resolve_capabilities(add, drop)) == set(expected)


@pytest.mark.parametrize("option", ["capabilities", "cap_drop"])
def test_an_unknown_name_is_refused_with_the_option(option: str) -> None:
    lists = ((), ("NET_ADMINN",)) if option == "cap_drop" else (("NET_ADMINN",), ())
    with pytest.raises(Invalid, match=f"{option}: 'NET_ADMINN' is not a capability") as caught:
        resolve_capabilities(*lists)
    assert caught.value.option == option
