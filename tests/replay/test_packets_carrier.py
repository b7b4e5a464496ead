# SPDX-License-Identifier: GPL-2.0-or-later
"""Segments of our own against the kernel's TCP and real servers. Needs CAP_NET_ADMIN and /dev/net/tun."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dissect.capture import Frame, PcapngWriter, Skipped, decode, open_capture
from dissect.capture.media import LINKTYPE_RAW
from dissect.lab.lab import Lab
from dissect.lab.models import serving
from dissect.replay.outcome import Outcome, Result
from dissect.replay.packets import device
from dissect.replay.packets.carrier import Packets
from dissect.replay.packets.device import PacketsUnavailable, Tun, is_local
from dissect.replay.packets.endpoint import Event, Why
from dissect.replay.packets.plan import ALWAYS, Handshake, PacketPlan, Piece
from dissect.replay.plan import Plan, choose, load, sessions
from dissect.replay.player import Options, Player
from dissect.replay.transports import Target, play_session, resolve
from dissect.stream import Side
from tests.replay.play import CLIENT, SERVER, record, told

ROOT = Path(__file__).resolve().parent.parent.parent
MS = 1_000_000


def why_not() -> str | None:
    try:
        Tun.open().close()
    except PacketsUnavailable as error:
        return error.missing
    return None


MISSING = why_not()
needs_tun = pytest.mark.skipif(MISSING is not None, reason=f"no packets of our own here: {MISSING}")

CRUEL = PacketPlan(
    (
        Piece(0, 4, duplicate=2),
        Piece(8, 4, overlap=2),
        Piece(4, 4, drop=1),
        Piece(12, 1, duplicate=1),
        Piece(13, 1, window=40_000),
        Piece(20, 30),
        Piece(14, 6, delay_ns=5 * MS),
    ),
    rto_ns=50 * MS,
)
"""Boundaries, order, copies, an overlap, a loss, a smaller window and a pause, all in the first 50 bytes."""

PLANS = {
    "recorded": None,
    "cruel": CRUEL,
    "bytewise": PacketPlan(cut=1),
    "tiny window": PacketPlan(window=2000),
    "reversed version": PacketPlan(tuple(Piece(at, 1) for at in reversed(range(12)))),
}


async def at(port: int) -> Target:
    return await resolve(Target.parse(f"127.0.0.1:{port}"))


def play(
    plan: Plan,
    port: int,
    packet_plan: PacketPlan | None,
    deadline_s: float = 30,
    options: Options | None = None,
    record: PcapngWriter | None = None,
) -> tuple[Result, tuple[Event, ...]]:
    async def go() -> tuple[Result, tuple[Event, ...]]:
        with Packets(await at(port), packet_plan, record) as packets:
            result = await packets.play(Player(plan, options), deadline_s)
            return result, packets.events[0]

    return asyncio.run(go())


def capture(name: str, number: int | None = None) -> Plan:
    plans, _ = load(str(ROOT / "pcaps" / f"{name}.pcapng"))
    return choose(plans, number)


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not true():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.01)


def whys(events: Sequence[Event]) -> Counter[Why]:
    return Counter(event.why for event in events)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A VNC conversation of two models."""
    return record(tmp_path_factory.mktemp("packets") / "models.pcapng", CLIENT, SERVER)[0]


# --- against the kernel


@needs_tun
@pytest.mark.parametrize("name", PLANS)
def test_a_model_server_cannot_tell(recorded: Plan, name: str) -> None:
    with serving(SERVER) as background:
        result, events = play(recorded, background.port, PLANS[name])
        assert background.wait_for(1, 30)
    assert result.outcome is Outcome.PASS, told(result)
    [report] = background.reports
    sent = [message.raw for message in report.messages(side=Side.CLIENT)]
    assert b"".join(sent) == recorded.stream
    assert whys(events)[Why.END] == 1
    if name == "cruel":
        count = whys(events)
        assert (count[Why.COPY], count[Why.KEPT_BACK]) == (3, 1)
        assert count[Why.AGAIN] >= 1


@needs_tun
def test_the_kernel_gets_these_segments_and_no_others(recorded: Plan) -> None:
    """As a packet socket sees them on the device, which is not our own word for it."""
    plan = PacketPlan((Piece(0, 4), Piece(8, 4, overlap=1), Piece(4, 4, duplicate=1), Piece(12, 1)))

    async def go() -> tuple[Result, list[tuple[int, int]], list[int]]:
        with (
            serving(SERVER) as background,
            Packets(await at(background.port), plan) as packets,
            socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as sniffer,
        ):
            sniffer.bind((packets.tun.name, 3))
            result = await packets.play(Player(recorded, Options(through="SecurityResult")), 30)
            await asyncio.sleep(0.05)
            sniffer.setblocking(False)
            seen: list[tuple[int, int]] = []
            flags: list[int] = []
            first: int | None = None
            while True:
                try:
                    data = sniffer.recv(65_535)
                except BlockingIOError:
                    break
                segment = decode(Frame(1, 0, 0, LINKTYPE_RAW, data, len(data), 0))
                assert not isinstance(segment, Skipped), segment.reason
                if segment.dport == background.port:
                    first = segment.seq + 1 if first is None else first
                    flags.append(segment.flags)
                    if segment.payload:
                        seen.append(((segment.seq - first) % 2**32, len(segment.payload)))
        return result, seen, flags

    result, seen, flags = asyncio.run(go())
    assert result.outcome is Outcome.PASS, told(result)
    assert seen[:5] == [(0, 4), (7, 5), (4, 4), (4, 4), (12, 1)]
    assert not any(flag & 4 for flag in flags), "a reset that nobody asked for"


@needs_tun
def test_of_an_overlap_with_other_bytes_the_first_copy_counts(recorded: Plan) -> None:
    plan = PacketPlan((Piece(0, 8), Piece(8, 4, overlap=6, fill=0)))
    with serving(SERVER) as background:
        result, _ = play(recorded, background.port, plan)
    assert result.outcome is Outcome.PASS, told(result)


@needs_tun
@pytest.mark.parametrize(
    ("plan", "ending", "outcome", "reason"),
    [
        (PacketPlan((Piece(0, 4, rst=True),)), "reset", Outcome.INCONCLUSIVE, "the packet plan has reset"),
        (PacketPlan((Piece(0, 4, fin=True),)), "close", Outcome.EARLY_CLOSE, "closed the connection"),
        (PacketPlan(handshake=Handshake.FIN), "close", Outcome.EARLY_CLOSE, "closed the connection"),
        (PacketPlan(handshake=Handshake.RST), None, Outcome.INCONCLUSIVE, "the packet plan has reset"),
        (PacketPlan(handshake=Handshake.SILENCE), None, Outcome.TIMEOUT, "not connected by the deadline"),
        (PacketPlan((Piece(0, 4, drop=ALWAYS),)), None, Outcome.TIMEOUT, "at the deadline"),
    ],
    ids=["rst", "fin", "fin at once", "rst at once", "half open", "a hole for ever"],
)
def test_an_end_in_mid_handshake(
    recorded: Plan, plan: PacketPlan, ending: str | None, outcome: Outcome, reason: str
) -> None:
    with serving(SERVER) as background:
        # Only what ends by the deadline waits for it.
        deadline_s = 0.8 if outcome is Outcome.TIMEOUT else 30
        result, events = play(recorded, background.port, plan, deadline_s)
        assert result.outcome is outcome, told(result)
        assert reason in result.reason
        if ending is not None:
            assert background.wait_for(1, 30)
            found = background.reports[0].ending
            assert found is not None
            assert (found.how, found.mine) == (ending, False)
        after, _ = play(recorded, background.port, None)
        assert after.outcome is Outcome.PASS, told(after)
    assert result.compared_messages <= 1
    assert any("segments of our own" in note for note in result.notes)
    assert events


@needs_tun
def test_nobody_listens(recorded: Plan) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        result, _ = play(recorded, closed.getsockname()[1], None)
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "connection refused")


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(4096), b""))


@needs_tun
def test_a_server_that_never_answers_ends_at_the_deadline(recorded: Plan) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()
        result, _ = play(recorded, mute.getsockname()[1], None, deadline_s=0.5)
        assert result.outcome is Outcome.TIMEOUT, told(result)
        assert time.monotonic() - begun < 20
        taken, _ = mute.accept()
        taken.settimeout(30)
        with taken, pytest.raises(ConnectionResetError):  # it is not left to wait for us
            read_all(taken)


@needs_tun
def test_the_recording_holds_what_was_on_the_device(recorded: Plan, tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    with serving(SERVER) as background, PcapngWriter(path) as writer:
        result, _ = play(recorded, background.port, CRUEL, record=writer)
    assert result.outcome is Outcome.PASS
    with open_capture(str(path)) as capture:
        segments = [decode(frame) for frame in capture]
    sizes = [len(s.payload) for s in segments if not isinstance(s, Skipped) and s.payload and s.sport > 0]
    assert sizes.count(4) >= 3  # `RFB ` and its copies
    [plan] = load(str(path))[0]
    assert plan.stream == recorded.stream
    assert plan.verdict == "agreed"


@needs_tun
def test_thirty_at_once_on_one_device_leave_nothing_behind(recorded: Plan) -> None:
    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    def routes() -> list[str]:
        """Those of our device; other tests may have devices of theirs at the same time."""
        lines = Path("/proc/net/route").read_text().splitlines()
        return [line for line in lines if line.split()[0] == names[0]]

    names: list[str] = []

    async def go(port: int) -> list[Result]:
        with Packets(await at(port), CRUEL) as packets:
            names.append(packets.tun.name)
            assert len(routes()) == 1
            players = [Player(recorded) for _ in range(30)]
            return list(await asyncio.gather(*(packets.play(player, 60) for player in players)))

    settings = [Path(f"/proc/sys/net/ipv4/conf/{name}/route_localnet") for name in ("all", "lo", "default")]
    with serving(SERVER) as background:
        before = descriptors(), [path.read_text() for path in settings]
        results = asyncio.run(go(background.port))
        assert background.wait_for(30, 30)
        assert {result.outcome for result in results} == {Outcome.PASS}
        assert (descriptors(), [path.read_text() for path in settings]) == before
    until(lambda: routes() == [])  # the next device of another test may have the name of ours


# --- the device


@needs_tun
def test_a_killed_process_leaves_no_device() -> None:
    code = (
        "import time; from dissect.replay.packets.device import Tun; "
        "tun = Tun.open(); print(tun.name, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert Path(f"/sys/class/net/{name}").exists()
        process.send_signal(signal.SIGKILL)
    until(lambda: not Path(f"/sys/class/net/{name}").exists())


OPEN = "from dissect.replay.packets.device import Tun; Tun.open()"


def last_line(*command: str) -> str:
    ended = subprocess.run(
        [*command, sys.executable, "-c", OPEN], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    return ended.stderr.splitlines()[-1]


@needs_tun
@pytest.mark.program("setpriv")
def test_the_missing_privilege_is_named() -> None:
    said = last_line("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    assert "needs CAP_NET_ADMIN" in said
    assert "--split" in said


@needs_tun
@pytest.mark.program("unshare", "mount")
def test_settings_that_cannot_be_written_are_named() -> None:
    # A root that is no mount point, as in a chroot, gives no mount namespace of one's own.
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace is to be had here")
    read_only = 'mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec "$@"'
    said = last_line("unshare", "--mount", "sh", "-c", read_only, "sh")
    assert "/route_localnet: Read-only file system" in said


def test_a_kernel_without_tun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device, "CLONE", str(tmp_path / "tun"))
    with pytest.raises(PacketsUnavailable, match=r"has no .*tun \(module tun\); --split"):
        Tun.open()
    (tmp_path / "tun").write_bytes(b"")
    with pytest.raises(PacketsUnavailable, match="makes no TUN device"):
        Tun.open()


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target("unix:/tmp/x", path="/tmp/x"), "Unix socket"),
        (Target("[::1]:1", "::1", 1, None, (socket.AF_INET6, ("::1", 1))), "are IPv4"),
        (Target("192.0.2.1:1", "192.0.2.1", 1, None, (socket.AF_INET, ("192.0.2.1", 1))), "another machine"),
    ],
)
def test_what_packets_cannot_reach(target: Target, why: str) -> None:
    with pytest.raises(PacketsUnavailable, match=why):
        Packets(target)


def test_what_is_local() -> None:
    assert is_local("127.0.0.1")
    assert is_local("127.8.9.10")
    assert not is_local("192.0.2.1")


# --- against real servers


@needs_tun
@pytest.mark.parametrize(
    ("server", "name", "number"),
    [
        pytest.param("qemu-vnc", "gvncviewer--qemu-vnc", None, marks=pytest.mark.peer("qemu-vnc")),
        pytest.param("qemu-spice", "spicy-screenshot--qemu-spice", 0, marks=pytest.mark.peer("qemu-spice")),
        pytest.param(
            "xtigervnc-patient",
            "xtigervncviewer--xtigervnc",
            None,
            marks=pytest.mark.peer("xtigervnc-patient"),
        ),
    ],
)
def test_real_servers_answer_as_recorded(server: str, name: str, number: int | None) -> None:
    plan = capture(name, number)
    rst, fin = PacketPlan((Piece(0, 4, rst=True),)), PacketPlan((Piece(0, 8, fin=True),))
    with Lab() as lab:
        running = lab.start(server)
        assert running.port is not None
        for title, packet_plan in PLANS.items():
            result, events = play(plan, running.port, packet_plan, 20)
            assert result.outcome is Outcome.PASS, (title, told(result), events)
            assert result.unsent_messages == 0, title
        reset, _ = play(plan, running.port, rst, 3)
        assert reset.reason == "the packet plan has reset the connection"
        closed, _ = play(plan, running.port, fin, 3)
        assert closed.outcome in (Outcome.EARLY_CLOSE, Outcome.RESET, Outcome.DIFF), told(closed)
        again, _ = play(plan, running.port, None, 20)  # neither has harmed it
        assert again.outcome is Outcome.PASS, told(again)
        assert running.alive


@needs_tun
@pytest.mark.peer("qemu-spice")
def test_a_whole_spice_session() -> None:
    plans, _ = load(str(ROOT / "pcaps" / "spicy-screenshot--qemu-spice.pcapng"))
    [group] = sessions(plans)

    async def go(port: int) -> list[Result]:
        with Packets(await at(port)) as packets:
            return await play_session(group, packets, Options(), 20)

    with Lab() as lab:
        running = lab.start("qemu-spice")
        assert running.port is not None
        results = asyncio.run(go(running.port))
    assert len(results) == len(group) > 1
    assert {result.outcome for result in results} == {Outcome.PASS}, [told(result) for result in results]
