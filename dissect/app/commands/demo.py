# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte demo`: a tour of the bundled captures, the model peers, and what is installed here."""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dissect.app import terminal
from dissect.app.terminal import Table
from dissect.app.verdicts import cells, columns
from dissect.capture import CaptureError, open_capture, read
from dissect.dissection.reading import Dissected, dissect
from dissect.lab.errors import LabError
from dissect.stream.side import Side
from dissect.stream.text import safe

if TYPE_CHECKING:
    from dissect.lab.models import Model

PCAPS = Path(__file__).resolve().parents[3] / "pcaps"
"""The bundled captures, in a checkout; an installed package has none."""

DEADLINE_S = 4.0
"""How long live programs are given: longer than the two seconds that a patient VNC client waits."""

PAIRS = (
    ("xtigervncviewer", "qemu-spice"),
    ("gvncviewer", "qemu-spice"),
    ("spicy-screenshot", "qemu-vnc"),
    ("spicy-screenshot", "x11vnc"),
    ("vncsnapshot", "x11vnc"),
)
"""Real programs worth a look: a hang, the cure, two ways to drop a RedLinkMess, and a right one."""

Row = tuple[str, str, Dissected]
"""Client, server, and what became of their first conversation."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--captures", type=Path, default=PCAPS, metavar="DIR", help="recordings with an index.toml (pcaps/)"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("firstbyte-demo"),
        metavar="DIR",
        help="where the pictures go (default: firstbyte-demo)",
    )
    parser.add_argument("--no-peers", action="store_true", help="leave out the real programs installed here")
    parser.epilog = (
        "Needs no root and no VNC or SPICE program; all traffic stays on loopback.\n\n"
        "example: firstbyte demo --no-peers -o pictures"
    )


def run(args: Namespace) -> int:
    """Show the tour; 0 where all of it could be shown."""
    recorded = _recorded(args.captures)
    with tempfile.TemporaryDirectory(prefix="firstbyte-demo-") as folder:
        models = _models(Path(folder))
        real = [] if args.no_peers else _real(Path(folder))
    _pictures(args.output, recorded, models, real)
    return 0


# --- the three parts


def _recorded(folder: Path) -> list[Row]:
    """What was recorded with real programs."""
    from dissect.app.commands.record import file_name
    from dissect.lab import collection

    _title("Recorded: real clients at real servers")
    entries = collection.load(folder)
    if not entries:
        print(f"  {safe(str(folder))} has no recordings: give a folder with --captures")
        return []
    rows = [
        (entry["client"], entry["server"], _first(folder / entry["file"]))
        for entry in entries
        if entry["file"] == file_name(entry["client"], entry["server"])  # the plain meeting of the two
    ]
    odd = [row for row in rows if row[2].verdict.verdict != "agreed"]
    _table(odd)
    agreed = len(rows) - len(odd)
    print(f"\n  {agreed} more pairs speak the same protocol. All of them: firstbyte verdict pcaps/*.pcapng")
    return rows


def _models(folder: Path) -> list[Row]:
    """The scenario of 2017, live: three VNC clients and a SPICE client at SPICE servers old and new."""
    from dissect.lab.models import Speaks, SpiceClient, SpiceServer, VncClient, VncServer

    _title("Live: model peers on loopback, before the cure and after it")
    clients: dict[str, Model] = {
        "VNC, waits": VncClient(speaks=Speaks.AFTER_GREETING),
        "VNC, at once": VncClient(speaks=Speaks.AT_ONCE),
        "VNC, after 2 s": VncClient(speaks=Speaks.AFTER_SILENCE),
        "SPICE": SpiceClient(),
    }
    servers: dict[str, Model] = {
        "SPICE, at 16 bytes": SpiceServer(judges_after=16),
        "SPICE, at 4 bytes": SpiceServer(judges_after=4),
        "VNC": VncServer(),
    }
    pairs = [(client, server) for server in servers for client in clients]
    rows = _live(
        pairs,
        [
            partial(_model_pair, clients[client], servers[server], folder / f"model-{number}.pcapng")
            for number, (client, server) in enumerate(pairs)
        ],
        workers=len(pairs),
    )
    _table(rows)
    print()
    for line in (
        "A VNC client waits for the greeting, or sends RFB at once or after 2 s of silence; a SPICE",
        "server judges the magic at 16 bytes (before the cure) or at 4 (after it).",
        f"Recorded through a relay in user space; the deadline was {DEADLINE_S:g} s.",
    ):
        print(f"  {line}")
    return rows


def _model_pair(client: Model, server: Model, path: Path) -> Path:
    from dissect.lab.models import run_pair, through

    run_pair(client, server, DEADLINE_S, recording=through(str(path)))
    return path


def _real(folder: Path) -> list[Row]:
    """Real programs, where they are installed."""
    from dissect.lab.lab import Lab
    from dissect.lab.peers import installed
    from dissect.lab.record import can_record_wire

    _title("Live: real programs installed here")
    with Lab() as lab:
        needs_display = [name for name, peer in lab.peers.items() if peer.needs is not None]
        display = installed(lab.peers[lab.display_name])
        here = {name for name, peer in lab.peers.items() if installed(peer)}
        usable = here if display else here.difference(needs_display)
        pairs = [pair for pair in PAIRS if set(pair) <= usable]
        if missing := sorted({name for pair in PAIRS for name in pair} - usable):
            text = f"not installed: {', '.join(missing)} (see: firstbyte peers)"
            print("\n".join(f"  {line}" for line in terminal.wrap(text, terminal.terminal_width() - 2)))
        if not pairs:
            return []
        rows = _live(
            pairs,
            [partial(_real_pair, lab, *pair, folder / f"{'--'.join(pair)}.pcapng") for pair in pairs],
            workers=1,
        )
    _table(rows)
    how = "on the wire" if can_record_wire() else "through a relay in user space (no right to capture)"
    print(f"\n  Recorded {how}; the deadline was {DEADLINE_S:g} s.")
    return rows


def _real_pair(lab: object, client: str, server: str, path: Path) -> Path:
    from dissect.lab.lab import Lab
    from dissect.lab.record import record_conversation

    assert isinstance(lab, Lab)
    record_conversation(client, server, path, DEADLINE_S, lab=lab, max_bytes=1 << 20)
    return path


# --- the pictures


def _pictures(folder: Path, *groups: Sequence[Row]) -> None:
    from dissect.timing.observations import observe
    from dissect.timing.plots import detection_times, ladder, save

    _title("Pictures")
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for group in groups for row in group]
    written = []
    for name, pair in (("the-cure", ("gvncviewer", "qemu-spice")), ("fails-fast", ("spicy", "qemu-vnc"))):
        shown = next((row[2] for row in rows if row[:2] == pair), None)
        if shown is not None:
            written.append(folder / f"{name}.png")
            names = {Side.CLIENT: pair[0], Side.SERVER: pair[1]}
            save(ladder(shown, names=names), written[-1])
    observations = [
        seen for client, server, found in rows for seen in observe(found, label=f"{client} to {server}")
    ]
    if observations:
        written.append(folder / "detection-times.png")
        save(detection_times(observations), written[-1])
    for path in written:
        print(f"  {terminal.link(str(path))}")


# --- shared


def _title(text: str) -> None:
    print(("" if text.startswith("Recorded") else "\n") + terminal.paint(text, "head") + "\n")


def _live(
    pairs: Sequence[tuple[str, str]], makers: Iterable[Callable[[], Path]], *, workers: int
) -> list[Row]:
    """Make the recordings, several at a time, and dissect each; one that fails is said and left out."""
    rows = []
    with ThreadPoolExecutor(workers) as pool, terminal.Progress() as progress:
        progress.update(f"{len(pairs)} conversations, up to {DEADLINE_S:g} s each")
        futures = [pool.submit(make) for make in makers]
        for (client, server), future in zip(pairs, futures, strict=True):
            try:
                rows.append((client, server, _first(future.result())))
            except (LabError, CaptureError, OSError, LookupError) as error:
                progress.clear()
                terminal.complain(f"{client} to {server}: {error}")
    return rows


def _first(path: Path) -> Dissected:
    """The first conversation of a capture; LookupError where there is none."""
    with open_capture(path) as capture:
        found = sorted(dissect(read(capture)), key=lambda dissected: dissected.conversation.index)
    if not found:
        raise LookupError("no conversation was recorded")
    return found[0]


def _table(rows: Sequence[Row]) -> None:
    found = [cells(dissected.verdict, client, server) for client, server, dissected in rows]
    for line in Table(columns(), limit=terminal.terminal_width() - 2).render(found).splitlines():
        print(f"  {line}")
