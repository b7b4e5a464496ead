# SPDX-License-Identifier: GPL-2.0-or-later
"""Probing: what is sent, how an answer is read, and each reaction and trap on live sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dissect.dissection.recognise import recognise
from dissect.lab.lab import Lab
from dissect.lab.models import Model, Parting, Peek, SpiceServer, VncServer, serving
from dissect.lab.probing import judging, prober, stimuli
from dissect.lab.probing.judging import Baseline, Event, Transcript, judge
from dissect.lab.probing.prober import Plan, Prober, Result, Unreachable
from dissect.lab.probing.stimuli import Stimulus
from dissect.stream.recognition import Yes
from tests.lab.refusing import refusing

MS = 1_000_000
GREETING = b"RFB 003.008\n"
BASE = Baseline(GREETING, MS)


# --- stimuli


@pytest.mark.parametrize("protocol", ["rfb", "spice", "tls", "http", "ssh"])
def test_a_stimulus_is_what_it_is_called(protocol: str) -> None:
    answer = recognise(stimuli.whole(protocol))
    assert isinstance(answer, Yes)
    assert answer.protocol == protocol


def test_the_link_message_is_that_of_spice_gtk() -> None:
    data = stimuli.link_message()
    assert len(data) == 42
    assert int.from_bytes(data[12:16], "little") == len(data) - 16


def test_a_client_hello_is_accepted_by_openssl() -> None:
    import ssl

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(stimuli.client_hello())
    # It reads the whole of it: what fails is only that this server has no certificate.
    with pytest.raises(ssl.SSLError, match=r"no shared cipher|NO_SHARED|no suitable|NO_SUITABLE"):
        server.do_handshake()


def test_prefixes_are_all_or_those_asked_for() -> None:
    assert [len(one.data) for one in stimuli.prefixes("rfb")] == list(range(1, 13))
    assert [len(one.data) for one in stimuli.prefixes("rfb", lengths=(4, 99))] == [4]
    with pytest.raises(ValueError, match="gopher"):
        stimuli.whole("gopher")


def test_the_seed_makes_the_random_bytes() -> None:
    assert stimuli.whole("random", 1) == stimuli.whole("random", 1) != stimuli.whole("random", 2)


def test_a_sweep_changes_one_field() -> None:
    swept = {one.label: one.data for one in stimuli.sweep("spice")}
    right = swept["as it should be"]
    assert right == stimuli.link_message()
    assert [i for i, (a, b) in enumerate(zip(right, swept["major = 1"], strict=True)) if a != b] == [4]
    assert len({one.label for one in stimuli.sweep("rfb")}) == len(stimuli.sweep("rfb"))
    assert all(len(one.data) == 12 for one in stimuli.sweep("rfb"))
    first = stimuli.sweep("first-bytes")
    assert [one.data[:1] for one in first] == [bytes([byte]) for byte in range(256)]
    with pytest.raises(ValueError, match="tls"):
        stimuli.sweep("tls")


# --- judging


def said(*events: Event, busy: int = 0, newest: int | None = None) -> Transcript:
    return Transcript(0, 10 * MS, 2000 * MS, list(events), newest, busy)


WRONG = Stimulus("spice", b"REDQ")


def test_a_greeting_is_no_reaction() -> None:
    seen = judge(WRONG, said(Event(MS, "data", GREETING)), BASE)
    assert (seen.by, seen.ns, seen.greeted, seen.noticed) == (None, 1990 * MS, True, False)


def test_half_a_greeting_is_no_reaction() -> None:
    assert judge(WRONG, said(Event(MS, "data", GREETING[:5])), BASE).by is None


@pytest.mark.parametrize(
    ("kind", "by"),
    [("fin", "close"), ("reset", "reset")],
)
def test_the_end_is_a_reaction(kind: Any, by: str) -> None:
    seen = judge(WRONG, said(Event(MS, "data", GREETING), Event(13 * MS, kind)), BASE)
    assert (seen.by, seen.ns, seen.then, seen.noticed) == (by, 3 * MS, by, True)


@pytest.mark.parametrize(
    ("stimulus", "baseline", "answer", "by", "detail"),
    [
        (b"RFB 003.008\n", BASE, b"\1\1", "answer", "SecurityTypes None"),
        (b"RFB 003.003\n", BASE, b"\0\0\0\2", "answer", "SecurityType VNC Authentication"),
        (b"RFB 003.889\n", BASE, bytes(4), "error-reply", "refused without a reason"),
        (b"RFB 003.008\n", BASE, b"\0\0\0\0\5go on", "error-reply", 'refused: "go on"'),
        (b"RFB 004.000\n", BASE, b"\0\0\0\0\0\0\0\2no", "error-reply", 'refused: "no"'),
        (b"x", Baseline(), b"HTTP/1.1 400 Bad Request\r\n\r\n", "error-reply", '"HTTP/1.1 400'),
        (b"x", Baseline(), b"HTTP/1.1 200 OK\r\n\r\n", "answer", '"HTTP/1.1 200'),
        (b"x", Baseline(), b"\x15\3\3\0\2\2\x46", "error-reply", "TLS alert 70"),
        (b"x", Baseline(), b"\x16\3\3\0\2\2\x46", "answer", "TLS handshake"),
        (b"x", Baseline(), b"SSH-2.0-x\r\n", "answer", "SSH: "),
        (b"x", Baseline(), b"hello", "answer", "something else: "),
    ],
)
def test_an_answer_is_decoded(
    stimulus: bytes, baseline: Baseline, answer: bytes, by: str, detail: str
) -> None:
    transcript = said(Event(11 * MS, "data", baseline.greeting), Event(12 * MS, "data", answer))
    if not baseline.greeting:
        del transcript.events[0]
    seen = judge(Stimulus("rfb", stimulus), transcript, baseline)
    assert seen.by == by
    assert seen.detail.startswith(detail)
    assert seen.ns == 2 * MS


def test_a_blacklist_is_no_reaction() -> None:
    text = b"Too many security failures"
    data = b"RFB 003.003\n" + bytes(4) + len(text).to_bytes(4) + text
    seen = judge(WRONG, said(Event(11 * MS, "data", data), Event(12 * MS, "fin")), BASE)
    assert (seen.by, seen.tainted, seen.noticed) == ("error-reply", "blacklist", False)


def test_who_is_dropped_for_another_has_not_been_noticed() -> None:
    greeted = Event(MS, "data", GREETING)
    dropped = said(greeted, Event(500 * MS, "fin"), busy=33, newest=499 * MS)
    assert judge(WRONG, dropped, BASE).tainted == "made room"
    at_once = said(greeted, Event(11 * MS, "fin"), busy=33, newest=10 * MS + 1)
    assert judge(WRONG, at_once, BASE).tainted is None
    alone = said(greeted, Event(500 * MS, "fin"))
    assert judge(WRONG, alone, BASE).tainted is None


def test_no_greeting_beside_others_is_a_busy_server() -> None:
    assert judge(WRONG, said(busy=3), BASE).tainted == "busy"
    assert judge(WRONG, said(), BASE).tainted is None
    assert judge(WRONG, said(busy=3), Baseline()).tainted is None


def test_the_baseline_tells_a_greeting_from_what_follows() -> None:
    transcript = Transcript(MS, MS, 9 * MS, [Event(3 * MS, "data", b"RFB 003.003\n\0\0\0\1")])
    assert judging.greeting_of(transcript) == Baseline(b"RFB 003.003\n", 2 * MS)
    assert judging.greeting_of(Transcript(MS, MS, 9 * MS, [])) == Baseline()
    assert judging.spoken(b"") == "nothing"
    assert judging.spoken(b"hello, who is there") == "other"


# --- on sockets

FAST = Plan(deadline_s=0.3, lengths=(0, 1, 3, 4, 11, 12, 15, 16, 42), repeat=2)


def run(port: int, plan: Plan = FAST, **options: Any) -> Result:
    return prober.probe(Prober(f"127.0.0.1:{port}", (socket.AF_INET, ("127.0.0.1", port)), plan, **options))


def run_model(model: Model, plan: Plan = FAST, **options: Any) -> Result:
    with serving(model) as served:
        return run(served.port, plan, **options)


def test_every_connection_is_told_to_whoever_listens() -> None:
    told: list[tuple[bytes, Transcript]] = []
    patient = Plan(deadline_s=1.5, lengths=(0, 4, 12), protocols=("rfb", "spice"), repeat=1)
    result = run_model(VncServer(), patient, seen=lambda data, transcript: told.append((data, transcript)))
    assert len(told) >= len(result.trials)
    assert {data for data, _ in told} >= {trial.stimulus.data for trial in result.trials}
    assert all(GREETING in transcript.received for data, transcript in told if not data)


@pytest.mark.parametrize("least", [4, 16])
def test_a_spice_server_before_and_after_the_cure(least: int) -> None:
    said: list[str] = []
    result = run_model(SpiceServer(judges_after=least, key_per_link=False), announce=said.append)
    data = result.to_json()
    assert (data["speaks"], data["greeting_ns"]) == ("spice", None)
    # Twelve bytes of RFB are not enough for a server that waits for a link header.
    rfb = 4 if least == 4 else None
    others = dict.fromkeys(("tls", "http", "ssh", "zeros", "random"), least)
    assert data["bytes_to_detect"] == {"rfb": rfb} | others
    assert data["reaction"] == {"rfb": "error-reply" if rfb else None} | dict.fromkeys(others, "error-reply")
    assert data["detect_ns"]["ssh"] < 300 * MS
    assert (data["detect_ns"]["rfb"] is None) == (rfb is None)
    assert result.table("spice")[42].by == "answer"
    assert result.table("ssh")[least].detail == "SpiceLinkReply error 2 INVALID_MAGIC"
    assert len(said) == 1
    assert "256 at a time, deadline 0.3 s: at most 0 s" in said[0]


def test_a_mute_server_costs_one_deadline() -> None:
    model = SpiceServer(judges_after=10_000, key_per_link=False)
    began = time.monotonic()
    result = run_model(model, Plan(deadline_s=1.0, protocols=("rfb", "spice", "ssh")))
    assert time.monotonic() - began < 20  # and not one deadline for each of 73
    assert result.to_json()["bytes_to_detect"] == dict.fromkeys(("rfb", "spice", "ssh"))
    assert result.speaks == "nothing"
    assert len(result.trials) == 1 + 12 + 42 + 19
    assert all(trial.reaction.by is None and trial.reaction.ns >= 1_000 * MS for trial in result.trials)


@pytest.mark.parametrize(("parting", "by"), [(Parting.CLOSE, "close"), (Parting.RESET, "reset")])
def test_a_vnc_server(parting: Parting, by: str) -> None:
    plan = Plan(deadline_s=0.3, lengths=(4, 11, 12), protocols=("rfb", "spice"), repeat=1)
    data = run_model(VncServer(parting=parting), plan).to_json()
    assert (data["speaks"], data["bytes_to_detect"], data["reaction"]) == (
        "rfb",
        {"spice": 12},
        {"spice": by},
    )
    own = {row["bytes"]: row["reaction"] for row in data["trials"] if row["protocol"] == "rfb"}
    assert own == {0: None, 4: None, 11: None, 12: "answer"}


def test_a_server_that_knows_no_early_prefix() -> None:
    """libvncserver 0.9.11: the cure breaks it, and that is what the table of its own protocol says."""
    plan = Plan(deadline_s=0.4, lengths=(4,), protocols=("rfb", "spice"), repeat=1)
    data = run_model(VncServer(peek=Peek(known=(b"GET ",))), plan).to_json()
    assert data["own_protocol"]["bytes"] == 4
    assert data["own_protocol"]["reaction"] in ("close", "reset")
    assert data["bytes_to_detect"] == {"spice": 4}


def test_versions_are_swept() -> None:
    plan = Plan(deadline_s=0.3, lengths=(12,), protocols=("rfb",), sweeps=("rfb",), repeat=1)
    result = run_model(VncServer(), plan)
    swept = {t.stimulus.label: t.reaction for t in result.trials if t.phase == "sweep"}
    assert swept["003.007"].by == "answer"
    assert swept["003.889"].by == "error-reply"
    assert swept["letters"].by in ("close", "reset")


def test_nobody_listens() -> None:
    with refusing() as port, pytest.raises(Unreachable, match="refused"):
        run(port)


@contextmanager
def scripted(handle: Callable[[Any, Any, list[Any]], Any]) -> Iterator[int]:
    """An asyncio server in a thread: `handle(reader, writer, all writers so far)`."""
    loop = asyncio.new_event_loop()
    writers: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await handle(reader, writer, writers)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(serve, "127.0.0.1", 0), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:

        async def end() -> None:
            server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_blacklist_is_recognised_and_gone_around() -> None:
    marks: dict[str, int] = {}

    async def handle(reader: Any, writer: Any, writers: list[Any]) -> None:
        address = writer.get_extra_info("peername")[0]
        marks[address] = marks.get(address, 0) + 1
        if marks[address] > 5:
            text = b"Too many security failures"
            writer.write(b"RFB 003.003\n" + bytes(4) + len(text).to_bytes(4) + text)
            await writer.drain()
            return
        writer.write(GREETING)
        await reader.readexactly(12)

    plan = Plan(deadline_s=0.3, lengths=(4, 11, 12, 16), protocols=("spice", "zeros"), repeat=2)
    with scripted(handle) as port:
        data = run(port, plan).to_json()
    assert data["bytes_to_detect"] == {"spice": 12, "zeros": 12}
    assert set(data["reaction"].values()) <= {"close", "reset"}
    assert [one["kind"] for one in data["findings"]] == ["blacklist"]
    assert not [row for row in data["trials"] if row["tainted"]]
    assert len(marks) > 4


def test_a_server_that_drops_its_oldest_is_recognised() -> None:
    async def handle(reader: Any, writer: Any, writers: list[Any]) -> None:
        writer.write(GREETING)
        living = [one for one in writers if not one.is_closing()]
        if len(living) > 6:
            living[0].close()
        await reader.readexactly(12)

    plan = Plan(
        deadline_s=0.3, at_once=20, lengths=(1, 2, 3, 4, 5, 6, 11), protocols=("spice", "tls"), repeat=1
    )
    original = prober.STAGGER_S
    prober.STAGGER_S = 0.03  # so that those who are dropped have waited
    try:
        with scripted(handle) as port:
            data = run(port, plan).to_json()
    finally:
        prober.STAGGER_S = original
    assert data["bytes_to_detect"] == {"spice": None, "tls": None}
    assert sum(row["alone"] for row in data["trials"]) >= 4
    assert data["findings"][0]["kind"] == "connection limit"


def test_a_server_of_one_thread_is_given_one_trial_at_a_time() -> None:
    turn = asyncio.Lock()

    async def handle(reader: Any, writer: Any, writers: list[Any]) -> None:
        async with turn:
            writer.write(GREETING)
            await writer.drain()
            await reader.read(12)
            await reader.read(12)

    plan = Plan(deadline_s=0.2, lengths=(4, 12), protocols=("spice",), repeat=1)
    with scripted(handle) as port:
        result = run(port, plan)
    assert result.at_once == 1
    assert [one.kind for one in result.findings] == ["one at a time"]
    assert all(trial.alone for trial in result.trials)


def test_a_server_that_a_probe_has_hung_is_a_finding_and_is_restarted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Prober, "_patience", lambda self: 0.3)
    hung = [False]

    async def handle(reader: Any, writer: Any, writers: list[Any]) -> None:
        while hung[0]:
            await asyncio.sleep(0.01)
        writer.write(GREETING)
        data = await reader.read(12)
        if data == b"REDQ"[:3]:
            hung[0] = True
        await reader.read(12)

    def restart() -> None:
        hung[0] = False

    plan = Plan(deadline_s=0.2, at_once=1, lengths=(3, 4), protocols=("spice", "zeros"), repeat=1)
    with scripted(handle) as port:
        result = run(port, plan, restart=restart)
        assert [one.kind for one in result.findings] == ["hung"]
        assert "3 bytes of spice" in result.findings[0].text
        assert result.not_run == 0
        assert result.table("spice")[4].greeted  # tried again: that one had only come too late
        assert result.not_measured == []
        result = run(port, plan)
    assert [one.kind for one in result.findings] == ["hung", "stopped"]
    assert result.not_run > 0
    data = result.to_json()
    assert data["not_measured"] == ["spice", "zeros"]  # not "none before the deadline"
    assert data["bytes_to_detect"] == {}


# --- the programs

SOME = Plan(deadline_s=0.7, lengths=(0, 1, 3, 4, 11, 12, 42), repeat=2)


def run_peer(name: str, plan: Plan = SOME) -> dict[str, Any]:
    with Lab() as lab:
        server = lab.start(name)
        assert server.port is not None
        return run(server.port, plan).to_json()


@pytest.mark.peer("qemu-spice")
def test_qemu_spice() -> None:
    data = run_peer("qemu-spice", Plan(deadline_s=0.7, lengths=(1, 3, 4, 42), repeat=2, sweeps=("spice",)))
    assert (data["speaks"], data["greeting_ns"], data["own_protocol"]) == ("spice", None, None)
    assert data["bytes_to_detect"] == dict.fromkeys(("rfb", "tls", "http", "ssh", "zeros", "random"), 4)
    assert set(data["reaction"].values()) == {"error-reply"}
    own = {row["bytes"]: row["reaction"] for row in data["trials"] if row["protocol"] == "spice"}
    assert own[3] is own[4] is None
    swept = {
        row["sweep"]: row["detail"].split(" ")[-1] or row["reaction"]
        for row in data["trials"]
        if row["sweep"]
    }
    assert swept["major = 3"] == "VERSION_MISMATCH"
    assert swept["major = 0"] in ("close", "reset")
    assert swept["minor = 4294967295"] == swept["as it should be"] == "OK"
    assert swept["size = 17"] == swept["size = 4097"] == swept["caps_offset = 27"] == "INVALID_DATA"
    assert swept["channel_type = 255"] == "close"


@pytest.mark.peer("qemu-vnc")
def test_qemu_vnc() -> None:
    data = run_peer("qemu-vnc")
    assert data["speaks"] == "rfb"
    assert data["greeting_ns"] is not None
    assert data["bytes_to_detect"] == dict.fromkeys(("spice", "tls", "http", "ssh", "zeros", "random"), 12)
    assert set(data["reaction"].values()) == {"close"}


@pytest.mark.peer("qemu-vnc")
def test_the_connection_limit_of_qemu_is_no_reaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps the last 32 of those that wait: the others run again, alone, and nothing is noticed."""
    monkeypatch.setattr(prober, "STAGGER_S", 0.005)  # so that those who are dropped have waited
    names = ("spice", "tls", "http", "ssh")
    plan = Plan(deadline_s=1.0, at_once=41, lengths=tuple(range(1, 11)), protocols=names, repeat=1)
    data = run_peer("qemu-vnc", plan)
    assert data["bytes_to_detect"] == dict.fromkeys(names, None)
    assert data["findings"][0]["kind"] == "connection limit"
    assert "with 41 at a time it closed" in data["findings"][0]["text"]
    assert sum(row["alone"] for row in data["trials"] if row["phase"] == "table") >= 4


@pytest.mark.peer("xtigervnc")
def test_xtigervnc_and_its_blacklist() -> None:
    data = run_peer("xtigervnc")
    assert data["bytes_to_detect"] == dict.fromkeys(("spice", "tls", "http", "ssh", "zeros", "random"), 12)
    assert [one["kind"] for one in data["findings"]] == ["blacklist"]


@pytest.mark.peer("xtigervnc-patient", "xtightvnc")
@pytest.mark.parametrize(
    ("name", "by", "kinds"),
    [("xtigervnc-patient", {"close"}, []), ("xtightvnc", {"close", "reset"}, ["one at a time"])],
)
def test_vnc_servers_without_a_blacklist(name: str, by: set[str], kinds: list[str]) -> None:
    plan = Plan(deadline_s=0.4, lengths=(4, 12, 16), protocols=("rfb", "spice", "tls"), repeat=2)
    data = run_peer(name, plan)
    assert data["bytes_to_detect"] == {"spice": 12, "tls": 12}
    assert set(data["reaction"].values()) <= by
    assert [one["kind"] for one in data["findings"]] == kinds


@pytest.mark.peer("x11vnc")
def test_x11vnc_is_probed_one_at_a_time() -> None:
    plan = Plan(deadline_s=0.7, protocols=("rfb", "spice"), lengths=(4, 12), repeat=1)
    data = run_peer("x11vnc", plan)
    assert data["at_once"] == 1
    assert data["findings"][0]["kind"] == "one at a time"
    assert data["bytes_to_detect"] == {"spice": 4}
    assert data["reaction"]["spice"] in ("reset", "close")
    own = {
        row["bytes"]: row for row in data["trials"] if row["protocol"] == "rfb" and row["phase"] == "table"
    }
    assert own[4]["reaction"] is None
    assert own[4]["greeted"]
    assert own[12]["reaction"] == "answer"


def test_the_beginning_of_an_answer_is_an_answer() -> None:
    """Three bytes of four, and nothing more: no name can be given, and nothing falls over."""
    odd = said(Event(MS, "data", GREETING + b"\0\0\0"))
    seen = judge(Stimulus("rfb", b"RFB 003.003\n"), odd, BASE)
    assert (seen.by, seen.detail) == ("answer", "00 00 00")
