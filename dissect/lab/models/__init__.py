# SPDX-License-Identifier: GPL-2.0-or-later
"""Model peers: small programs that speak RFB and SPICE as the real ones do, or wrongly in one stated way.

- `core`: settings, faults, reports, and the engine: bytes and times in, actions out, no socket, no clock
- `vnc`, `spice`: `VncServer`, `VncClient`, `SpiceServer`, `SpiceClient`; each a frozen dataclass of settings
- `simulation`: a pair over a simulated wire in simulated time (`simulate`)
- `driver`: the same on loopback sockets (`serve`, `connect`, `pair`, `run_pair`, `meet`, `serving`)
- `result`: what a pair comes to

The sessions are those of the dissector. A build with a regression is a variant of a model, made with
`dataclasses.replace`: a setting that differs, or a fault (`Change`, `Omit`, `Late`, `Cut`, `Endless`).
"""

from dissect.lab.models.core import (
    Change,
    Cut,
    Ending,
    Endless,
    Fault,
    How,
    Late,
    Model,
    Omit,
    Pace,
    Parting,
    Report,
    Word,
)
from dissect.lab.models.driver import (
    beside,
    connect,
    meet,
    pair,
    run_pair,
    serve,
    serving,
    through,
)
from dissect.lab.models.result import PairResult
from dissect.lab.models.simulation import simulate
from dissect.lab.models.spice import SpiceClient, SpiceServer, capability_words
from dissect.lab.models.vnc import Peek, Speaks, VncClient, VncServer

__all__ = [
    "Change",
    "Cut",
    "Ending",
    "Endless",
    "Fault",
    "How",
    "Late",
    "Model",
    "Omit",
    "Pace",
    "PairResult",
    "Parting",
    "Peek",
    "Report",
    "Speaks",
    "SpiceClient",
    "SpiceServer",
    "VncClient",
    "VncServer",
    "Word",
    "beside",
    "capability_words",
    "connect",
    "meet",
    "pair",
    "run_pair",
    "serve",
    "serving",
    "simulate",
    "through",
]
