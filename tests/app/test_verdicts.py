# SPDX-License-Identifier: GPL-2.0-or-later
"""A line that shares its words with others is the line that it would be by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from dissect.app.captures import read_captures
from dissect.app.verdicts import Lines

PCAPS = sorted((Path(__file__).parent.parent.parent / "pcaps").glob("*vncviewer*.pcapng"))[:12]


def test_lines_are_those_of_to_json() -> None:
    found = [one.verdict for name in PCAPS for _, one in read_captures([str(name)], records=False)]
    agreed = next(one for one in found if one.verdict == "agreed")
    found += [replace(agreed, conversation=number, client=f"[::{number}]:1") for number in range(3)]
    found += [replace(agreed, reason='a "reason" \u2026 of its own', first_speaker=None), agreed]
    lines = Lines()
    for capture in ("a.pcap", 'another "one" \u2026'):
        for one in found:
            assert lines.line(capture, one) == json.dumps(one.to_json(capture))
    assert 3 <= len(lines._tails) < len(found)
