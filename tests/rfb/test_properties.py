# SPDX-License-Identifier: GPL-2.0-or-later
"""Any bytes in any pieces: no exception, each byte reported once, and the pieces change nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.rfb import messages as m
from dissect.rfb import optional, security
from dissect.rfb.session import RfbSession
from dissect.stream.layout import ProtocolPacket, Short
from tests.rfb.examples import FORMS, ROWS, SERVER_INIT, rect, rectangles, u16, u32, update
from tests.rfb.test_messages import CLASSES, NORMAL, SIZED_BY_THE_SESSION
from tests.stream.properties import any_events, hold, mutated, packets, recut, same
from tests.stream.talk import CLIENT, SERVER, Event, account, play

NONE_33: list[Event] = [
    (SERVER, b"RFB 003.003\n"),
    (CLIENT, b"RFB 003.003\n"),
    (SERVER, u32(1)),
    (CLIENT, b"\1"),
    (SERVER, SERVER_INIT),
]
VNC_38: list[Event] = [
    (CLIENT, b"RFB "),
    (SERVER, b"RFB 003.008\n"),
    (CLIENT, b"003.008\n"),
    (SERVER, b"\2\2\x10"),
    (CLIENT, b"\2"),
    (SERVER, bytes(range(16))),
    (CLIENT, bytes(range(16)) + b"\1"),
    (SERVER, u32(0) + SERVER_INIT),
]
TIGHT: list[Event] = [
    (SERVER, b"RFB 003.008\n"),
    (CLIENT, b"RFB 003.008\n\x10"),
    (SERVER, b"\1\x10" + u32(0) + u32(0) + u32(0)),
    (CLIENT, b"\1"),
    (SERVER, SERVER_INIT + bytes(8)),
]
REFUSED: list[Event] = [
    (SERVER, b"RFB 003.008\n"),
    (CLIENT, b"RFB 003.008\n"),
    (SERVER, b"\0" + u32(4) + b"away"),
]
SMALL = [data for name, data in rectangles(FORMS[32]) if len(data) < 200]


CHANGING = {m.ExtendedPointerEvent, m.SetPixelFormat}
"""Lawful only after something else, or changing what the rectangles in `SMALL` mean."""


@st.composite
def normal_phase(draw: st.DrawFn) -> list[Event]:
    """A few messages of either side, updates among them."""
    one = st.one_of(
        st.sampled_from([(side, data) for side, data, cls in NORMAL if cls not in CHANGING]),
        st.lists(st.sampled_from(SMALL), max_size=3).map(lambda all_: (SERVER, update(*all_))),
        st.just((SERVER, update(rect(1, 1, 1, u16(0) * 2), rect(0, 0, -224), count=0xFFFF))),
    )
    return [*draw(st.lists(one, min_size=1, max_size=6))]


@st.composite
def sessions(draw: st.DrawFn) -> list[Event]:
    begin = draw(st.sampled_from([NONE_33, VNC_38, TIGHT, REFUSED]))
    return [*begin, *draw(normal_phase())] if begin is not REFUSED else [*begin]


@settings(max_examples=150)
@given(st.data())
def test_any_bytes(data: st.DataObject) -> None:
    begin = data.draw(st.sampled_from([[], VNC_38[:2], VNC_38[:5], NONE_33, NONE_33, TIGHT[:3]]))
    events = [*begin, *data.draw(any_events())]
    foreign = data.draw(st.booleans())
    hold(lambda: RfbSession(foreign_client=foreign), events, data.draw(recut(events)))


@settings(max_examples=100)
@given(st.data())
def test_a_valid_session_is_read_to_the_end(data: st.DataObject) -> None:
    events = data.draw(sessions())
    again = data.draw(recut(events))
    records = play(RfbSession(), again)
    account(records, again)
    assert all(record.kind == "message" and not record.fields().get("note") for record in records)
    assert play(RfbSession(), events) == records


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_session(data: st.DataObject) -> None:
    events = data.draw(mutated(data.draw(sessions())))
    hold(RfbSession, events, data.draw(recut(events)))


@settings(max_examples=150)
@given(st.data())
def test_a_session_with_gaps(data: st.DataObject) -> None:
    events = data.draw(mutated(data.draw(sessions()), gaps=True))
    hold(RfbSession, events, data.draw(recut(events)))


# --- the two descriptions of a class are one


@st.composite
def any_packet(draw: st.DrawFn, cls: type[ProtocolPacket]) -> ProtocolPacket:
    packet = draw(packets(cls))
    if cls in (m.ClientCutText, m.ServerCutText):
        size = len(packet.text)
        packet.length = draw(st.sampled_from([size, -size]))
    elif cls in (m.ExtendedClientCutText, m.ExtendedServerCutText):
        packet.length = -4 - len(packet.clipboard_data)
    elif cls in (optional.ClientTextChat, optional.ServerTextChat):
        packet.length = len(packet.text)
    elif cls in (security.RsaPublicKey, security.DiffieHellmanParameters):
        first, second = (field.name for field in cls.fields_desc[-2:])
        size = min(len(getattr(packet, first)), len(getattr(packet, second)))
        for name in (first, second):
            setattr(packet, name, getattr(packet, name)[:size])
        if cls is security.RsaPublicKey:
            packet.key_length = 8 * size
        else:
            packet.key_size = size
    return packet


@pytest.mark.parametrize("cls", sorted(CLASSES - SIZED_BY_THE_SESSION, key=str))
@settings(max_examples=12)
@given(data=st.data())
def test_the_layout_is_what_scapy_reads_and_writes(cls: type[ProtocolPacket], data: st.DataObject) -> None:
    raw = bytes(data.draw(any_packet(cls)))
    values, end = cls.layout().decode(raw)
    assert end == len(raw)
    assert same(values, cls(raw))
    assert cls.layout().measure(raw) == len(raw)
    for size in range(len(raw)):
        with pytest.raises(Short) as short:
            cls.layout().measure(raw[:size])
        assert size < short.value.needed <= len(raw)
        assert not short.value.exact or short.value.needed == len(raw)
    again = cls(raw)
    again.clear_cache()
    assert bytes(again) == raw


def test_nested_values_are_compared_too() -> None:
    raw = next(data for cls, data, _ in ROWS if cls is m.SetColourMapEntries)
    values, _ = m.SetColourMapEntries.layout().decode(raw)
    assert same(values, m.SetColourMapEntries(raw))
    values["colours"][1]["blue"] -= 1
    assert not same(values, m.SetColourMapEntries(raw))
