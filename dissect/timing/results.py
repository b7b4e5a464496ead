# SPDX-License-Identifier: GPL-2.0-or-later
"""Results as data: one row a trial, as NDJSON and as Parquet, with everything needed to draw it again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dissect.stream.side import Side
from dissect.timing.observations import Clock, Observation

SCHEMA = "firstbyte-trial/1"
"""Name and number of the layout of a row; the number grows where old readers would read wrongly."""

FILE = "trials.ndjson"
"""How the rows of a run are called in its folder."""

LONGEST_ROW = 1 << 20
"""Bytes of one row at the most; a line beyond that is no row of ours."""


class ResultsError(Exception):
    """A file of results that cannot be used; `str()` is one line."""


@dataclass(slots=True)
class Row:
    """One trial: one client that met one server.

    client, server: names of the lab; versions: what they say of theirs, None where they do not. trial: its
    number within the pair, from 0; order: its place in the run. seed, deadline_ns, warm (the server ran
    before), load1 (the machine's load average of one minute when the trial began): the circumstances.
    started_ns: Unix. verdict, client_spoke, server_spoke: as in a verdict. observations: up to one a side and
    clock. server_init_ns: clock -> time from the connection to RFB's ServerInit, of honest connections.
    over_ns: clock -> time from the client's SYN to its own FIN or RST, or the server's RST, the wait for a
    greeting included; none where the trial ended first. rtt_ns: what was added to the round trip, None on
    loopback; handshake_ns: from SYN to established as the client's end saw it, where something was.
    words: what the client said, each {"ns": since the connection, "stream", "text"}. client_exit: its exit
    code, None where it had to be ended. stopped: why the recording did. lost: why there is nothing to
    observe; None for a good trial.
    """

    client: str
    server: str
    trial: int
    order: int
    seed: int
    deadline_ns: int
    started_ns: int
    load1: float
    warm: bool
    client_version: str | None = None
    server_version: str | None = None
    machine: str = ""
    verdict: str | None = None
    client_spoke: str = "nothing"
    server_spoke: str = "nothing"
    observations: list[Observation] = field(default_factory=list)
    server_init_ns: dict[str, int] = field(default_factory=dict)
    words: list[dict[str, Any]] = field(default_factory=list)
    client_exit: int | None = None
    stopped: str | None = None
    lost: str | None = None
    over_ns: dict[str, int] = field(default_factory=dict)
    rtt_ns: int | None = None
    handshake_ns: int | None = None

    @property
    def pair(self) -> tuple[str, str]:
        """Who met whom."""
        return self.client, self.server

    def seen(self, side: Side, clock: Clock) -> Observation | None:
        """What was observed of one side by one clock; None where there was nothing to."""
        return next((one for one in self.observations if one.side is side and one.clock == clock), None)

    def to_json(self) -> dict[str, Any]:
        """The row as one object of NDJSON."""
        values = {name: getattr(self, name) for name in _PLAIN}
        return {
            "schema": SCHEMA,
            **values,
            "observations": [_plain(one) for one in self.observations],
        }

    @classmethod
    def from_json(cls, data: Any) -> Row:
        """The row again. Raises ValueError where `data` is no row of this schema."""
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, dict) else None
            raise ValueError(f"schema {found!r} is not {SCHEMA}")
        try:
            values = {name: data[name] for name in _PLAIN if name in data or name not in _LATER}
            row = cls(**values)
            row.observations = [_observation(row, one) for one in data["observations"]]
            # A struct of Parquet has all its fields, those without a value too.
            for times in ("server_init_ns", "over_ns"):
                kept = {name: ns for name, ns in (data.get(times) or {}).items() if ns is not None}
                setattr(row, times, kept)
            if not all(isinstance(data[name], str) for name in ("client", "server")) or row.deadline_ns <= 0:
                raise ValueError("client, server or deadline_ns is not what it should be")
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a whole row: {error}") from None
        return row


_PLAIN = tuple(name for name in Row.__dataclass_fields__ if name != "observations")
_LATER = ("over_ns", "rtt_ns", "handshake_ns")
"""Columns that rows of earlier runs do not have."""
_OBSERVED = ("side", "clock", "ns", "status", "by", "bytes", "after_close")


def _plain(one: Observation) -> dict[str, Any]:
    values = asdict(one)
    return {name: str(values[name]) if name == "side" else values[name] for name in _OBSERVED}


def _observation(row: Row, data: dict[str, Any]) -> Observation:
    if data["status"] not in ("exact", "censored") or data["ns"] < 0:
        raise ValueError(f"an observation of status {data['status']!r} and {data['ns']} ns")
    return Observation(
        side=Side(data["side"]),
        ns=data["ns"],
        status=data["status"],
        by=data["by"],
        bytes=data["bytes"],
        after_close=data["after_close"],
        client_spoke=row.client_spoke,
        server_spoke=row.server_spoke,
        conversation=row.order,
        label=f"{row.client} → {row.server}",
        clock=data["clock"],
    )


def is_results(path: str | Path) -> bool:
    """Whether `path` looks like results: a run's folder, Parquet, or NDJSON with our schema in its head."""
    path = Path(path)
    try:
        if path.is_dir():
            return (path / FILE).is_file()
        with path.open("rb") as file:
            head = file.read(256)
    except OSError:
        return False
    return head.startswith(b"PAR1") or (head.startswith(b"{") and b'"firstbyte-' in head)


def read_rows(path: str | Path) -> tuple[list[Row], list[str]]:
    """All rows of a run's folder, an NDJSON or a Parquet file, and a line on each that cannot be used.

    A lost trial that was measured again later is left out. Raises OSError, and ResultsError where there is no
    row at all.
    """
    path = Path(path)
    if path.is_dir():
        path /= FILE
    with path.open("rb") as file:
        parquet = file.read(4) == b"PAR1"
    rows, problems = _parquet_rows(path) if parquet else _lines(path)
    if not rows:
        raise ResultsError(f"{path}: no row of {SCHEMA}" + (f" ({problems[0]})" if problems else ""))
    later: set[tuple[object, ...]] = set()
    kept = []
    for row in reversed(rows):
        key = (row.pair, row.trial, row.seed, row.deadline_ns)
        if row.lost is None or key not in later:
            kept.append(row)
        later.add(key)
    return kept[::-1], problems


def _lines(path: Path) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    problems: list[str] = []
    offset = 0
    with path.open("rb") as file:
        while line := file.readline(LONGEST_ROW):
            try:
                rows.append(Row.from_json(json.loads(line)))
            except (ValueError, RecursionError) as error:
                reason = str(error)
                if not line.endswith(b"\n"):
                    reason = "the row is cut off"
                elif isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
                    reason = "not a line of JSON"
                problems.append(f"{path}: at byte {offset:,}: {reason}")
            offset += len(line)
    return rows, problems


def _parquet_rows(path: Path) -> tuple[list[Row], list[str]]:
    parquet = _pyarrow()
    try:
        table = parquet.read_table(path)
        if "started" in table.column_names:  # a Python datetime has no nanoseconds; `started_ns` says it too
            table = table.drop_columns(["started"])
        return [Row.from_json(data) for data in table.to_pylist()], []
    except (ValueError, OSError) as error:  # pyarrow's own are among them
        raise ResultsError(f"{path}: {error}") from None


def arrow_schema() -> Any:
    """The columns of trials in Arrow: those of NDJSON, and `started`, which is `started_ns` in UTC.

    Raises ResultsError without pyarrow.
    """
    _pyarrow()
    import pyarrow as pa

    nanoseconds, text = pa.int64(), pa.string()
    observation = pa.struct(
        [
            ("side", text), ("clock", text), ("ns", nanoseconds), ("status", text), ("by", text),
            ("bytes", pa.int64()), ("after_close", pa.bool_()),
        ]
    )  # fmt: skip
    kinds: dict[str, Any] = dict.fromkeys(("schema", *_PLAIN), text)
    numbers = ("trial", "order", "seed", "deadline_ns", "started_ns", "client_exit", "rtt_ns", "handshake_ns")
    kinds |= dict.fromkeys(numbers, pa.int64())
    kinds |= {
        "load1": pa.float64(),
        "warm": pa.bool_(),
        "observations": pa.list_(observation),
        "server_init_ns": pa.struct([("wire", nanoseconds), ("user", nanoseconds)]),
        "over_ns": pa.struct([("wire", nanoseconds), ("user", nanoseconds)]),
        "words": pa.list_(pa.struct([("ns", nanoseconds), ("stream", text), ("text", text)])),
    }
    columns = [*kinds.items(), ("started", pa.timestamp("ns", "UTC"))]
    return pa.schema(columns, metadata={"firstbyte": SCHEMA})


def arrow_row(row: Row) -> dict[str, Any]:
    """A row with the columns of `arrow_schema`."""
    return {**row.to_json(), "started": row.started_ns}


def write_parquet(rows: Iterable[Row], path: str | Path) -> None:
    """Write rows as Parquet. Raises ResultsError without pyarrow, OSError."""
    parquet = _pyarrow()
    import pyarrow as pa

    table = pa.Table.from_pylist([arrow_row(row) for row in rows], schema=arrow_schema())
    parquet.write_table(table, path, compression="zstd")


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ResultsError("Parquet needs the package pyarrow: pip install 'firstbyte[stats]'") from None
    return pyarrow.parquet


# --- probes -----------------------------------------------------------------------------------------

PROBE_SCHEMA = "firstbyte-probe/1"
"""Name and number of the layout of what a probe prints."""

Step = tuple[int, str | None, int]
"""Bytes that were sent, the reaction (None: none before the deadline), and its time in ns."""


@dataclass(frozen=True, slots=True)
class Probed:
    """One probe of a server. tables: protocol -> its steps by bytes. least: protocol -> (bytes, time in ns)
    of the first detection, None where there is none. own: the protocol that the server speaks.
    """

    server: str
    own: str
    deadline_ns: int
    tables: dict[str, list[Step]]
    least: dict[str, tuple[int, int] | None]

    @classmethod
    def from_json(cls, data: Any) -> Probed:
        """From the object that `firstbyte probe --json` prints. Raises ValueError."""
        if not isinstance(data, dict) or data.get("schema") != PROBE_SCHEMA:
            raise ValueError(f"not a probe of {PROBE_SCHEMA}")
        try:
            tables: dict[str, list[Step]] = {}
            for row in data["trials"]:
                if row["phase"] == "table" and row["tainted"] is None:
                    step = (int(row["bytes"]), row["reaction"], int(row["ns"]))
                    tables.setdefault(str(row["protocol"]), []).append(step)
            least = {
                str(name): None if size is None else (int(size), int(data["detect_ns"][name]))
                for name, size in data["bytes_to_detect"].items()
            }
            return cls(
                str(data["server"]),
                str(data["speaks"]),
                int(data["deadline_ns"]),
                {name: sorted(steps) for name, steps in tables.items()},
                least,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a whole probe: {error}") from None


def read_probes(path: str | Path) -> list[Probed]:
    """The probes in an NDJSON file, one a line; none where it holds something else. Raises OSError."""
    try:
        with Path(path).open("rb") as file:
            return [Probed.from_json(json.loads(line)) for line in file]
    except (ValueError, RecursionError, IsADirectoryError):
        return []
