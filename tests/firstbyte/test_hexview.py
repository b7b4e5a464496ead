# SPDX-License-Identifier: GPL-2.0-or-later
"""Fields beside bytes: each byte belongs to its field, and a secret is hidden in both."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissect import firstbyte as fb
from dissect.firstbyte.conversations import Record
from dissect.firstbyte.hexview import SHOWN, Span, spans
from dissect.stream import Side
from dissect.stream.records import Message

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"
C = Side.CLIENT


@pytest.mark.parametrize("path", sorted(PCAPS.glob("*.pcapng")), ids=lambda path: path.stem)
def test_every_byte_of_a_layout_belongs_to_one_field(path: Path) -> None:
    seen: set[str] = set()
    for record in fb.open(path).records():
        message = record.record
        if not isinstance(message, Message) or message.name in seen:
            continue
        seen.add(message.name)
        found = spans(message)
        covered = [at for span in found for at in range(span.start, span.end)]
        wanted = [at for part in message.parts for at in range(part.start, part.end)]
        assert covered == wanted, message.name
        assert {span.name for span in found} <= {
            field.name for part in message.parts for field in part.cls.fields_desc
        }


def test_a_field_shows_its_bytes() -> None:
    (conversation,) = fb.open(PCAPS / "xtightvncviewer--xtightvnc.pcapng")
    message = conversation.messages["FramebufferUpdateRequest"]
    assert isinstance(message.record, Message)
    assert spans(message.record)[4] == Span("width", 6, 8)
    page = message._repr_html_()
    assert '<span class="fb-f4 fb-t0" title="width">00 a0</span>' in page
    assert '<tr class="fb-f4 fb-t0"><th scope="row">width</th><td>160</td></tr>' in page


@pytest.mark.parametrize(
    ("name", "field"),
    [("VncAuthenticationResponse", "response"), ("SpiceLinkEncryptedTicket", "encrypted_data")],
)
def test_a_secret_is_hidden_among_the_bytes_too(name: str, field: str) -> None:
    message = next(one for one in fb.open(PCAPS / "*.pcapng").records() if one.name == name)
    secret = message[field]
    assert isinstance(secret, bytes)
    assert len(secret) >= 16
    for shown in (str(message), message._repr_html_()):
        assert "hidden" in shown
        assert secret.hex(" ")[:11] not in shown
        assert secret.hex()[:8] not in shown
        assert "·· ·· ··" in shown


def test_what_is_not_decoded_and_what_is_long_is_cut_and_said() -> None:
    (conversation,) = fb.open(PCAPS / "xtightvncviewer--xtightvnc.pcapng")
    update = conversation.messages["FramebufferUpdate"]
    assert f"… {update.size - SHOWN:,} more bytes" in str(update)
    assert f"… {update.size - SHOWN:,} more bytes" in update._repr_html_()
    run = Message(C, "other", "NotDecoded", 0, 1000, b"\x80" * 64, 5, 5, note="not decoded: nobody knows")
    shown = str(Record(run, "a.pcap", 0, 0))
    assert "not decoded: nobody knows" in shown
    assert "… 936 more bytes" in shown


def test_what_a_stranger_wrote_is_text() -> None:
    run = Message(C, "other", "<b>x</b>", 0, 30, b"<script>alert(1)</script>\x1b[2J", 5, 5, note="<i>&\x1b")
    record = Record(run, "<img src=x>", 0, 0)
    page = record._repr_html_()
    for bad in ("<script>", "<b>x", "<i>&", "<img", "\x1b"):
        assert bad not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in str(record)
    assert "\x1b" not in repr(record)
