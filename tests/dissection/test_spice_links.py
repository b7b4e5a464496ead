# SPDX-License-Identifier: GPL-2.0-or-later
"""One SPICE session from its connections, by the number that MAIN_INIT gives and the other links name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dissect.dissection.reading import dissect
from dissect.dissection.spice_links import SpiceLink, host, tie
from dissect.dissection.verdict import Verdict
from dissect.stream import Side
from tests.dissection.conversations import GREETING, MS, C, S, Step, events
from tests.spice.examples import INIT, data, error_reply, linked, mess

NUMBER = 4711


def steps(channel: int, *said: tuple[Side, bytes]) -> list[Step]:
    """A link of this channel, then these messages, 1 ms apart."""
    found: list[Step] = []
    for side, what in [*linked(channel), *said]:
        assert isinstance(what, bytes)
        found.append((side, what, len(found) * MS))
    return found


def verdict(what: list[Step], index: int = 0, *, records: bool = True) -> Verdict:
    (found,) = dissect(events(what, 100 * MS, index=index), records=records)
    return replace(found.verdict, start_ns=index * 10 * MS, client=f"127.0.0.1:{40000 + index}")


MAIN = steps(1, (S, data(103, INIT)))


@pytest.mark.parametrize("records", [True, False])
def test_main_and_the_others_have_one_number(records: bool) -> None:
    verdicts = [verdict(MAIN, 0, records=records), verdict(steps(2), 1, records=records)]
    assert [v.spice and v.spice.session_id for v in verdicts] == [NUMBER, NUMBER]
    (group,) = tie(reversed(verdicts))
    assert group.title == ("SPICE session 0x00001267, 127.0.0.1 → 127.0.0.1:5900: main (#0), display (#1)")


def test_a_conversation_without_records_is_read_until_its_number_is_known() -> None:
    late = [*steps(1), (S, data(4, bytes(12)), 50 * MS), (S, data(103, INIT), 60 * MS)]
    found = verdict(late, records=False)
    assert found.spice == SpiceLink(NUMBER, 1, 0, 0, 0)


def test_two_sessions_are_two() -> None:
    other = replace(verdict(MAIN, 0), client="127.0.0.2:40000")
    groups = tie([verdict(MAIN, 1), other])
    assert [group.client for group in groups] == ["127.0.0.2", "127.0.0.1"]


def test_a_main_link_that_names_a_session_is_a_migration() -> None:
    client = mess([0, 1, 3], connection=NUMBER)
    found = verdict([(C, client, 0), *MAIN[1:4]])
    assert found.spice is not None
    assert found.spice.migrated
    assert found.to_json("x")["session"] == {
        "id": NUMBER,
        "channel": "main",
        "channel_type": 1,
        "channel_id": 0,
        "migrated": True,
        "error": "OK",
    }
    (group,) = tie([found])
    assert group.title.endswith("main (#0); migrated from another server")


def test_a_refusal_for_want_of_tls_belongs_to_the_session_that_follows() -> None:
    refused = verdict([(C, mess(), 0), (S, error_reply(5), MS)], 0)
    session = replace(verdict(MAIN, 1), server="127.0.0.1:5901")
    (group,) = tie([refused, session])
    assert group.title.endswith("main (#1); main (#0) was refused: NEED_SECURED")
    assert tie([refused]) == []


def test_other_protocols_have_no_session() -> None:
    found = verdict([(S, GREETING, 0), (C, GREETING, MS)])
    assert found.spice is None
    assert found.to_json("x")["session"] is None


def test_a_channel_with_a_number_of_its_own() -> None:
    assert SpiceLink(1, 2, 3, 1, 0).channel == "display 3"
    assert SpiceLink(1, 99, 0, 1, 0).channel == "type 99"
    assert host("[::1]:5900") == "[::1]"
