# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte plot INPUT...`: pictures of captures, of a matrix's results and of probes."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from dissect.app import terminal
from dissect.app.captures import add_capture_arguments, read_captures
from dissect.app.labels import labels, programs
from dissect.app.main import INCONCLUSIVE, PASS
from dissect.dissection.reading import Dissected
from dissect.stream.side import Side
from dissect.timing.observations import Observation, observe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("ladder", "detection", "heat", "times", "curves", "rtt", "bytes")
OF_TRIALS = ("heat", "times", "curves", "rtt")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_capture_arguments(parser, many=True)
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="the picture, .png or .svg (default: firstbyte-ladder.png or firstbyte-detection.png here)",
    )
    parser.add_argument(
        "--kind",
        choices=KINDS,
        help="ladder: the messages of one conversation (default where there is one); "
        "detection: when each side noticed, in all of them (default else). Of a matrix's results, heat: "
        "a map of clients and servers (default), times: every trial, pair by pair, curves: the share that "
        "has noticed, rtt: what grows with the round trip (of matrix --rtt). bytes: bytes to detection, of "
        "what probe --json prints",
    )
    parser.add_argument(
        "--side", choices=[str(side) for side in Side], default="client", help="of results: who had to notice"
    )
    parser.epilog = (
        "example: firstbyte plot pcaps/gvncviewer--qemu-spice.pcapng -o talk.svg\n"
        "         firstbyte plot pcaps/*.pcapng --kind detection\n"
        "         firstbyte plot run/ --kind times -o times.svg"
    )


def run(args: Namespace) -> int:
    """Draw and write the picture; 3 where there is nothing to draw."""
    _quiet()
    from dissect.timing.plots import FORMATS

    kind_of_file = _format(args.output, FORMATS) if args.output is not None else "png"
    drawn = _results(args)
    if drawn is not None:
        return _write(args, *drawn, kind_of_file)
    if args.kind in (*OF_TRIALS, "bytes"):
        raise terminal.Unusable(
            f"--kind {args.kind} needs results, and these are none", source=args.captures[0]
        )
    called = labels(args.captures)
    # Only a ladder needs the records, and only those of the one conversation that it shows.
    chosen: tuple[str, Dissected] | None = None
    conversations = 0
    observations: list[Observation] = []
    for name, dissected in read_captures(
        args.captures, records=args.kind != "detection", only=args.conversation
    ):
        conversations += 1
        chosen = (name, dissected) if conversations == 1 else None
        observations += observe(dissected, label=called[name])

    kind = args.kind or ("ladder" if conversations == 1 else "detection")
    if kind == "ladder":
        if chosen is None:
            raise terminal.Unusable(_which(args, conversations))
        figure = _ladder(*chosen, called[chosen[0]])
    elif observations:
        figure = _detections(observations)
    else:
        found = terminal.plural(conversations, "conversation")
        terminal.complain(f"nothing to plot: no side had anything to notice ({found})")
        return INCONCLUSIVE

    facts: dict[str, object] = {"conversations": conversations, "observations": len(observations)}
    return _write(args, figure, kind, facts, kind_of_file)


def _results(args: Namespace) -> tuple[Figure, str, dict[str, object]] | None:
    """The picture of a matrix's results or of probes, its kind, what it is of; None where it is neither."""
    from dissect.timing.results import ResultsError, Row, is_results, read_probes, read_rows

    names = [name for name in args.captures if name != "-" and is_results(name)]
    if not names:
        return None
    if len(names) < len(args.captures):
        other = next(name for name in args.captures if name not in names)
        raise terminal.Unusable("captures and results do not go into one picture", source=other)
    from dissect.timing import plots
    from dissect.timing.estimators import StatisticsMissing

    probes = [read_probes(name) for name in names]
    try:
        if all(probes):
            if args.kind not in (None, "bytes"):
                raise terminal.Unusable(f"of a probe there is --kind bytes, not {args.kind}", source=names[0])
            found = [one for each in probes for one in each]
            return plots.staircase(found), "bytes", {"probes": len(found)}
        rows: list[Row] = []
        for name in names:
            read, problems = read_rows(name)
            rows += read
            for problem in problems:
                terminal.complain(problem)
        kind = args.kind or "heat"
        if kind not in OF_TRIALS:
            raise terminal.Unusable(
                f"of a matrix there is {', '.join(OF_TRIALS)}, not {kind}", source=names[0]
            )
        if kind == "rtt":
            return plots.round_trips(rows), kind, {"trials": len(rows)}
        draw = {"heat": plots.heat_map, "times": plots.before_after, "curves": plots.curves}[kind]
        return draw(rows, side=Side(args.side)), kind, {"trials": len(rows)}
    except (ResultsError, StatisticsMissing) as error:
        raise terminal.Unusable(str(error)) from None
    except ValueError as error:  # nothing to draw
        raise terminal.Unusable(str(error), source=names[0]) from None


def _write(args: Namespace, figure: Figure, kind: str, facts: dict[str, object], kind_of_file: str) -> int:
    """Write a picture and say where it is."""
    from dissect.timing.plots import save

    path = args.output if args.output is not None else f"firstbyte-{kind}.png"
    target = BytesIO()  # so that a half-written file is never left behind by a fault while drawing
    save(figure, target, kind_of_file)
    Path(path).write_bytes(target.getvalue())
    print(json.dumps({"path": path, "kind": kind, **facts}) if args.json else terminal.link(path))
    return PASS


def _ladder(name: str, dissected: Dissected, label: str) -> Figure:
    from dissect.timing.plots import ladder

    # Of a reversed connection the index does not say which of its programs opened it.
    names = {} if dissected.verdict.reversed else programs(name)
    return ladder(dissected, capture=label, names=names)


def _detections(observations: Sequence[Observation]) -> Figure:
    from dissect.timing.plots import detection_times

    return detection_times(observations)


def _quiet() -> None:
    """Keep matplotlib's remarks on its font cache off stderr: they are no problem of the input."""
    import logging

    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def _format(path: str, formats: Sequence[str]) -> str:
    """The format that a file's suffix asks for."""
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in formats:
        known = " or ".join(f".{name}" for name in formats)
        raise terminal.Unusable(f"a picture's name ends in {known}", source=path)
    return suffix


def _which(args: Namespace, conversations: int) -> str:
    found = terminal.plural(conversations, "conversation")
    if args.conversation is None:
        return f"a ladder shows one conversation, and there are {found}: choose with --conversation N"
    return f"a ladder shows one conversation, and there are {found} of that number: name one capture"
