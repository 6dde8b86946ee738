# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.hull.engine.plugins.module_utils._engine.statistics import Sample, cpu_percent, network_bytes

DEVICES = """Inter-|   Receive                            |  Transmit
 face |bytes    packets errs ...              |bytes    packets ...
    lo: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0
  eth0: 1200 9 0 0 0 0 0 0 3400 8 0 0 0 0 0 0
  eth1:5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0
"""


def test_all_interfaces_but_the_loopback_count() -> None:
    assert network_bytes(DEVICES) == (1205, 3407)
    assert network_bytes("") == (0, 0)


def test_a_hundred_percent_is_one_cpu() -> None:
    before = Sample(time_ns=10**9, cpu_ns=5 * 10**8)
    assert cpu_percent(before, Sample(time_ns=2 * 10**9, cpu_ns=20 * 10**8)) == 150
    assert cpu_percent(before, Sample(time_ns=2 * 10**9, cpu_ns=0)) == 0  # it was restarted meanwhile
    assert cpu_percent(before, before) == 0
