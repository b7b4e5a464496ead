# SPDX-License-Identifier: GPL-2.0-or-later
"""The library as one works with it: open captures, look, judge, measure, draw.

    from dissect import firstbyte as fb

    for conversation in fb.open("pcaps/*.pcapng"):          # lazily; a large file does not fill memory
        print(conversation.verdict.reason)
        for message in conversation.messages:
            message.fields, message.packet                  # JSON values; the Scapy object
    fb.open("pcaps/*.pcapng").table().to_pandas()           # Arrow, pandas, polars, Parquet
    fb.open("pcaps/*.pcapng").plot()                        # the detection times of all of them
    fb.trials("run/").compare(fb.trials("other/"))          # what `firstbyte matrix` measured
    fb.replay(conversation, to="127.0.0.1:5900")            # still the same answers?

    conversations  `open`, `Captures`, `Conversation`, `Records`, `Record`
    tables         `Table`, `read_parquet`; the columns of each table
    trials         `trials`, `Trials`
    replays        `replay`, `Replayed`
    pictures       `Picture`
    display        how all of these show themselves in a notebook
    hexview        a message as its fields beside its bytes

Why this name: `dissect` belongs to many distributions, which install packages of their own under it, so
nothing of ours may stand in `dissect` itself. `dissect.firstbyte` is the one name there that nobody but the
distribution firstbyte would take, and `from dissect import firstbyte as fb` says both. The rooms beside it
(`dissect.capture`, `dissect.rfb`, ...) are what it is made of, and open to whoever needs more.

Above `replay`, `timing` and `report`; may use them and what lies below them. Neither matplotlib nor pyarrow,
pandas, polars or scipy is imported before something needs it.
"""

from dissect.capture import CaptureError
from dissect.dissection.verdict import Detection, Verdict
from dissect.firstbyte.conversations import Captures, Conversation, Record, Records, open
from dissect.firstbyte.pictures import Picture
from dissect.firstbyte.replays import Replayed, ReplayError, replay
from dissect.firstbyte.tables import Table, TableError, read_parquet
from dissect.firstbyte.trials import Trials, trials
from dissect.stream.side import Side
from dissect.timing.observations import Observation

__all__ = [
    "CaptureError",
    "Captures",
    "Conversation",
    "Detection",
    "Observation",
    "Picture",
    "Record",
    "Records",
    "ReplayError",
    "Replayed",
    "Side",
    "Table",
    "TableError",
    "Trials",
    "Verdict",
    "open",
    "read_parquet",
    "replay",
    "trials",
]
