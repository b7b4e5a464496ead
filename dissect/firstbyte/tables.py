# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables: one row a message, a conversation, a trial or an observation, as Arrow and as Parquet.

The columns of every table stand here or, for trials, in `dissect.timing.results`, once: what writes such a
table (`firstbyte scan`, `firstbyte matrix --parquet`, `Table.to_parquet`) and what reads it share them. Each
table carries the name and the number of its layout in its metadata, under `firstbyte`; the number grows where
old readers would read wrongly.

Times of day are twice in a row: `..._ns`, int64 nanoseconds since 1970, for arithmetic, and the same under
the name without `_ns` as `timestamp[ns, UTC]`, for people and for resampling. Durations are int64 ns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from dissect.firstbyte import display
from dissect.report.markup import Markup, tag
from dissect.stream.text import plural, safe
from dissect.timing import results

if TYPE_CHECKING:
    import pandas
    import polars

    from dissect.dissection.verdict import Verdict
    from dissect.firstbyte.conversations import Record
    from dissect.timing.observations import Observation
    from dissect.timing.results import Row

BATCH = 4096
"""Rows that are made at once."""

SHOWN = 20
"""Rows that a table shows of itself, the first and the last of them."""

LONGEST = 120
"""Characters of a cell that are shown."""


class TableError(Exception):
    """A table that cannot be had, made or read; `str()` is one line."""


# --- what is in them --------------------------------------------------------------------------------------

DETECTION = ("ns", "censored", "by", "bytes", "after_close")
_DETECTION_KINDS = {"ns": "int64", "censored": "bool", "by": "text", "bytes": "int64", "after_close": "bool"}

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "firstbyte-message/1": {
        "capture": "text",
        "conversation": "int64",
        "kind": "text",
        "side": "text",
        "protocol": "text",
        "name": "text",
        "time_ns": "int64",
        "time": "utc",
        "since_ns": "int64",
        "offset": "int64",
        "size": "int64",
        "fields": "text",
    },
    "firstbyte-conversation/1": {
        "capture": "text",
        "conversation": "int64",
        "client": "text",
        "server": "text",
        "start_ns": "int64",
        "start": "utc",
        "first_speaker": "text",
        "client_spoke": "text",
        "server_spoke": "text",
        "verdict": "text",
        **{
            f"{side}_detect_{name}": _DETECTION_KINDS[name]
            for side in ("server", "client")
            for name in DETECTION
        },
        "reversed": "bool",
        "detected_first": "text",
        "reason": "text",
        "roles_from": "text",
        "session": "text",
        "error": "text",
    },
    "firstbyte-observation/1": {
        "client": "text",
        "server": "text",
        "trial": "int64",
        "started_ns": "int64",
        "started": "utc",
        "side": "text",
        "clock": "text",
        "ns": "int64",
        "status": "text",
        "by": "text",
        "bytes": "int64",
        "after_close": "bool",
        "client_spoke": "text",
        "server_spoke": "text",
        "capture": "text",
        "conversation": "int64",
    },
}
"""Layout -> column -> its kind: "text", "int64", "bool", "utc" (`timestamp[ns, UTC]`).

`fields` of a message and `session` of a conversation are JSON. `error` is for `firstbyte scan`, where a row
may be about what could not be read.
"""

MESSAGE, CONVERSATION, OBSERVATION = COLUMNS
TRIAL = results.SCHEMA


def conversation_row(verdict: Verdict, capture: str) -> dict[str, Any]:
    """A conversation as a row: the keys of `verdict --json`, the detections' as columns of their own."""
    row = verdict.to_json(capture)
    for side in ("server", "client"):
        seen = row.pop(f"{side}_detect") or {}
        row.update({f"{side}_detect_{name}": seen.get(name) for name in DETECTION})
    for name in ("first_speaker", "detected_first"):
        row[name] = None if row[name] is None else str(row[name])
    row["session"] = None if row["session"] is None else json.dumps(row["session"])
    return {**row, "start": row["start_ns"], "error": None}


def message_row(record: Record) -> dict[str, Any]:
    """A message, a gap or a violation as a row; secrets are hidden."""
    return {
        "capture": record.capture,
        "conversation": record.conversation,
        "kind": record.kind,
        "side": str(record.side),
        "protocol": record.protocol,
        "name": record.name,
        "time_ns": record.time_ns,
        "time": record.time_ns,
        "since_ns": record.since_ns,
        "offset": record.offset,
        "size": record.size,
        "fields": json.dumps(record.fields),
    }


def observation_row(seen: Observation, trial: Row | None = None) -> dict[str, Any]:
    """An observation as a row; `trial`: the one that it comes from, where it comes from one."""
    row = {
        **seen.to_json(),
        "client": None,
        "server": None,
        "trial": None,
        "started_ns": None,
        "started": None,
    }
    if trial is not None:
        row |= {
            "client": trial.client,
            "server": trial.server,
            "trial": trial.trial,
            "started_ns": trial.started_ns,
            "started": trial.started_ns,
            "capture": None,
            "conversation": None,
        }
    return row


# --- Arrow ------------------------------------------------------------------------------------------------


def pyarrow() -> Any:
    """The library pyarrow with its Parquet. Raises TableError where it is not installed."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet
    except ImportError:
        raise TableError("tables need the package pyarrow: pip install 'firstbyte[tables]'") from None
    return arrow


def schema_of(layout: str) -> Any:
    """The Arrow schema of a layout, with its name and number in the metadata."""
    if layout == TRIAL:
        pyarrow()
        return results.arrow_schema()
    arrow = pyarrow()
    kinds = {
        "text": arrow.string(),
        "int64": arrow.int64(),
        "bool": arrow.bool_(),
        "utc": arrow.timestamp("ns", "UTC"),
    }
    columns = [(name, kinds[kind]) for name, kind in COLUMNS[layout].items()]
    return arrow.schema(columns, metadata={"firstbyte": layout})


def batches(rows: Iterable[dict[str, Any]], schema: Any) -> Iterator[Any]:
    """Rows as Arrow record batches of at most `BATCH` rows: no more than those are in memory."""
    arrow = pyarrow()
    some: list[dict[str, Any]] = []
    for row in rows:
        some.append(row)
        if len(some) == BATCH:
            yield arrow.RecordBatch.from_pylist(some, schema)
            some = []
    if some:
        yield arrow.RecordBatch.from_pylist(some, schema)


class Table:
    """Rows of one layout. Shows its first and last ones in a notebook.

    layout: "firstbyte-message/1" and so on. Anything that reads Arrow's C stream interface (polars, duckdb,
    pandas, pyarrow) takes a `Table` as it is.

    >>> from dissect import firstbyte as fb
    >>> table = fb.open("pcaps/gvncviewer--qemu-spice.pcapng").table()
    >>> table
    <Table firstbyte-conversation/1: 1 row, 26 columns>
    >>> table.arrow.schema.field("start").type
    TimestampType(timestamp[ns, tz=UTC])
    >>> table.to_pandas()[["client_spoke", "server_spoke", "verdict"]].values.tolist()
    [['rfb', 'spice', 'wrong-protocol']]
    """

    def __init__(self, layout: str, make: Callable[[], Iterable[dict[str, Any]]]) -> None:
        """make: gives the rows; called when they are wanted, each time anew until they are in memory."""
        self.layout = layout
        self._make = make
        self._arrow: Any = None

    @property
    def arrow(self) -> Any:
        """The `pyarrow.Table`; made, and kept in memory, when first asked for.

        >>> from dissect import firstbyte as fb
        >>> fb.open("pcaps/gvncviewer--qemu-spice.pcapng").table("messages").arrow.column("name").to_pylist()
        ['ProtocolVersion', 'SpiceLinkReply']
        """
        if self._arrow is None:
            schema = schema_of(self.layout)
            self._arrow = pyarrow().Table.from_batches(batches(self._make(), schema), schema)
        return self._arrow

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.arrow.__arrow_c_stream__(requested_schema)

    @property
    def columns(self) -> list[str]:
        """The names of the columns.

        >>> from dissect import firstbyte as fb
        >>> fb.open("pcaps/gvncviewer--qemu-spice.pcapng").table("messages").columns[:4]
        ['capture', 'conversation', 'kind', 'side']
        """
        return [str(name) for name in schema_of(self.layout).names]

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries, in batches: without the whole table in memory."""
        if self._arrow is None:
            for batch in batches(self._make(), schema_of(self.layout)):
                yield from _readable(batch).to_pylist()
        else:
            yield from _readable(self._arrow).to_pylist()

    def to_pandas(self) -> pandas.DataFrame:
        """As a pandas DataFrame. Raises TableError without pandas.

        Whole numbers stay whole: a column of them is `Int64`, where some are missing too. As floating point,
        nanoseconds since 1970 would lose their last three digits.

        >>> from dissect import firstbyte as fb
        >>> frame = fb.open("pcaps/xtigervncviewer--qemu-spice.pcapng").table().to_pandas()
        >>> frame.dtypes[["start_ns", "start", "client_detect_ns", "reversed"]].astype(str).tolist()
        ['Int64', 'datetime64[ns, UTC]', 'Int64', 'boolean']
        """
        try:
            import pandas as pd
        except ImportError:
            raise TableError("to_pandas needs the package pandas: pip install pandas") from None
        arrow = pyarrow()
        kinds = {arrow.int64(): pd.Int64Dtype(), arrow.bool_(): pd.BooleanDtype()}
        frame: pandas.DataFrame = self.arrow.to_pandas(types_mapper=kinds.get)
        return frame

    def to_polars(self) -> polars.DataFrame:
        """As a polars DataFrame. Raises TableError without polars.

        >>> from dissect import firstbyte as fb
        >>> table = fb.open("pcaps/gvncviewer--qemu-spice.pcapng").table("messages")
        >>> table.to_polars().select("side", "name", "size").rows()
        [('client', 'ProtocolVersion', 4), ('server', 'SpiceLinkReply', 194)]
        """
        try:
            import polars as pl
        except ImportError:
            raise TableError("to_polars needs the package polars: pip install polars") from None
        frame = pl.from_arrow(self.arrow)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write the rows to a Parquet file, a batch at a time. Raises OSError, TableError.

        >>> import tempfile
        >>> from dissect import firstbyte as fb
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fb.open("pcaps/spicy--qemu-vnc.pcapng").table("messages").to_parquet(f"{folder}/x.parquet")
        ...     fb.read_parquet(f"{folder}/x.parquet")
        <Table firstbyte-message/1: 2 rows, 12 columns>
        """
        schema = schema_of(self.layout)
        with pyarrow().parquet.ParquetWriter(path, schema) as writer:
            if self._arrow is not None:
                writer.write_table(self._arrow)
            else:
                for batch in batches(self._make(), schema):
                    writer.write_batch(batch)

    def __repr__(self) -> str:
        return f"<Table {self.layout}: {plural(len(self), 'row')}, {plural(len(self.columns), 'column')}>"

    def _repr_html_(self) -> str:
        """The first and the last rows; every text escaped."""
        number = len(self)
        half = SHOWN // 2
        chosen = list(range(number)) if number <= SHOWN else [*range(half), *range(number - half, number)]
        rows = _readable(self.arrow.take(chosen)).to_pylist()
        shown = [name for name in self.columns if any(row[name] is not None for row in rows)] or self.columns
        body = []
        for place, row in enumerate(rows):
            if place == half and number > SHOWN:
                words = f"… {plural(number - SHOWN, 'more row')} …"
                body.append(tag("tr", tag("td", words, class_="fb-more", colspan=len(shown))))
            body.append(tag("tr", *(_cell(row[name]) for name in shown)))
        left_out = len(self.columns) - len(shown)
        note = f", {plural(left_out, 'empty column')} not shown" if left_out else ""
        caption = tag("p", f"{plural(number, 'row')} of {self.layout}{note}", class_="fb-pale")
        return display.frame(display.table(tuple(shown), body, "fb-rows"), caption)


def _readable(table: Any) -> Any:
    """The same with times as text: a Python datetime has no nanoseconds."""
    arrow = pyarrow()
    for place, column in enumerate(table.schema):
        if arrow.types.is_timestamp(column.type):
            table = table.set_column(place, column.name, table.column(place).cast(arrow.string()))
    return table


def _cell(value: object) -> Markup:
    if value is None:
        return tag("td")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return tag("td", str(value), class_="fb-number")
    text = value if isinstance(value, str) else json.dumps(value)
    return tag("td", text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def of_arrow(table: Any, where: str = "this table") -> Table:
    """A `Table` of an Arrow table. Raises TableError where its layout is none of ours."""
    layout = (table.schema.metadata or {}).get(b"firstbyte", b"").decode("utf-8", "replace")
    if layout not in (*COLUMNS, TRIAL):
        found = f"has the layout {layout!r}" if layout else "names no layout"
        raise TableError(f"{safe(where)} {found}; known here: {', '.join((*COLUMNS, TRIAL))}")
    wanted = schema_of(layout)
    for column in wanted:  # one that was added later, which is no new layout, has no value yet
        if column.name not in table.column_names:
            table = table.append_column(column.name, pyarrow().nulls(len(table), column.type))
    try:
        table = table.select(wanted.names).cast(wanted)
    except (ValueError, TypeError) as error:  # pyarrow's own are among them
        raise TableError(f"{safe(where)} is {layout} with other types: {safe(str(error))}") from None
    result = Table(layout, table.to_pylist)
    result._arrow = table
    return result


def read_parquet(path: str | PathLike[str]) -> Table:
    """A table again from Parquet: written by `Table.to_parquet`, `firstbyte scan` or `firstbyte matrix`.

    A folder is all Parquet files in it. Raises OSError, and TableError where it is no table of ours, or one
    of a layout that is not known here.

    >>> import tempfile
    >>> from dissect import firstbyte as fb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fb.open("pcaps/spicy--qemu-vnc.pcapng").table().to_parquet(f"{folder}/x.parquet")
    ...     fb.read_parquet(f"{folder}/x.parquet").to_pandas()["verdict"].item()
    'wrong-protocol'
    """
    arrow = pyarrow()
    try:
        return of_arrow(arrow.parquet.read_table(path), str(path))
    except arrow.ArrowInvalid as error:
        raise TableError(f"{safe(str(path))}: no Parquet that can be read: {safe(str(error))}") from None
