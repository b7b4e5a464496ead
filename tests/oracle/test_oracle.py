# SPDX-License-Identifier: GPL-2.0-or-later
"""tshark is asked about every bundled recording: what differs has a known reason, or one of us is wrong."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

from tests.oracle.compare import PCAPS, PROTOCOLS, Outcome, compare, show, table_of

# Without 11,000 rectangles and encrypted sessions, which say nothing new; `python -m tests.oracle.compare`
# has them.
NOTHING_NEW = ("x11perf", "-x509", "-ssl", "sasl-tls")
CAPTURES = [
    path for path in sorted(PCAPS.glob("*.pcapng*")) if not any(word in path.name for word in NOTHING_NEW)
]


def version() -> str:
    done = subprocess.run(["tshark", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[2] if done.returncode == 0 else ""


pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_difference_has_a_reason(protocol: str) -> None:
    if not version().startswith("4.0."):
        pytest.skip(f"the reasons are those of tshark 4.0, this is {version()}")
    table, outcome = table_of(protocol), Outcome()
    compare(CAPTURES, table, outcome)
    assert not [show(case) for case in outcome.unknown]
    # Reasons that nothing needs any more, and fields that nothing compares, are not kept.
    assert set(outcome.known) == {reason.what for reason in table.reasons}
    assert outcome.agreed.total() > 1500
    assert len([name for name, count in outcome.agreed.items() if count]) > 40


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_wrong_table_is_noticed(protocol: str) -> None:
    """Fields of two messages swapped: the comparison can fail."""
    table, outcome = table_of(protocol), Outcome()
    wrong = {name: dict(pairs) for name, pairs in table.fields.items()}
    numbers = [
        (name, theirs)
        for name, pairs in sorted(wrong.items())
        for theirs, ours in pairs.items()
        if isinstance(ours, str) and "." not in ours and "[" not in ours
    ]
    for (name, one), (other, two) in zip(numbers[::2], numbers[1::2], strict=False):
        if name == other:
            wrong[name][one], wrong[name][two] = wrong[name][two], wrong[name][one]
    few = {"rfb": CAPTURES, "spice": [one for one in CAPTURES if "spice--qemu-spice" in one.name]}
    compare(few[protocol][:6], replace(table, fields=wrong), outcome)
    assert len(outcome.unknown) > 5
