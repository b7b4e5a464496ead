# SPDX-License-Identifier: GPL-2.0-or-later
"""Eight regressions, each a model build that differs from the good one in just that, and a suite for them.

The captures are recorded from the good builds, and so are the baselines.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from dissect.check.judging import Status
from dissect.check.runner import Cell, Runner, Settings
from dissect.check.suite import Suite, load
from dissect.lab.models import Speaks, SpiceClient, SpiceServer, VncClient, VncServer, run_pair, through

GOOD = ("vnc", "vnc-peek", "spice")

REGRESSIONS: dict[str, dict[str, tuple[Status, str]]] = {
    "magic-at-16": {
        "prefix-at-spice": (Status.FAIL, "SpiceLinkReply was still to come from the server"),
        "probe-spice": (Status.FAIL, "rfb: expected noticed after 4 bytes, got not noticed"),
    },
    "no-error-reply": {
        "prefix-at-spice": (Status.FAIL, "ended it: SpiceLinkReply was still to come"),
        "probe-spice": (Status.FAIL, "4 to 12 bytes: expected error-reply"),
    },
    "early-dropped": {
        "early": (Status.FAIL, "ended it: ProtocolVersion was still to come"),
    },
    "greeting-late": {
        "session": (Status.SLOWER, "first answer: "),
        "early": (Status.SLOWER, "first answer: "),
    },
    "security-type-gone": {
        "session": (Status.FAIL, "SecurityTypes.number_of_security_types expected 2, got 1"),
        "early": (Status.FAIL, "SecurityTypes.number_of_security_types expected 2, got 1"),
    },
    "capability-lost": {
        "session-spice": (Status.FAIL, "SpiceLinkReply.channel_caps expected [15], got [7]"),
    },
    "session-ignored": {
        "no-such-session": (Status.FAIL, "SpiceLinkResult.result expected 8, got 0"),
    },
    "hang-at-vnc": {
        "wrong-at-vnc": (Status.FAIL, "the server did not end the connection, which it did in the recording"),
    },
}
"""Build -> the cases that must name it, with the status and words of the first difference. No other may."""

SUITE = """
[timing]
samples = 12

[target.vnc]
model = "VncServer"
settings = { security_types = [1, 2] }

[target.vnc-peek]
model = "VncServer"
settings = { security_types = [1, 2], peek = {} }

[target.spice]
model = "SpiceServer"

[target.magic-at-16]
model = "SpiceServer"
settings = { judges_after = 16 }
judged_by = "spice"

[target.no-error-reply]
model = "SpiceServer"
settings = { error_reply = false }
judged_by = "spice"

[target.early-dropped]
model = "VncServer"
settings = { security_types = [1, 2], peek = { known = ["GET "] } }
judged_by = "vnc-peek"

[target.greeting-late]
model = "VncServer"
settings = { security_types = [1, 2], greeting_delay_ns = 100_000_000 }
judged_by = "vnc"

[target.security-type-gone]
model = "VncServer"
settings = { security_types = [1] }
judged_by = "vnc"

[target.capability-lost]
model = "SpiceServer"
settings = { channel_caps = { 1 = [0b0111], 2 = [0b1000001010010], 3 = [1] } }
judged_by = "spice"

[target.session-ignored]
model = "SpiceServer"
settings = { checks_session_id = false }
judged_by = "spice"

[target.hang-at-vnc]
model = "VncServer"
settings = { security_types = [1, 2], parting = "hang" }
judged_by = "vnc"

[case.session]
capture = "vnc.pcapng"
targets = ["vnc", "vnc-peek", "early-dropped", "greeting-late", "security-type-gone", "hang-at-vnc"]
timed = true
deadline = 10

[case.early]
capture = "vnc.pcapng"
targets = ["vnc", "vnc-peek", "early-dropped", "greeting-late", "security-type-gone", "hang-at-vnc"]
early_prefix = true
timed = true
deadline = 10

[case.wrong-at-vnc]
capture = "wrong-at-vnc.pcapng"
targets = ["vnc", "vnc-peek", "early-dropped", "greeting-late", "security-type-gone", "hang-at-vnc"]
deadline = 3

[case.session-spice]
capture = "spice.pcapng"
targets = ["spice", "magic-at-16", "no-error-reply", "capability-lost", "session-ignored"]
deadline = 20

[case.prefix-at-spice]
capture = "prefix-at-spice.pcapng"
targets = ["spice", "magic-at-16", "no-error-reply", "capability-lost", "session-ignored"]
deadline = 3

[case.no-such-session]
capture = "no-such-session.pcapng"
session_id = 0x1badcafe
targets = ["spice", "magic-at-16", "no-error-reply", "capability-lost", "session-ignored"]
deadline = 4

[case.probe-spice]
probe = "rfb"
targets = ["spice", "magic-at-16", "no-error-reply", "capability-lost", "session-ignored"]
deadline = 1
"""


def make(folder: Path) -> Suite:
    """Record the captures from the good builds, and give the suite that plays them."""
    vnc = VncServer(security_types=(1, 2))
    spice = SpiceServer()
    for name, client, server in (
        ("vnc", VncClient(), vnc),
        ("wrong-at-vnc", SpiceClient(), vnc),
        ("spice", SpiceClient(channels=((3, 0),)), spice),
        ("prefix-at-spice", VncClient(speaks=Speaks.AT_ONCE), spice),
        ("no-such-session", SpiceClient(channel=(3, 0), connection_id=0x1BADCAFE), spice),
    ):
        run_pair(client, server, 60, recording=through(str(folder / f"{name}.pcapng")))
    path = folder / "suite.toml"
    path.write_text(SUITE)
    return load(path)


def check(suite: Suite, *targets: str, record: bool = False) -> list[Cell]:
    """Run the suite against these targets."""
    pairs = [(case, target) for case, target in suite.pairs() if target.name in targets]
    with tempfile.TemporaryDirectory(prefix="firstbyte-check-") as folder:
        runner = Runner(suite, Settings(parallel=4, record=record), Path(folder))
        runner.prepare(pairs)
        return list(runner.run(pairs))
