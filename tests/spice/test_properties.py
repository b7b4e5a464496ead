# SPDX-License-Identifier: GPL-2.0-or-later
"""Any bytes in any pieces: no exception, each byte reported once, and the pieces change nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.packet import Packet

from dissect.spice import agent, constants, images, link, smartcard
from dissect.spice.channels import base, display
from dissect.spice.session import SpiceSession
from dissect.stream.layout import Layout, ProtocolPacket, Short, Values
from tests.spice.examples import data, error_reply, example_of, linked, mess
from tests.spice.test_messages import WITH_FIELDS, has_no_end
from tests.stream.properties import any_events, hold, mutated, packets, recut, same
from tests.stream.talk import CLIENT, SERVER, Event, account, play


@st.composite
def sessions(draw: st.DrawFn) -> list[Event]:
    """A link and some messages of both sides."""
    channel = draw(st.sampled_from(sorted(constants.CHANNEL_TYPES)))
    mini = draw(st.booleans())
    events = linked(channel, mini=mini, select=draw(st.booleans()))
    numbers = [(side, number) for of, side, number in base.BODIES if of in (0, channel)]
    for side, number in draw(st.lists(st.sampled_from(numbers), max_size=6)):
        body = example_of(channel, side, number)
        assert body is not None
        events.append((side, data(number, body, mini=mini)))
    return events


REFUSED: list[Event] = [(CLIENT, mess()), (SERVER, error_reply(5))]


@settings(max_examples=150)
@given(st.data())
def test_any_bytes(data: st.DataObject) -> None:
    begin = data.draw(
        st.sampled_from([[], linked()[:1], linked()[:3], linked(), linked(mini=False), REFUSED])
    )
    events = [*begin, *data.draw(any_events())]
    hold(SpiceSession, events, data.draw(recut(events)))


@settings(max_examples=100)
@given(st.data())
def test_a_valid_session_is_read_to_the_end(data: st.DataObject) -> None:
    events = data.draw(sessions())
    again = data.draw(recut(events))
    records = play(SpiceSession(), again)
    account(records, again)
    assert all(record.kind == "message" and not record.fields().get("note") for record in records)
    assert play(SpiceSession(), events) == records


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_session(data: st.DataObject) -> None:
    events = data.draw(mutated(data.draw(sessions())))
    hold(SpiceSession, events, data.draw(recut(events)))


@settings(max_examples=150)
@given(st.data())
def test_a_session_with_gaps(data: st.DataObject) -> None:
    events = data.draw(mutated(data.draw(sessions()), gaps=True))
    hold(SpiceSession, events, data.draw(recut(events)))


# --- the two descriptions of a class are one


@st.composite
def any_packet(draw: st.DrawFn, cls: type[ProtocolPacket]) -> ProtocolPacket:
    packet = draw(packets(cls))
    if cls in (link.SpiceLinkMess, link.SpiceLinkReply):
        least = link.MESS_SIZE if cls is link.SpiceLinkMess else link.REPLY_SIZE
        if packet.common_caps or packet.channel_caps:
            packet.caps_offset = least + len(packet.before_caps)
        else:
            packet.before_caps = b""
    fit(packet)
    return packet


def fit(packet: Packet) -> None:
    """Put right the sizes that a structure does not count by itself, in nested structures too."""
    for field in packet.fields_desc:
        value = packet.getfieldval(field.name)
        for inside in value if isinstance(value, list) else [value]:
            if isinstance(inside, Packet):
                fit(inside)
    if isinstance(packet, agent.VDAgentMonitorsConfig):
        packet.physical_sizes = [agent.VDAgentMonitorMM()] * len(packet.monitors)
    if "opaque" in packet.fields and not isinstance(packet, agent.VDAgentMessage):
        if isinstance(packet, agent.VDAgentFileXferStatusDetailed):
            packet.size = 16 if packet.result == 4 else 13 if packet.result == 2 else 8
        packet.size = len(bytes(packet)) - agent.HEADER_SIZE
    match packet:
        case smartcard.VSCMsgInit() | smartcard.VSCMsgInitLittle():
            packet.length = 8 + 4 * len(packet.capabilities)
        case smartcard.VSCMsgReaderAdd():
            packet.length = len(packet.reader_name)
        case smartcard.VSCMsgATR():
            packet.length = len(packet.atr)
        case smartcard.VSCMsgAPDU():
            packet.lc, packet.le = len(packet.command_data), packet.le[:1]
            packet.length = 4 + len(packet.le) + (1 + packet.lc if packet.lc else 0)
        case smartcard.VSCMsgAPDUAnswer():
            packet.length = len(packet.answer_data) + 2
        case images.SpiceBitmap():
            packet.y, packet.stride = 1, len(packet.pixels)
        case images.SpiceJpegAlphaData():
            packet.data_size = len(packet.jpeg_data) + images.LZ_HEADER + len(packet.alpha_data)
        case images.SpiceQuicData():
            packet.data_size = images.QUIC_HEADER + len(packet.quic_data)
        case images.SpiceLzRgbData() | images.SpiceLzPltData():
            packet.data_size = images.LZ_HEADER + len(packet.lz_data)
        case images.SpiceGlzRgbData():
            packet.data_size = images.GLZ_HEADER + len(packet.glz_data)
        case images.SpiceLz4Data():
            packet.data_size = images.LZ4_HEADER + len(packet.lz4_blocks)
        case display.RasterGlyphA1():
            packet.width, packet.height = 8 * len(packet.raster), 1
        case display.RasterGlyphA4():
            packet.width, packet.height = 2 * len(packet.raster), 1
        case display.RasterGlyphA8():
            packet.width, packet.height = len(packet.raster), 1
        case display.String():
            packet.flags &= 7
            lists = [packet.glyphs_a1, packet.glyphs_a4, packet.glyphs_a8]
            bit = packet.flags & -packet.flags
            packet.length = len(lists[bit.bit_length() - 1]) if bit else 0


def plain(cls: type[ProtocolPacket], raw: bytes) -> tuple[Values, int]:
    """Decode without following pointers, which in any packet lead anywhere."""
    return Layout.decode(cls.layout(), raw)


@pytest.mark.parametrize("cls", sorted(WITH_FIELDS, key=str))
@settings(max_examples=12)
@given(data=st.data())
def test_the_layout_is_what_scapy_reads_and_writes(cls: type[ProtocolPacket], data: st.DataObject) -> None:
    raw = bytes(data.draw(any_packet(cls)))
    values, end = plain(cls, raw)
    assert end == len(raw)
    assert same(values, cls(raw))
    again = cls(raw)
    again.clear_cache()
    assert bytes(again) == raw
    if has_no_end(cls):
        return
    for size in range(len(raw)):
        with pytest.raises(Short) as short:
            plain(cls, raw[:size])
        assert size < short.value.needed <= len(raw)
        assert not short.value.exact or short.value.needed == len(raw)
