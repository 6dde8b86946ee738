# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._engine.log_options import parse_log


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        (None, "json-file"),
        ("", "json-file"),
        ("json-file", "json-file"),
        ("local", "json-file"),
        ("none", "none"),
        ("journald", "journald"),
        ("syslog", "syslog"),
    ],
)
def test_drivers(driver, name):
    assert parse_log(driver, None) == {"log_driver": name}


@pytest.mark.parametrize(
    ("driver", "options", "fields"),
    [
        (None, {"max-size": "5m", "max-file": "2"}, {"log_max_size_bytes": 5 << 20, "log_max_files": 2}),
        (None, {"max-file": 4}, {"log_max_files": 4}),
        (None, {"max-size": "-1"}, {"log_max_size_bytes": 0}),
        (None, {"mode": "blocking"}, {"log_blocking": True}),
        (None, {"mode": "non-blocking", "max-buffer-size": "4m"}, {"log_blocking": False, "log_buffer_bytes": 4 << 20}),
        ("journald", {"tag": "{{.Name}}"}, {"log_tag": "{{.Name}}"}),
        (
            "syslog",
            {"syslog-address": "udp://10.0.0.1:514", "syslog-facility": "local3", "syslog-format": "rfc5424"},
            {"log_address": "udp://10.0.0.1:514", "log_facility": "local3", "log_format": "rfc5424"},
        ),
        ("syslog", {"syslog-address": "unixgram:///dev/log"}, {"log_address": "unixgram:///dev/log"}),
    ],
)
def test_options_as_users_write_them(driver, options, fields):
    found = parse_log(driver, options)
    del found["log_driver"]
    assert found == fields


@pytest.mark.parametrize(
    ("driver", "options", "option"),
    [
        ("splunk", None, "log_driver"),
        (None, {"max-sise": "5m"}, "log_options"),
        (None, {"max-size": "big"}, "log_options"),
        (None, {"max-file": "0"}, "log_options"),
        (None, {"max-file": "x"}, "log_options"),
        (None, {"mode": "sometimes"}, "log_options"),
        (None, {"max-buffer-size": "x"}, "log_options"),
        (None, {"syslog-address": "udp://h:1"}, "log_options"),
        ("syslog", {"syslog-address": "h:514"}, "log_options"),
        ("syslog", {"syslog-address": "ftp://h"}, "log_options"),
        ("syslog", {"syslog-facility": "local9"}, "log_options"),
        ("syslog", {"syslog-format": "rfc1"}, "log_options"),
    ],
)
def test_what_is_no_option_of_a_log_is_refused(driver, options, option):
    with pytest.raises(Invalid) as caught:
        parse_log(driver, options)
    assert str(caught.value).startswith(f"{option}: ")
