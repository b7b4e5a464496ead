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


def test_each_refusal_belongs_to_the_session_of_its_next_connection() -> None:
    """Two clients of one host at once, the second refused while the first still opens its channels."""
    number = 815
    late = verdict([(C, mess([0, 1, 3], channel=2, connection=number), 0), *steps(2)[1:]], 3)
    verdicts = [
        verdict(MAIN, 0),
        verdict([(C, mess(), 0), (S, error_reply(5), MS)], 1),
        late,
        verdict(steps(2), 5),
    ]
    first, second = tie(verdicts)
    assert (first.refused, second.refused) == ((), (verdicts[1],))
    assert second.remarks[0] == "its main channel is not in the capture, or not in the clear"


def test_a_client_that_comes_back_has_another_session() -> None:
    again = (S, data(103, b"\x01" + INIT[1:]))
    groups = tie([verdict(MAIN, 0), verdict(steps(2), 1), verdict(steps(1, again), 2)])
    assert [len(group.members) for group in groups] == [2, 1]


def test_channels_by_other_addresses_are_of_one_session() -> None:
    six = replace(verdict(steps(2), 1), client="[::1]:40001", server="[::1]:5900")
    (group,) = tie([verdict(MAIN, 0), six])
    assert group.channels == "main (#0), display (#1) by [::1] → [::1]:5900"
    # Not where it is not known of which.
    other = replace(verdict(MAIN, 0), server="127.0.0.2:5900")
    assert len(tie([verdict(MAIN, 0), other, six])) == 3
    # Not where the main channel came later.
    assert len(tie([verdict(MAIN, 2), six])) == 2


def test_without_its_main_channel_a_session_says_so() -> None:
    """As where a capture begins late, or its main channel is in TLS."""
    hello = bytes.fromhex("160301020001 0001fc0303") + bytes(200)
    main = verdict([(C, hello, 0), (S, hello, MS)], 0)
    far = replace(verdict([(C, hello, 0), (S, hello, MS)], 2), client="127.0.0.9:1")
    (group,) = tie([replace(main, server="127.0.0.1:5901"), verdict(steps(2), 1), far])
    assert group.title.endswith(
        "display (#1); its main channel is not in the capture, or not in the clear; "
        "TLS between the same hosts then, which may be more of its channels: #0"
    )


def test_a_main_channel_whose_number_cannot_be_read_is_named() -> None:
    groups = tie([verdict(steps(1), 0), verdict(steps(1), 2), verdict(steps(2), 3), verdict(steps(1), 4)])
    (group,) = groups
    assert group.remarks == ["its main channel may be #2, whose number cannot be read"]


def test_a_migration_within_one_capture_says_from_where() -> None:
    target = replace(
        verdict([(C, mess([0, 1, 3], connection=NUMBER), 0), *MAIN[1:4]], 3), server="127.0.0.1:6"
    )
    source, moved = tie([verdict(MAIN, 0), verdict(steps(2), 1), target])
    assert source.remarks == []
    assert moved.remarks == ["migrated from 127.0.0.1:5900"]


def test_other_protocols_have_no_session() -> None:
    found = verdict([(S, GREETING, 0), (C, GREETING, MS)])
    assert found.spice is None
    assert found.to_json("x")["session"] is None


def test_a_channel_with_a_number_of_its_own() -> None:
    assert SpiceLink(1, 2, 3, 1, 0).channel == "display 3"
    assert SpiceLink(1, 99, 0, 1, 0).channel == "type 99"
    assert host("[::1]:5900") == "[::1]"
