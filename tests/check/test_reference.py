# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine itself is timed, and nothing stays of it."""

from __future__ import annotations

import threading

from dissect.check.reference import LIMIT_S, measure


def test_it_takes_some_time_and_leaves_no_thread() -> None:
    before = threading.active_count()
    assert 0 < measure() < 2 * LIMIT_S * 10**9
    assert threading.active_count() == before
