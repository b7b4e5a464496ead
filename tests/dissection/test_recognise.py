# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from dissect.dissection.recognise import PROTOCOLS, recognise, recognise_foreign
from dissect.stream.recognition import No, NotYet, Yes

SAMPLES = {
    "rfb": b"RFB 003.008\n",
    "spice": b"REDQ\2\0\0\0",
    "tls": bytes.fromhex("1603010200010001fc0303"),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "websocket": b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
}


def test_every_protocol_of_the_contract_has_a_sample() -> None:
    assert set(SAMPLES) == set(PROTOCOLS)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_stream_is_not_yet_known_until_it_is_and_never_called_something_else(name: str) -> None:
    data = SAMPLES[name]
    answers = [recognise(data[:size]) for size in range(1, len(data) + 1)]
    known = [isinstance(answer, Yes) for answer in answers]
    assert known == sorted(known)  # once known, always known
    assert all(
        isinstance(answer, NotYet) or answer.protocol == name
        for answer in answers
        if not isinstance(answer, No)
    )
    assert not any(isinstance(answer, No) for answer in answers)
    last = answers[-1]
    assert isinstance(last, Yes)
    assert last.protocol == name


@pytest.mark.parametrize("name", SAMPLES)
def test_not_yet_never_asks_for_more_than_is_wanted(name: str) -> None:
    data = SAMPLES[name]
    size = 1
    while isinstance(answer := recognise(data[:size]), NotYet):
        size += answer.more
        assert size <= len(data)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"R", No),
        (b"RF", "rfb"),
        (b"RE", "spice"),
        (b"S", "ssh"),
        (b"\x16\x03", "tls"),
        (b"\0", No),
        (b"", No),
    ],
)
def test_the_end_of_the_stream_settles_what_was_open(data: bytes, wanted: object) -> None:
    answer = recognise(data, ended=True)
    if wanted is No:
        assert isinstance(answer, No)
    else:
        assert isinstance(answer, Yes)
        assert answer.protocol == wanted


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\xff\xff", b"\x17\x03\x03\0\x10", b"HELO x", b"RFC 2", b"REDX"]
)
def test_what_nobody_says_is_something_else(data: bytes) -> None:
    assert isinstance(recognise(data), No)


def test_a_long_head_without_an_end_is_http_all_the_same() -> None:
    answer = recognise(b"GET /" + b"x" * 5000)
    assert isinstance(answer, Yes)
    assert answer.protocol == "http"


def test_foreign_heads_are_recognised_from_memory_as_by_looking() -> None:
    heads = [
        b"\x16\x03\x01\x02\x00 as TLS begins",
        b"\x16\x03\x01\xff\xff which no TLS is",
        b"\x15\x03\x03\x00\x02\x02",
        b"SSH-2.0-x\r\n",
        b"SSHH is none",
        b"*1\r\n$4\r\nPING\r\n",
        b"0123456789ab",
        b"0123456789abc",
        b"0123456789abd",
        b"GET / HTTP/1.1\r\n\r\n",
        b"",
    ]
    for head in heads * 2:
        assert recognise_foreign(head) == recognise(head)
