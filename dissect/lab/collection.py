# SPDX-License-Identifier: GPL-2.0-or-later
"""A folder of recorded conversations and its `index.toml`: what is in each, and what must be found in it.

An entry (`[[capture]]`) has the file and its sha256, the programs with their versions and command lines, the
command that records it again, when and how it was recorded, and for each conversation the verdict and the
number of each message and of each kind of image. A test holds the dissector to it, so entries are reviewed
when they change.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dissect.capture import open_capture, read
from dissect.dissection.reading import Dissected, dissect
from dissect.lab.record import Recording
from dissect.stream.records import Record
from dissect.stream.side import Side

INDEX = "index.toml"

WITH_IMAGE = frozenset(
    f"SPICE_MSG_DISPLAY_{name}"
    for name in (
        "DRAW_OPAQUE",
        "DRAW_COPY",
        "DRAW_BLEND",
        "DRAW_ROP3",
        "DRAW_TRANSPARENT",
        "DRAW_ALPHA_BLEND",
        "STREAM_CREATE",
    )
)
"""SPICE messages that come with an image, or announce many."""

HEAD = """\
# What was recorded, with which programs, and what the dissector must find in it. Written by `firstbyte record
# --index`; each entry's `command` records it again (times and sizes differ from run to run).
"""


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def findings(path: Path) -> list[dict[str, Any]]:
    """What the dissector finds in a capture, conversation by conversation, as the index has it."""
    with open_capture(path) as capture:
        return [_finding(dissected) for dissected in sorted(dissect(read(capture)), key=_index)]


def _index(dissected: Dissected) -> int:
    return dissected.conversation.index


def _finding(dissected: Dissected) -> dict[str, Any]:
    verdict = dissected.verdict
    found: dict[str, Any] = {
        "verdict": verdict.verdict,
        "client_spoke": verdict.client_spoke,
        "server_spoke": verdict.server_spoke,
    }
    if verdict.first_speaker is not None:
        found["first_speaker"] = str(verdict.first_speaker)
    if verdict.detected_first is not None:
        found["detected_first"] = str(verdict.detected_first)
    if verdict.reversed:
        found["reversed"] = True
    for side in (Side.SERVER, Side.CLIENT):
        seen = verdict.detect(side)
        if seen is not None:
            found[f"{side}_detect"] = (
                {"censored": True, "bytes": seen.bytes}
                if seen.censored
                else {"by": seen.by, "bytes": seen.bytes}
            )
    for side in Side:
        counts = Counter(r.name for r in dissected.records if r.kind == "message" and r.side is side)
        if counts:
            found[f"{side}_messages"] = dict(sorted(counts.items()))
    images = Counter(map(_image, (r for r in dissected.records if r.name in WITH_IMAGE)))
    del images[None]
    if images:
        found["images"] = {str(kind): count for kind, count in sorted(images.items())}
    for kind in ("gap", "violation"):
        count = sum(record.kind == kind for record in dissected.records)
        if count:
            found[f"{kind}s"] = count
    return found


def _image(record: Record) -> str | None:
    """What kind of image a SPICE message draws; a stream is its codec. None where it cannot be read."""
    if record.kind != "message":
        return None
    fields = record.fields()
    if "codec_type_name" in fields:
        return f"stream of {fields['codec_type_name']}"
    image = fields.get("src_bitmap")
    return image["descriptor"]["type_name"] if image else None


def entry(recording: Recording, command: str, passwords: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The index entry of a recording that was just made by `command` (a `firstbyte record` command line)."""
    started = datetime.fromtimestamp(recording.started_ns // 1_000_000_000, UTC)
    return {
        "file": recording.path.name,
        "client": recording.client,
        "server": recording.server,
        "versions": {name: version or "unknown" for name, version in recording.versions.items()},
        "command": command,
        "programs": {name: " ".join(argv) for name, argv in recording.commands.items()},
        "recorded": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "by": str(recording.by),
        "stopped": str(recording.stopped),
        **dict(passwords or {}),
        "sha256": sha256(recording.path),
        "conversation": findings(recording.path),
    }


def load(folder: Path) -> list[dict[str, Any]]:
    """The entries of a folder's index, none where it has no index yet."""
    index = folder / INDEX
    if not index.exists():
        return []
    entries: list[dict[str, Any]] = tomllib.loads(index.read_text(encoding="utf-8")).get("capture", [])
    return entries


def store(folder: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write the index; an entry replaces the one of the same file, the order is that of the file names."""
    import tomli_w

    by_file = {one["file"]: one for one in load(folder)}
    by_file.update({one["file"]: dict(one) for one in entries})
    ordered = [by_file[name] for name in sorted(by_file)]
    text = tomli_w.dumps({"capture": ordered}, multiline_strings=False)
    (folder / INDEX).write_text(HEAD + "\n" + text, encoding="utf-8")
