# SPDX-License-Identifier: GPL-2.0-or-later
"""Observations say what was seen, and a bound is never a value."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dissect.stream import Side
from dissect.timing.observations import Observation, grouped, observe
from tests.dissection.conversations import (
    BLACKLISTED,
    ERROR_REPLY,
    FIN,
    GREETING,
    LINK_MESS,
    LINK_REPLY,
    MS,
    RST,
    C,
    S,
    run,
)


def by_side(found: list[Observation]) -> dict[Side, Observation]:
    assert len({one.side for one in found}) == len(found)
    return {one.side: one for one in found}


def test_a_reaction_is_an_exact_time_with_its_kind_and_bytes() -> None:
    dissected = run(
        [(C, b"RFB ", 2 * MS), (S, ERROR_REPLY, 2 * MS + 71_000), (S, FIN, 3 * MS), (C, FIN, 4 * MS)]
    )
    found = by_side(observe(dissected, label="a.pcap"))
    assert found[S] == Observation(
        side=S,
        ns=71_000,
        status="exact",
        by="error-reply",
        bytes=4,
        after_close=False,
        client_spoke="rfb",
        server_spoke="spice",
        conversation=0,
        label="a.pcap",
        clock="wire",
    )
    assert (found[C].ns, found[C].exact, found[C].by, found[C].after_close) == (
        4 * MS - 2 * MS - 71_000,
        True,
        "close",
        True,
    )


def test_what_never_ended_is_censored_and_has_no_kind() -> None:
    found = by_side(observe(run([(C, b"RFB ", 2 * MS)], end=20_000 * MS)))
    assert (found[S].ns, found[S].status, found[S].by, found[S].exact) == (
        19_998 * MS,
        "censored",
        None,
        False,
    )
    assert found[S].bytes == 4
    # The client heard nothing: its clock runs from the handshake.
    assert (found[C].ns, found[C].status, found[C].bytes) == (20_000 * MS, "censored", 0)


def test_leaving_before_the_other_reacts_censors_the_other() -> None:
    found = by_side(observe(run([(C, LINK_MESS, MS), (C, RST, 5 * MS)])))
    assert (found[S].ns, found[S].status, found[S].by) == (4 * MS, "censored", None)


def test_agreement_and_a_blacklist_answer_are_no_observations() -> None:
    assert observe(run([(C, LINK_MESS, MS), (S, LINK_REPLY, 2 * MS)])) == []
    refused = observe(run([(C, LINK_MESS, MS), (S, BLACKLISTED, 2 * MS), (S, FIN, 2 * MS), (C, FIN, 3 * MS)]))
    assert [one.side for one in refused] == [C]


def test_observations_of_one_kind_are_grouped() -> None:
    fast = run([(S, GREETING, 0), (C, LINK_MESS, MS), (S, FIN, 2 * MS), (C, FIN, 3 * MS)])
    found = [*observe(fast), *observe(run([(C, b"RFB ", MS)], end=9 * MS)), *observe(fast)]
    groups = grouped(found)
    assert list(groups) == [
        ("spice", "rfb", S),
        ("spice", "rfb", C),
        ("rfb", "nothing", S),
        ("rfb", "nothing", C),
    ]
    assert [len(group) for group in groups.values()] == [2, 2, 1, 1]


def test_an_observation_is_a_constant_and_plain_json() -> None:
    (one, _) = observe(run([(C, b"RFB ", MS)], end=9 * MS), label="x")
    with pytest.raises(AttributeError):
        one.ns = 1  # type: ignore[misc]
    assert one.to_json() == {
        "capture": "x",
        "conversation": 0,
        "side": "server",
        "client_spoke": "rfb",
        "server_spoke": "nothing",
        "ns": 8 * MS,
        "status": "censored",
        "by": None,
        "bytes": 4,
        "after_close": False,
        "clock": "wire",
    }


def test_observing_imports_neither_numpy_nor_matplotlib() -> None:
    code = (
        "import sys; import dissect.timing.observations, dissect.timing.wording; "
        "sys.exit(bool({'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
