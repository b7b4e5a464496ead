# SPDX-License-Identifier: GPL-2.0-or-later
"""Model peers with each other, over the simulated wire: every pair, every setting, every fault."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.lab.models import (
    Change,
    Cut,
    Endless,
    How,
    Late,
    Model,
    Omit,
    Pace,
    Parting,
    Peek,
    Speaks,
    SpiceClient,
    SpiceServer,
    VncClient,
    VncServer,
    simulate,
)
from dissect.lab.models.core import RECORDS_KEPT, Close, Conversation, Reset, Send
from dissect.lab.models.result import PairResult
from dissect.lab.models.simulation import LATENCY_NS
from dissect.lab.models.spice import capability_words
from dissect.lab.models.vnc import colour_at, is_version
from dissect.replay.credentials import spice_ticket
from dissect.rfb.messages import ClientInit, ProtocolVersion, SecurityType
from dissect.spice import link
from dissect.spice.session import SpiceSession
from dissect.stream import Side
from dissect.stream.layout import ProtocolPacket
from dissect.stream.records import Message

MS, SECOND = 1_000_000, 1_000_000_000
DEADLINE_S = 60.0

OLD, NEW = SpiceServer(judges_after=16, key_per_link=False), SpiceServer(key_per_link=False)
QUIET, AT_ONCE, AFTER_2_S = (VncClient(speaks=speaks) for speaks in Speaks)
SPICE = SpiceClient()
VNC = VncServer(width=8, height=6)


@pytest.fixture(autouse=True)
def _nothing_left() -> None:
    """No process is started here, so none is looked for after each of these many small tests."""


def meet(client: Model, server: Model, **options: Any) -> PairResult:
    return simulate(client, server, options.pop("deadline_s", DEADLINE_S), **options)


def names(result: PairResult) -> list[str]:
    """The messages of the first connection as the client saw them, its own among them."""
    return [message.name for message in result.client.messages()]


def error_replies(result: PairResult) -> list[int]:
    assert result.server is not None
    return [reply["error"] for reply in result.server.messages("SpiceLinkReply")]


# --- Who meets whom --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1, 3, 16])
@pytest.mark.parametrize(
    ("client", "server", "by", "after_ms", "received", "said"),
    [
        # The table of 2017: before the cure all three hang; after it those that speak first fail fast.
        (QUIET, OLD, None, None, None, []),
        (AT_ONCE, OLD, None, None, None, []),
        (AFTER_2_S, OLD, None, None, None, []),
        (QUIET, NEW, None, None, None, []),
        (AT_ONCE, NEW, Side.SERVER, 0, 4, ["Error while parsing server version: b'REDQ"]),
        (AFTER_2_S, NEW, Side.SERVER, 2000, 4, ["Error while parsing server version: b'REDQ"]),
        # The other mistake always failed fast: the server has greeted and judges 12 bytes.
        (SPICE, VNC, Side.SERVER, 0, 12, ["incomplete link header (12/16)"]),
        # And what is right.
        (QUIET, VNC, Side.CLIENT, 0, None, ["done: 1 updates"]),
        (AT_ONCE, VNC, Side.CLIENT, 0, None, ["done: 1 updates"]),
        (AFTER_2_S, VNC, Side.CLIENT, 0, None, ["done: 1 updates"]),
        (SPICE, OLD, Side.CLIENT, 100, None, ["done"]),
        (SPICE, NEW, Side.CLIENT, 100, None, ["done"]),
    ],
)
def test_who_ends_it_after_which_bytes(
    client: Model,
    server: Model,
    by: Side | None,
    after_ms: int | None,
    received: int | None,
    said: list[str],
    chunk: int | None,
) -> None:
    result = meet(client, server, chunk=chunk)
    assert result.ended_by is by
    if after_ms is None:
        assert result.after_ns is None
        assert result.client.ending is None
    else:
        assert result.after_ns is not None
        assert after_ms * MS <= result.after_ns < after_ms * MS + 10 * MS
    if received is not None:
        assert result.ending is not None
        # It judges with the segment that brings the byte it needs.
        sent = result.client.sent
        assert result.ending.received == (sent if chunk is None else min(sent, -(-received // chunk) * chunk))
    assert len(result.client.said) == len(said)
    for got, wanted in zip(result.client.said, said, strict=True):
        assert got.startswith(wanted)


def test_what_the_cured_server_answers() -> None:
    result = meet(AT_ONCE, NEW)
    assert error_replies(result) == [2]
    assert result.server is not None
    assert (result.server.received, result.server.sent) == (4, 194)
    reply = result.client
    assert reply.received == 194
    assert reply.violations(), "the reply is no RFB, and the report says so"
    assert result.server.said == ["bad magic b'RFB '"]


def test_before_the_cure_the_whole_version_is_not_enough_and_sixteen_bytes_are() -> None:
    assert talk(OLD, b"RFB 003.008\n").ended is None
    conversation = talk(OLD, b"RFB 003.008\n" + b"\1\1\0\0")
    assert (len(conversation.sent), conversation.ended) == (194, How.CLOSE)


def test_the_mistake_the_other_way_round_is_dropped_by_all_greetings() -> None:
    for version in [(3, 3), (3, 7), (3, 8)]:
        result = meet(SPICE, VncServer(version=version))
        assert result.ended_by is Side.SERVER
        assert result.server is not None
        assert result.server.sent == 12


def test_the_one_that_waits_says_nothing_to_a_server_that_greets() -> None:
    for delay, early in ((1900 * MS, False), (2100 * MS, True)):
        result = meet(AFTER_2_S, VncServer(greeting_delay_ns=delay))
        assert result.client.state == "messages"
        assert result.client.first_sent_ns is not None
        assert (result.client.first_sent_ns == 2 * SECOND) is early
        assert result.ended_by is Side.CLIENT


def test_a_single_byte_is_enough_to_keep_it_silent() -> None:
    """The timer of gtk-vnc fires only where nothing has come at all; after that it waits for ever."""
    result = meet(AFTER_2_S, VncServer(faults=(Cut("ProtocolVersion", 1, Parting.HANG),)))
    assert (result.client.received, result.client.sent, result.ended_by) == (1, 0, None)


@pytest.mark.parametrize("chunk", [None, 1])
def test_the_early_prefix_changes_nothing_else(chunk: int | None) -> None:
    plain = meet(QUIET, replace(VNC, seed=1), chunk=chunk)
    early = meet(AT_ONCE, replace(VNC, seed=1), chunk=chunk)
    assert names(plain) == names(early)
    assert plain.client.received == early.client.received
    assert plain.client.sent == early.client.sent
    assert early.server is not None
    assert early.server.first_received_ns == LATENCY_NS
    version = early.server.messages("ProtocolVersion", Side.CLIENT)[0]
    assert (version.first_ns, version.last_ns) == (LATENCY_NS, 3 * LATENCY_NS), "sent in two, judged as one"


def test_an_early_prefix_breaks_a_server_that_peeks_and_does_not_know_it() -> None:
    old = VncServer(peek=Peek(known=()))
    assert meet(QUIET, old).client.state == "messages"
    result = meet(AT_ONCE, old)
    assert result.ended_by is Side.SERVER
    assert result.server is not None
    assert result.server.sent == 0, "not even a greeting"
    assert result.after_ns is not None
    assert result.after_ns < 100 * MS
    assert result.client.said == ["the server closed the connection"]

    cured = meet(AT_ONCE, VncServer(peek=Peek()))
    assert cured.client.state == "messages"
    assert cured.server is not None
    assert cured.server.first_sent_ns == LATENCY_NS, "it need not wait once it knows"
    waited = meet(QUIET, VncServer(peek=Peek()))
    assert waited.server is not None
    assert waited.server.first_sent_ns == LATENCY_NS + 100 * MS


# --- RFB -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", [None, "secret"])
@pytest.mark.parametrize("client", [(3, 3), (3, 7), (3, 8)])
@pytest.mark.parametrize("server", [(3, 3), (3, 7), (3, 8)])
@pytest.mark.parametrize("chunk", [None, 1])
def test_every_version_with_every_other(
    server: tuple[int, int], client: tuple[int, int], password: str | None, chunk: int | None
) -> None:
    result = meet(
        VncClient(version=client, password=password),
        VncServer(version=server, password=password, width=5, height=4),
        chunk=chunk,
    )
    version = min(server, client)
    assert not result.client.violations()
    assert result.client.said == ["done: 1 updates"]
    security = ["SecurityType"] if version == (3, 3) else ["SecurityTypes", "SecurityType"]
    challenge = ["VncAuthenticationChallenge", "VncAuthenticationResponse"] if password else []
    answered = ["SecurityResult"] if password or version == (3, 8) else []
    assert names(result) == [
        *["ProtocolVersion"] * 2,
        *security,
        *challenge,
        *answered,
        "ClientInit",
        "ServerInit",
        "SetEncodings",
        "FramebufferUpdateRequest",
        "FramebufferUpdate",
        "FramebufferUpdateRequest",
    ]
    assert result.server is not None
    assert [message.name for message in result.server.messages()] == names(result)


@pytest.mark.parametrize("version", [(3, 3), (3, 7), (3, 8)])
def test_a_wrong_password_is_refused(version: tuple[int, int]) -> None:
    result = meet(VncClient(password="wrong"), VncServer(password="secret", version=version))
    reason = ": Authentication failed" if version == (3, 8) else ""
    assert result.client.said == [f"authentication failed{reason}"]
    assert result.ended_by is Side.SERVER
    assert result.client.messages("SecurityResult")[0]["status"] == 1


def test_a_client_without_what_the_server_wants() -> None:
    without = meet(VncClient(), VncServer(password="secret"))
    assert without.client.said == ["the server wants a password and there is none"]
    assert without.ended_by is Side.CLIENT
    other = meet(VncClient(), VncServer(security_types=(19, 18)))
    assert other.client.said == ["no security type in common: the server offers [19, 18]"]
    assert other.ended_by is Side.CLIENT
    nothing = meet(VncClient(), VncServer(security_types=()))
    assert nothing.client.said == ["the server refuses: No security type"]


def test_the_answer_of_a_blacklist_is_no_greeting_for_long() -> None:
    result = meet(QUIET, VncServer(refuses="Too many security failures"))
    assert result.client.said == ["the server refuses: Too many security failures"]
    assert result.client.received == 12 + 4 + 4 + 26
    assert result.ended_by is Side.SERVER


def test_a_choice_that_was_not_offered_is_refused() -> None:
    conversation = talk(VNC, bytes(ProtocolVersion.of(3, 8)), bytes(SecurityType(security_type=2)))
    assert conversation.sent.endswith(b"\0\0\0\1\0\0\0\x19Unsupported security type")
    assert conversation.ended is How.CLOSE


@pytest.mark.parametrize("version", [b"003.889", b"005.000", b"000.000"])
def test_a_version_that_is_not_accepted(version: bytes) -> None:
    conversation = talk(VNC, b"RFB " + version + b"\n")
    assert conversation.sent == b"RFB 003.008\n\0\0\0\0"
    assert conversation.ended is How.CLOSE


def test_how_many_updates_and_how_long() -> None:
    server = VncServer(width=4, height=4, frame_ns=100 * MS)
    result = meet(VncClient(updates=4), server)
    updates = result.client.messages("FramebufferUpdate")
    assert [update.raw[16:][2] for update in updates], "pixels"
    times = [update.last_ns for update in updates]
    assert len(times) == 4
    assert [round((b - a) / MS) for a, b in pairwise(times[1:])] == [100, 100]
    assert len({update.raw for update in updates}) == 4, "the picture changes"

    still = meet(VncClient(updates=None, lasts_ns=SECOND), VncServer(width=4, height=4))
    assert len(still.client.messages("FramebufferUpdate")) == 1, "an incremental request stays pending"
    assert still.client.said == ["done: 1 updates"]
    assert still.after_ns is not None
    assert SECOND <= still.after_ns < SECOND + 10 * MS

    endless = meet(VncClient(updates=None), VncServer(width=4, height=4), deadline_s=5)
    assert endless.ended_by is None
    assert endless.client.state == "messages"


@pytest.mark.parametrize(
    ("fields", "pixel"),
    [
        ({}, lambda r, g, b: bytes([b, g, r, 0])),
        ({"big_endian_flag": 1}, lambda r, g, b: bytes([0, r, g, b])),
        (
            {
                "bits_per_pixel": 16,
                "depth": 16,
                "red_max": 31,
                "green_max": 63,
                "blue_max": 31,
                "red_shift": 11,
                "green_shift": 5,
            },
            lambda r, g, b: (r * 31 // 255 << 11 | g * 63 // 255 << 5 | b * 31 // 255).to_bytes(2, "little"),
        ),
        (
            {"bits_per_pixel": 8, "depth": 8, "true_colour_flag": 0},
            lambda r, g, b: bytes([(r + g) // 2]),
        ),
    ],
)
def test_pixels_in_the_format_asked_for(fields: dict[str, Any], pixel: Any) -> None:
    from dissect.rfb import messages
    from dissect.rfb.session import RfbSession

    session = RfbSession(role=Side.CLIENT)
    conversation = VncServer(width=3, height=2).start()()
    records: list[Message] = []

    def exchange(*packets: ProtocolPacket) -> None:
        data = b"".join(session.send(packet, 0) for packet in packets)
        for action in conversation.received(data, 0):
            assert isinstance(action, Send)
            for record in session.feed(Side.SERVER, action.data, 0):
                assert isinstance(record, Message)
                records.append(record)

    for action in conversation.opened(0, False):
        assert isinstance(action, Send)
        session.feed(Side.SERVER, action.data, 0)
    for packet in (ProtocolVersion.of(3, 8), SecurityType(security_type=1), ClientInit()):
        exchange(packet)
    pixel_format = messages.PixelFormat(**fields)
    exchange(
        messages.SetPixelFormat(pixel_format=pixel_format),
        messages.FramebufferUpdateRequest(x_position=1, y_position=0, width=9, height=9),
    )
    update = records[-1]
    assert update.name == "FramebufferUpdate"
    expected = [pixel(*colour_at((3, 2), x, y, 0)) for y in range(2) for x in range(1, 3)]
    assert update.raw[16:] == b"".join(expected), "clipped to the screen"
    if not fields.get("true_colour_flag", 1):
        assert "SetColourMapEntries" in [record.name for record in records]


# --- SPICE -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("password", [None, "xyz"])
def test_a_session_of_three_channels(password: str | None, chunk: int | None) -> None:
    client = SpiceClient(channels=((2, 0), (3, 0)), password=password or "")
    result = meet(client, replace(NEW, password=password, ack_window=2), chunk=chunk)
    assert [report.said for report in result.clients] == [["done"], [], []]
    assert not any(report.violations() for report in result.clients + result.servers)
    first = result.client
    session_id = first.messages("SPICE_MSG_MAIN_INIT")[0]["session_id"]
    assert session_id
    assert first.messages("SPICE_MSG_MAIN_CHANNELS_LIST")
    assert len(first.messages("SPICE_MSGC_PONG")) == len(first.messages("SPICE_MSG_PING")) == 2
    assert len(first.messages("SPICE_MSGC_ACK_SYNC")) == 1
    # INIT, NAME, two PINGs and the list follow SET_ACK: two windows of two are full.
    assert len(first.messages("SPICE_MSGC_ACK")) == 2
    for report, kind in zip(result.servers, (1, 2, 3), strict=True):
        mess = report.messages("SpiceLinkMess")[0]
        assert (mess["channel_type"], mess["connection_id"]) == (kind, session_id if kind > 1 else 0)
        assert report.state == "messages"
    display = result.servers[1].messages("SPICE_MSGC_DISPLAY_INIT")
    assert [message.size for message in display] == [20]
    assert result.clients[2].messages("SPICE_MSG_INPUTS_INIT")


def test_the_end_of_main_is_the_end_of_all() -> None:
    client = SpiceClient(channels=((2, 0),), lasts_ns=None)
    server = replace(NEW, faults=(Late("SPICE_MSG_MAIN_CHANNELS_LIST", SECOND),))
    result = meet(client, server, deadline_s=5)
    assert result.ended_by is None, "nobody is in a hurry"
    leaving = meet(replace(client, lasts_ns=SECOND), server)
    endings = [report.ending for report in leaving.clients]
    assert len(endings) == 2
    assert all(ending is not None and ending.mine for ending in endings)


def test_the_wire_of_a_link_reply_is_a_write_for_each_word() -> None:
    conversation = NEW.start()()
    conversation.opened(0, False)
    session = SpiceSession(role=Side.CLIENT)
    data = session.send(link.SpiceLinkMess(common_caps=[0b1011], channel_caps=[0b1111]), 0)
    assert len(data) == 42
    actions = conversation.received(data, 0)
    assert [len(action.data) for action in actions if isinstance(action, Send)] == [194, 4, 4]
    assert len(actions) == 3


def test_a_client_that_sends_its_mechanism_and_ticket_in_one() -> None:
    conversation = Talk(NEW)
    session = SpiceSession(role=Side.CLIENT)
    conversation.say(session.send(link.SpiceLinkMess(common_caps=[0b1011]), 0))
    session.feed(Side.SERVER, bytes(conversation.sent), 0)
    assert session.public_key is not None
    mechanism = session.send(link.SpiceLinkAuthMechanism(), 0)
    ticket = session.send(link.SpiceLinkEncryptedTicket(encrypted_data=spice_ticket(session.public_key)), 0)
    del conversation.sent[:]
    conversation.say(mechanism + ticket)
    records = session.feed(Side.SERVER, bytes(conversation.sent), 0)
    assert [record.name for record in records][:2] == ["SpiceLinkResult", "SPICE_MSG_MAIN_INIT"]


def header(size: int, major: int = 2, minor: int = 2) -> bytes:
    return bytes(link.SpiceLinkHeader(major_version=major, minor_version=minor, size=size))


def mess(**fields: Any) -> bytes:
    fields = {"common_caps": [0b1011], "channel_caps": [0b1111], **fields}
    return bytes(link.SpiceLinkMess(**fields))


@pytest.mark.parametrize(
    ("data", "error", "how"),
    [
        (b"RED", None, None),
        (b"REDQ", None, None),
        (b"REDX", 2, How.CLOSE),
        (b"RFB ", 2, How.CLOSE),
        (b"RFB 003.008\n", 2, How.CLOSE),
        (header(26, major=3), 4, How.CLOSE),
        (header(26, major=3) + mess(), 4, How.RESET),
        (header(26, major=0), None, How.CLOSE),
        (header(26, minor=9) + mess(), 0, None),
        (header(17), 3, How.CLOSE),
        (header(4097), 3, How.CLOSE),
        (header(0xFFFFFFFF), 3, How.CLOSE),
        (header(26) + mess(num_common_caps=1025), 3, How.CLOSE),
        (header(26) + mess(num_common_caps=0xFFFFFFFF, num_channel_caps=0xFFFFFFFF), 3, How.CLOSE),
        (header(26) + mess(num_common_caps=5), 3, How.CLOSE),
        (header(26) + mess(caps_offset=0), 3, How.CLOSE),
        (header(26) + mess(channel_type=99), None, How.CLOSE),
        (header(26) + mess(channel_type=2, channel_id=9), None, How.CLOSE),
        (header(26) + mess(channel_type=2), 0, None),
        (header(26) + mess() + b"\x09\0\0\0", 3, How.CLOSE),
        (header(26) + mess() + b"\1\0\0\0" + bytes(128), 7, How.CLOSE),
    ],
)
def test_what_spice_server_answers(data: bytes, error: int | None, how: How | None) -> None:
    """As measured on spice-server 0.15.1 (QEMU 7.2), reset or close included."""
    conversation = talk(NEW, data)
    if error is None:
        assert conversation.sent == b""
    elif error == 7:
        assert conversation.sent[-4:] == b"\7\0\0\0"
    else:
        at = len(conversation.sent) - 194 if error else 0
        assert conversation.sent[at : at + 4] == b"REDQ"
        assert conversation.sent[at + 16 : at + 20] == bytes([error, 0, 0, 0])
        assert not any(conversation.sent[at + 20 :]) or not error
    assert conversation.ended is how


def test_before_it_looked_for_websockets_a_longer_beginning_was_left_unread() -> None:
    for server, how in ((NEW, How.CLOSE), (replace(NEW, looks_for_websocket=False), How.RESET)):
        conversation = talk(server, b"RFB 003.008\n")
        assert (len(conversation.sent), conversation.ended) == (194, how)


def test_a_wrong_password_and_a_wrong_session_are_told_after_the_ticket() -> None:
    result = meet(SpiceClient(password="abc"), replace(NEW, password="xyz"))
    assert result.client.said == ["the server does not let in: 7 (PERMISSION_DENIED)"]
    assert result.ended_by is Side.SERVER
    stranger = SpiceClient(channel=(3, 0), connection_id=77, lasts_ns=0)
    result = meet(stranger, NEW)
    assert result.client.said == ["the server does not let in: 8 (BAD_CONNECTION_ID)"]
    assert error_replies(result) == [0]
    open_to_all = meet(stranger, replace(NEW, checks_session_id=False), deadline_s=1)
    assert open_to_all.client.state == "messages"
    assert open_to_all.ended_by is None


def test_a_main_link_that_names_a_session_gets_no_init() -> None:
    result = meet(SpiceClient(connection_id=5), NEW, deadline_s=5)
    assert result.client.state == "messages"
    assert not result.client.messages("SPICE_MSG_MAIN_INIT")
    assert result.ended_by is None


def test_a_new_main_link_ends_the_session_before() -> None:
    for multi_client in (False, True):
        begin = replace(NEW, multi_client=multi_client).start()
        first, second = Talk(begin()), Talk(begin())
        one = first.link_main()
        two = second.link_main()
        assert one != two
        dropped = [action for action in second.actions if type(action).__name__ == "Drop"]
        assert len(dropped) == (0 if multi_client else 1)
        if dropped:
            assert dropped[0].conversation is first.conversation
            assert first.conversation.dropped(9) == [Close()]


@pytest.mark.parametrize(
    ("bits", "caps"), [((), ()), ((0,), (1,)), ((0, 1, 3), (0b1011,)), ((33,), (0, 2)), ((31,), (1 << 31,))]
)
def test_capability_words(bits: tuple[int, ...], caps: tuple[int, ...]) -> None:
    assert capability_words(bits) == caps


@pytest.mark.parametrize("missing", [0, 3])
def test_capabilities_that_are_not_there_change_the_wire(missing: int) -> None:
    caps = capability_words([bit for bit in (0, 1, 3) if bit != missing])
    for client, server in ((SPICE, replace(NEW, common_caps=caps)), (SpiceClient(common_caps=caps), NEW)):
        result = meet(client, server)
        assert result.client.said == ["done"]
        assert bool(result.client.messages("SpiceLinkAuthMechanism")) is (missing != 0)
        init = result.client.messages("SPICE_MSG_MAIN_INIT")[0]
        assert init.size == 32 + (18 if missing == 3 else 6)


# --- Settings and faults of wrong builds -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("parting", "how"),
    [(Parting.CLOSE, How.CLOSE), (Parting.RESET, How.RESET), (Parting.HALF_CLOSE, How.CLOSE)],
)
def test_how_a_server_leaves(parting: Parting, how: How) -> None:
    result = meet(SPICE, VncServer(parting=parting))
    assert result.ended_by is Side.SERVER
    assert result.ending is not None
    assert result.ending.how is how
    assert result.client.ending is not None
    assert result.client.ending.how is how


def test_a_hang_instead_of_a_close() -> None:
    result = meet(SPICE, VncServer(parting=Parting.HANG))
    assert result.ended_by is None
    assert result.server is not None
    assert result.server.said, "it noticed, and did nothing"
    right = meet(QUIET, VncServer(parting=Parting.HANG))
    assert right.ended_by is Side.CLIENT, "where it would not end it, it is as good as the others"


def test_a_reset_ends_even_what_hangs() -> None:
    for how in How.CLOSE, How.RESET:
        conversation = talk(VncServer(parting=Parting.HANG), b"no version!\n").conversation
        assert conversation.ended(how, 5) == []
        assert conversation.over is (how is How.RESET)
        assert conversation.report.ending is not None
        assert (conversation.report.ending.how, conversation.report.ending.time_ns) == (how, 5)


def test_an_error_reply_that_is_not_sent() -> None:
    result = meet(AT_ONCE, replace(NEW, error_reply=False))
    assert result.ended_by is Side.SERVER
    assert result.server is not None
    assert result.server.sent == 0
    assert error_replies(result) == []


def test_one_changed_field() -> None:
    result = meet(QUIET, VncServer(faults=(Change("ServerInit", "framebuffer_width", 999),)))
    assert result.client.messages("ServerInit")[0]["framebuffer_width"] == 999
    for message, name, value, shown in [
        ("SpiceLinkReply", "minor_version", 7, 7),
        ("SPICE_MSG_MAIN_INIT", "agent_tokens", 3, 3),
        ("SPICE_MSG_MAIN_INIT", "message_type", 4, None),
    ]:
        for caps in ((0b1011,), (0b0011,)):
            server = replace(NEW, common_caps=caps, faults=(Change(message, name, value),))
            result = meet(SPICE, server, deadline_s=1)
            found = result.client.messages(message)
            assert [one[name] for one in found] == ([] if shown is None else [shown])
            assert not result.client.violations()
    longer = replace(NEW, faults=(Change("SPICE_MSG_MAIN_NAME", "guest_name", b"another, longer name"),))
    result = meet(SPICE, longer)
    assert result.client.messages("SPICE_MSG_MAIN_NAME")[0]["guest_name"] == b"another, longer name"
    assert result.client.said == ["done"], "the length follows"


def test_a_field_that_does_not_exist_is_the_fault_of_who_wrote_it() -> None:
    with pytest.raises(ValueError, match="ServerInit has no field 'colour'"):
        meet(QUIET, VncServer(faults=(Change("ServerInit", "colour", 1),)))


def test_a_missing_message() -> None:
    result = meet(QUIET, VncServer(faults=(Omit("SecurityResult"),)), deadline_s=3)
    assert "SecurityResult" not in names(result)
    assert result.ended_by is None, "the client waits for it"
    second = meet(SPICE, replace(NEW, faults=(Omit("SPICE_MSG_PING", nth=1),)))
    assert [ping["id"] for ping in second.client.messages("SPICE_MSG_PING")] == [1]


@pytest.mark.parametrize(("then", "how"), [(Parting.CLOSE, How.CLOSE), (Parting.RESET, How.RESET)])
def test_an_early_end_in_mid_message(then: Parting, how: How) -> None:
    result = meet(QUIET, VncServer(faults=(Cut("ServerInit", 10, then),)))
    assert result.ended_by is Side.SERVER
    assert result.ending is not None
    assert result.ending.how is how
    part = result.client.messages("ServerInit")[0]
    assert (part.size, part.parts) == (10, ())
    assert part.note is not None
    assert "10 of" in part.note


def test_late_and_slow() -> None:
    late = meet(QUIET, VncServer(faults=(Late("ServerInit", 3 * SECOND),)))
    assert late.client.messages("ServerInit")[0].last_ns >= 3 * SECOND
    assert late.client.said == ["done: 1 updates"]
    server = VncServer(width=2, height=2, pace=Pace(1, SECOND))
    slow = meet(QUIET, server, deadline_s=300)
    assert slow.client.said == ["done: 1 updates"]
    greeting = slow.client.messages("ProtocolVersion", Side.SERVER)[0]
    assert greeting.last_ns - greeting.first_ns == 11 * SECOND


def test_an_endless_sender() -> None:
    bells = meet(QUIET, VncServer(faults=(Endless("ServerInit", b"\2"),)), deadline_s=0.02)
    assert bells.ended_by is None
    assert bells.client.received > 4096 * 10
    assert len(bells.client.records) == RECORDS_KEPT
    assert bells.client.records_left_out > 0, "bounded, and said"
    rubbish = meet(QUIET, VncServer(faults=(Endless("ProtocolVersion", b"x"),)), deadline_s=5)
    assert rubbish.ended_by is Side.CLIENT
    assert rubbish.client.said[0].startswith("no security type in common: the server offers [120, 120,")


# --- What holds always -----------------------------------------------------------------------------------

MODELS: list[Model] = [
    VncServer(seed=1),
    VncServer(seed=1, password="x", peek=Peek()),
    replace(NEW, seed=1),
    replace(OLD, seed=1, parting=Parting.HANG),
    VncClient(seed=1, password="x"),
    VncClient(seed=1, speaks=Speaks.AT_ONCE),
    SpiceClient(seed=1, channels=((2, 0),)),
]
SEEDS = [
    b"RFB 003.003\n",
    b"RFB 003.008\n",
    b"RFB 003.008\n\1\1",
    b"RFB 003.008\n\1\1\0\0\0\0",
    b"RFB 003.003\n\0\0\0\1" + bytes(40),
    header(26) + mess(),
    header(26) + mess() + b"\1\0\0\0" + bytes(128),
    bytes(link.SpiceLinkHeader() / link.SpiceLinkReply(pub_key=bytes(162), caps_offset=178)),
    b"REDQ",
    b"\0\0\0\1",
    b"\0" * 20,
]


@given(
    model=st.sampled_from(MODELS),
    pieces=st.lists(st.one_of(st.sampled_from(SEEDS), st.binary(max_size=40)), max_size=6),
    ending=st.sampled_from([None, How.CLOSE, How.RESET]),
    gap=st.integers(0, 3 * SECOND),
)
def test_no_bytes_make_a_model_raise(model: Model, pieces: list[bytes], ending: How | None, gap: int) -> None:
    conversation = model.start()()
    now = 0
    out = sum(len(action.data) for action in conversation.opened(now, False) if isinstance(action, Send))
    for piece in pieces:
        now += gap
        for action in [*conversation.woken(now), *conversation.received(piece, now)]:
            out += len(action.data) if isinstance(action, Send) else 0
    if ending is not None:
        for action in conversation.ended(ending, now):
            out += len(action.data) if isinstance(action, Send) else 0
    conversation.stopped(now)
    assert conversation.report.sent == out
    assert conversation.over
    assert conversation.received(b"more", now) == []


@given(chunk=st.integers(1, 200), latency=st.integers(0, 10 * MS))
def test_how_bytes_are_cut_changes_nothing(chunk: int, latency: int) -> None:
    for client, server in ((QUIET, VncServer(seed=3, width=4, height=4)), (AT_ONCE, NEW)):
        whole, cut = meet(client, server), meet(client, server, chunk=chunk, latency_ns=latency)
        assert names(cut) == names(whole)
        assert cut.client.said == whole.client.said
        assert decoded(cut) == decoded(whole)


def decoded(result: PairResult) -> list[bytes]:
    return [message.raw for message in result.client.messages() if message.parts]


def test_the_same_seed_says_the_same() -> None:
    runs = [meet(VncClient(password="x"), VncServer(seed=seed, password="x")) for seed in (1, 1, 2)]
    challenges = [run.client.messages("VncAuthenticationChallenge")[0]["challenge"] for run in runs]
    assert challenges[0] == challenges[1] != challenges[2]


def test_a_variant_differs_in_one_setting() -> None:
    assert replace(NEW, judges_after=16) == OLD
    assert hash(replace(NEW, judges_after=16)) == hash(OLD)


@pytest.mark.parametrize(
    ("data", "may_be"),
    [(b"", True), (b"RFB 0", True), (b"RFB 003.008\n", True), (b"RFB x", False), (b"REDQ", False)],
)
def test_is_version(data: bytes, may_be: bool) -> None:
    assert is_version(data) is may_be


# --- A peer that says what the test says -----------------------------------------------------------------


class Talk:
    """One conversation, at time 0, driven by hand."""

    def __init__(self, model: Model | Conversation) -> None:
        self.conversation = model if isinstance(model, Conversation) else model.start()()
        self.sent = bytearray()
        self.ended: How | None = None
        self.actions: list[Any] = []
        self.do(self.conversation.opened(0, False))

    def say(self, data: bytes) -> None:
        self.do(self.conversation.received(data, 0))

    def do(self, actions: Any) -> None:
        for action in actions:
            self.actions.append(action)
            if isinstance(action, Send):
                self.sent += action.data
            elif isinstance(action, Close):
                self.ended = How.CLOSE
            elif isinstance(action, Reset):
                self.ended = How.RESET

    def link_main(self) -> int:
        """Link the main channel; returns the session's id."""
        session = SpiceSession(role=Side.CLIENT)
        for packet in (
            lambda: link.SpiceLinkMess(common_caps=[0b1011]),
            lambda: link.SpiceLinkAuthMechanism(),
            lambda: link.SpiceLinkEncryptedTicket(encrypted_data=spice_ticket(session.public_key or b"")),
        ):
            self.say(session.send(packet(), 0))
            session.feed(Side.SERVER, bytes(self.sent), 0)
            del self.sent[:]
        assert session.session_id
        return session.session_id


def talk(model: Model, *data: bytes) -> Talk:
    """A conversation in which `data` came, one segment after the other."""
    conversation = Talk(model)
    for piece in data:
        conversation.say(piece)
    return conversation
