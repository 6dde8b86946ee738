# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a signed text has to be. Signatures in a registry: tests/registry/test_signatures.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged
from ansible_collections.hull.engine.plugins.module_utils._image.signatures import read_payload

from tests.support.signing import payload

NAME = "registry.example.org/team/app"
DIGEST = "sha256:" + "0" * 64
CRITICAL: dict[str, Any] = json.loads(payload(NAME, DIGEST))["critical"]


@pytest.mark.parametrize("optional", [None, {}, {"creator": "x", "timestamp": 1, "any": ["thing"]}])
def test_a_text_of_cosign_tells_digest_and_name(optional: Any) -> None:
    assert read_payload(payload(NAME, DIGEST, optional=optional)) == (DIGEST, NAME)
    assert read_payload(json.dumps({"critical": CRITICAL}).encode()) == (DIGEST, NAME)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"{",
        b"\xff",
        payload(NAME, DIGEST) + b"x",
        payload(NAME, DIGEST)[:-1] + b',"critical":{}}',
        payload(NAME, DIGEST, more=1),
        payload(NAME, DIGEST, optional="x"),
        payload(NAME, DIGEST, optional=[]),
        payload(NAME, DIGEST, critical=None),
        payload(NAME, DIGEST, critical={**CRITICAL, "type": "atomic container signature"}),
        payload(NAME, DIGEST, critical={**CRITICAL, "type": None}),
        payload(NAME, DIGEST, critical={**CRITICAL, "more": 1}),
        payload(NAME, DIGEST, critical={"image": CRITICAL["image"], "type": CRITICAL["type"]}),
        payload(NAME, DIGEST, critical={**CRITICAL, "identity": {"docker-reference": NAME, "more": 1}}),
        payload(NAME, DIGEST, critical={**CRITICAL, "identity": {}}),
        payload(NAME, DIGEST, critical={**CRITICAL, "identity": NAME}),
        payload(NAME, DIGEST, critical={**CRITICAL, "image": {"docker-manifest-digest": DIGEST, "more": 1}}),
        payload(NAME, DIGEST, critical={**CRITICAL, "image": {"docker-manifest-digest": 5}}),
        payload(NAME, DIGEST, critical={**CRITICAL, "image": [DIGEST]}),
    ],
)
def test_every_other_text_is_refused(data: bytes) -> None:
    with pytest.raises(Damaged, match="the signed text"):
        read_payload(data)
