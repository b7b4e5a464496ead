# SPDX-License-Identifier: GPL-2.0-or-later
"""The form of a suite: TOML in, checked cases and targets out.

Every mistake is a `PeerTableError` (or another `LabError`), whose text is one line: the file, the table, the
key and the reason. docs/check.md describes every key.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissect.lab.errors import LabError, PeerTableError
from dissect.lab.peers import Peer, Reader, Role, find_peer, kind_of, load_peers, peer_from
from dissect.lab.probing.stimuli import PROTOCOLS, SWEEPS
from dissect.replay.compare import Rules, RulesError
from dissect.replay.outcome import Outcome
from dissect.replay.player import Options, Pace, Shape
from dissect.replay.transports import NotAllowed
from dissect.replay.transports import Target as Address
from dissect.stream.side import Side

if TYPE_CHECKING:
    from dissect.lab.models import Model

NAME = re.compile(r"\w[\w.+-]*")
"""Names of cases and targets: they become names of files, also where a file's name may hold little."""

MAY_BE_CALLED = "must be made of letters, digits and . + - _, since files are named after it"

DEADLINE_S, PROBE_DEADLINE_S = 30.0, 2.0
GAP_NS = Shape().gap_ns
LONGEST_S = 3600.0
MOST_RUNS = 100_000


@dataclass(frozen=True, slots=True)
class Timing:
    """How times are judged. level: of the test, one-sided. effect_ns, effect_ratio: a slow-down is one only
    beyond both, the ratio being of the recorded median. samples: runs of a timed case.
    """

    level: float = 0.001
    effect_ns: int = 25_000_000
    effect_ratio: float = 0.25
    samples: int = 20

    def effect(self, median_ns: int) -> int:
        """How much slower than `median_ns` something must be to be called so, ns."""
        return max(self.effect_ns, round(self.effect_ratio * median_ns))


@dataclass(frozen=True, slots=True)
class Expect:
    """What must be true of each run. Nothing said: a replay passes, or does what its baseline holds.

    outcome: any of these. differs: "Message.field" that must be among the differences. within_ns: the peer's
    answer and its detection come no later. noticed: protocol -> bytes after which it must be noticed. never:
    protocols that must not be noticed. answered: each stimulus of the sweeps must be answered or ended, but
    for those in `hangs` (patterns of their labels). speaks: what a probe must find. baseline: one must exist.
    """

    outcome: tuple[Outcome, ...] = ()
    differs: tuple[str, ...] = ()
    within_ns: int | None = None
    noticed: tuple[tuple[str, int], ...] = ()
    never: tuple[str, ...] = ()
    answered: bool = False
    hangs: tuple[str, ...] = ()
    speaks: str | None = None
    baseline: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """What a probe sends; see `dissect.lab.probing`."""

    protocols: tuple[str, ...] = ()
    lengths: tuple[int, ...] | None = None
    sweeps: tuple[str, ...] = ()
    delay_s: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """One case: a capture to be played again, or a probe.

    played: the side that we play. conversation: None: all of the capture, in order, SPICE sessions whole.
    session_id: a SPICE channel played by itself, as of the session of that number. runs: how often it is run
    where nobody asks for more; timed: its times belong to what is judged.
    """

    name: str
    about: str = ""
    capture: str | None = None
    probe: Probe | None = None
    played: Side = Side.CLIENT
    conversation: int | None = None
    session_id: int | None = None
    options: Options = field(default_factory=Options)
    deadline_s: float = DEADLINE_S
    password: str | None = None
    expect: Expect = field(default_factory=Expect)
    targets: tuple[str, ...] = ("*",)
    tags: tuple[str, ...] = ()
    runs: int = 1
    timed: bool = False

    @property
    def needs(self) -> Role:
        """What a target must be."""
        return Role.SERVER if self.played is Side.CLIENT else Role.CLIENT


@dataclass(frozen=True, slots=True)
class Target:
    """A build: exactly one of peer (a program to start), address (it runs already) and model.

    judged_by: the name under which its baselines lie. optional: left out where its program is not installed.
    shared: one start for all its cases, which then run one after the other.
    """

    name: str
    peer: Peer | None = None
    address: Address | None = None
    model: Model | None = None
    arguments: tuple[str, ...] = ()
    password: str | None = None
    host: str = "127.0.0.1"
    judged_by: str = ""
    optional: bool = False
    shared: bool = False

    @property
    def role(self) -> Role:
        """Whether it is a server or a client."""
        return Role.SERVER if self.peer is None else self.peer.role


@dataclass(frozen=True)
class Suite:
    """A suite, checked. Paths are as they can be opened from here."""

    file: str
    name: str
    cases: Mapping[str, Case]
    targets: Mapping[str, Target]
    baselines: Path
    timing: Timing = field(default_factory=Timing)

    def pairs(self) -> list[tuple[Case, Target]]:
        """Every case with every target that it is for, in the order of the file."""
        return [
            (case, target)
            for case in self.cases.values()
            for target in self.targets.values()
            if target.role is case.needs and any(fnmatchcase(target.name, one) for one in case.targets)
        ]


def bundled() -> list[str]:
    """The names of the suites that are brought along."""
    folder = resources.files("dissect.check").joinpath("suites")
    return sorted(Path(one.name).stem for one in folder.iterdir() if one.name.endswith(".toml"))


def find(name: str) -> Path:
    """The file of a suite: a path, or the name of a bundled one. Raises LabError."""
    path = Path(name)
    if path.exists() or path.suffix or "/" in name:
        return path
    if name in bundled():
        return Path(str(resources.files("dissect.check").joinpath("suites", f"{name}.toml")))
    raise LabError(f"{name}: neither a file nor a bundled suite ({', '.join(bundled())})")


def load(path: str | Path, captures: Sequence[str | Path] = ()) -> Suite:
    """The suite in a file. Raises LabError: one line that says where and why.

    captures: more folders in which its captures are looked for.
    """
    path = Path(path)
    file = str(path)
    try:
        data = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise PeerTableError(file, None, None, error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise PeerTableError(file, None, None, f"not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise PeerTableError(file, None, None, f"not TOML: {error}") from None
    return suite_from(data, file, captures)


def suite_from(data: Mapping[str, Any], file: str, more: Sequence[str | Path] = ()) -> Suite:
    """The suite of tables that were read already. Raises LabError."""
    read = _Tables(file, "", data)
    read.only("name", "captures", "baselines", "peers", "timing", "target", "case")
    directory = Path(file).parent
    captures = [directory / name for name in read.words("captures") or (".",)]
    captures += [Path(one) for one in more]
    stem = Path(file).stem
    peers = load_peers(*[directory / name for name in read.strings("peers")])
    targets = {name: target_from(name, table, file, peers) for name, table in read.tables("target")}
    timing = _timing(read)
    cases = {}
    for name, table in _spread(read, captures, targets):
        case = case_from(name, table, file, captures, timing)
        if not any(fnmatchcase(one, pattern) for one in targets for pattern in case.targets):
            known = ", ".join(targets) or "none"
            raise PeerTableError(file, f"case.{name}", "targets", f"no such target; there are: {known}")
        _check_roles(case, targets, file)
        cases[name] = case
    if not cases:
        raise PeerTableError(file, None, "case", "there is no case in it")
    if not targets:
        raise PeerTableError(file, None, "target", "there is no target in it")
    baselines = directory / (read.string("baselines") or f"{stem}.baselines")
    return Suite(file, read.string("name") or stem, cases, targets, baselines, timing)


def _check_roles(case: Case, targets: Mapping[str, Target], file: str) -> None:
    """Raise PeerTableError where a target that a case names is of the wrong kind: it would never be run."""
    for pattern in case.targets:
        named = [one for one in targets.values() if fnmatchcase(one.name, pattern)]
        if named and not any(one.role is case.needs for one in named):
            what = "a probe" if case.probe is not None else f'role = "{case.played}"'
            why = f"{named[0].name} is a {named[0].role}, and {what} needs a {case.needs}"
            raise PeerTableError(file, f"case.{case.name}", "targets", why)


class _Tables(Reader):
    """A `Reader` that knows more kinds of values."""

    def tables(self, key: str) -> list[tuple[str, Mapping[str, Any]]]:
        """The tables below `key`, by names that may name files."""
        below = self.data.get(key, {})
        if not isinstance(below, dict):
            raise self.fail(key, f"must be tables, [{key}.NAME], not {kind_of(below)}")
        for name, table in below.items():
            if not NAME.fullmatch(name):
                raise self.fail(f"{key}.{name}", MAY_BE_CALLED)
            if not isinstance(table, dict):
                raise self.fail(f"{key}.{name}", f"must be a table, not {kind_of(table)}")
        return list(below.items())

    def table_of(self, key: str) -> _Tables | None:
        below = self.below(key)
        return None if below is None else _Tables(below.file, below.table, below.data, below.inside)

    def integer(self, key: str, default: int | None, least: int, most: int) -> int | None:
        value = self.data.get(key, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(key, f"must be a whole number, not {kind_of(value)}")
        if not least <= value <= most:
            raise self.fail(key, f"must be from {least} to {most}, not {value}")
        return value

    def real(self, key: str, default: float, least: float, most: float, what: str) -> float:
        value = self.data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(key, f"must be a number, not {kind_of(value)}")
        if not least <= value <= most:
            raise self.fail(key, f"must be {what} from {least:g} to {most:g}, not {value}")
        return float(value)

    def seconds(self, key: str) -> int | None:
        """A duration in seconds, as ns; None where it is not given."""
        if key not in self.data:
            return None
        return round(self.real(key, 0, 0, LONGEST_S, "a number of seconds") * 1e9)

    def words(self, key: str, allowed: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A string or a list of strings; each one of `allowed`."""
        value = self.data.get(key, [])
        found = (value,) if isinstance(value, str) else self.strings(key)
        for word in found:
            if allowed is not None and word not in allowed:
                near = difflib.get_close_matches(word, allowed, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"must be among {', '.join(allowed)}"
                raise self.fail(key, f"no {word!r} here; {hint}")
        return found


def _timing(read: _Tables) -> Timing:
    below = read.table_of("timing")
    if below is None:
        return Timing()
    below.only("level", "effect_ms", "effect_ratio", "samples")
    usual = Timing()
    return Timing(
        level=below.real("level", usual.level, 1e-9, 0.2, "a probability"),
        effect_ns=round(below.real("effect_ms", usual.effect_ns / 1e6, 0, 1e6, "milliseconds") * 1e6),
        effect_ratio=below.real("effect_ratio", usual.effect_ratio, 0, 100, "a ratio"),
        samples=below.integer("samples", usual.samples, 5, MOST_RUNS) or usual.samples,
    )


# --- targets --------------------------------------------------------------------------------------------

WAYS = ("peer", "command", "extends", "address", "model")


def target_from(name: str, data: Mapping[str, Any], file: str, peers: Mapping[str, Peer]) -> Target:
    """The target of one table. Raises PeerTableError, UnknownPeer."""
    read = _Tables(file, f"target.{name}", data)
    given = [key for key in WAYS if key in data and not (key == "command" and "extends" in data)]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise read.fail(found, "a target has one of peer, command, extends, address, model")
    common = {"arguments", "password", "judged_by", "optional", "shared", "host"}
    peer: Peer | None = None
    address: Address | None = None
    model: Model | None = None
    asked = read.string("password") if not isinstance(data.get("password"), dict) else None
    match given[0]:
        case "peer":
            read.only("peer", *common)
            peer = find_peer(peers, read.string("peer") or "")
            if peer.role is Role.DISPLAY:
                raise read.fail("peer", f"{peer.name} is a display; a target is a server or a client")
        case "address":
            read.only("address", "password", "judged_by")
            try:
                address = Address.parse(read.string("address") or "")
            except NotAllowed as error:
                raise read.fail("address", str(error)) from None
        case "model":
            from dissect.check.models import model_from

            read.only("model", "settings", "faults", "judged_by", "shared", "host")
            model = model_from(read)
        case _:
            peer = _program(name, read, data, peers, common)
    return Target(
        name=name,
        peer=peer,
        address=address,
        model=model,
        arguments=read.strings("arguments"),
        password=asked,
        host=read.string("host") or "127.0.0.1",
        judged_by=_file_name(read, "judged_by") or name,
        optional=read.flag("optional"),
        shared=read.flag("shared") or address is not None,
    )


def _file_name(read: Reader, key: str) -> str | None:
    value = read.string(key)
    if value is not None and not NAME.fullmatch(value):
        raise read.fail(key, MAY_BE_CALLED)
    return value


def _program(
    name: str, read: _Tables, data: Mapping[str, Any], peers: Mapping[str, Peer], common: set[str]
) -> Peer:
    """A peer that the suite describes itself, in the keys of a table of peers."""
    own = {
        key: value
        for key, value in data.items()
        if key not in common or (key == "password" and isinstance(value, dict))
    }
    base = own.pop("extends", None)
    directory = str(Path(read.file).resolve().parent)
    if base is None:
        if isinstance(own.get("command"), str):
            raise read.fail("command", "must be a list of strings: the program, and each argument by itself")
        filled = {"role": "server", "protocol": "rfb", **own}
        if filled["role"] == "server":
            filled.setdefault("ready", {"listening": True})
        return peer_from(name, filled, f"{read.file}: [target.{name}]", directory)
    if not isinstance(base, str):
        raise read.fail("extends", f"must be a string, not {kind_of(base)}")
    known = find_peer(peers, base)
    under = {
        "role": str(known.role), "protocol": str(known.protocol), "command": list(known.command),
        "plain": list(known.plain), "screen": known.screen, "ipv4_only": known.ipv4_only,
        "environment": dict(known.environment), "package": list(known.package), "notes": known.notes,
    }  # fmt: skip
    from dataclasses import replace

    made = peer_from(name, {**under, **own}, f"{read.file}: [target.{name}]", directory)
    keep = {
        key: getattr(known, key)
        for key in ("password", "ready", "version", "needs", "busy")
        if key not in own
    }
    return replace(made, **keep, variant_of=base)


# --- cases ----------------------------------------------------------------------------------------------

REPLAY_KEYS = (
    "capture", "role", "conversation", "session_id", "pace", "speed", "shape", "gap", "early_prefix",
    "through", "password", "silence", "idle_cap", "rules",
)  # fmt: skip
PROBE_KEYS = ("probe", "lengths", "sweep", "delay", "seed")
COMMON_KEYS = ("about", "deadline", "expect", "targets", "tags", "runs", "timed")


def case_from(
    name: str, data: Mapping[str, Any], file: str, captures: Sequence[Path], timing: Timing | None = None
) -> Case:
    """The case of one table; `captures`: the folders that may hold its capture. Raises PeerTableError."""
    timing = timing or Timing()
    read = _Tables(file, f"case.{name}", data)
    is_probe = "probe" in data or "sweep" in data
    if ("capture" in data) == is_probe:
        raise read.fail("capture", "a case has either a capture, or a probe (or sweep)")
    if is_probe:
        wrong = [key for key in REPLAY_KEYS if key in data]
        if wrong:
            raise read.fail(wrong[0], "is for a capture, and this case is a probe")
    read.only(*COMMON_KEYS, *(PROBE_KEYS if is_probe else REPLAY_KEYS))
    timed = read.flag("timed")
    runs = read.integer("runs", None, 1, MOST_RUNS)
    deadline = PROBE_DEADLINE_S if is_probe else DEADLINE_S
    if runs is not None and timed and not is_probe and runs < 5:
        raise read.fail("runs", f"a timed case needs 5 runs or more, not {runs}")
    case = Case(
        name=name,
        about=read.string("about") or "",
        capture=None if is_probe else _capture(read, captures),
        probe=_probe(read) if is_probe else None,
        played=Side.CLIENT,
        deadline_s=read.real("deadline", deadline, 0.001, LONGEST_S, "a number of seconds"),
        expect=_expect(read, is_probe),
        targets=read.words("targets") or ("*",),
        tags=read.words("tags"),
        runs=runs or (timing.samples if timed and not is_probe else 1),
        timed=timed,
    )
    return case if is_probe else _replay(read, case)


PATTERN = re.compile(r"[*?[{]")


def _spread(
    read: _Tables, captures: Sequence[Path], targets: Mapping[str, Target]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tables of cases; one whose capture is a pattern becomes one for each file, NAME.FILE.

    `{target}` in a pattern is the name of each of the case's targets, and that file is for this target only.
    """
    for name, table in read.tables("case"):
        given = table.get("capture")
        below = _Tables(read.file, f"case.{name}", table)
        if given is None or (isinstance(given, str) and not PATTERN.search(given)):
            if "except" in table:
                raise below.fail("except", "is for a capture that is a pattern")
            yield name, table
            continue
        left_out, wanted = below.words("except"), below.words("targets") or ("*",)
        rest = {key: value for key, value in table.items() if key != "except"}
        found: dict[Path, list[str]] = {}
        for pattern in below.words("capture"):
            names = [one for one in targets if any(fnmatchcase(one, each) for each in wanted)]
            for of in names if "{target}" in pattern else [""]:
                for path in _matching(below, captures, pattern.replace("{target}", of)):
                    if not any(fnmatchcase(path.name, one) for one in left_out):
                        found.setdefault(path, []).extend([of] if of else wanted)
        if not found:
            raise below.fail("except", "leaves no capture")
        used: Counter[str] = Counter()
        for path, of_targets in sorted(found.items()):
            stem = re.sub(r"[^\w.+-]", "_", path.name.removesuffix(path.suffix))
            used[stem] += 1  # a.pcap beside a.pcapng
            of_file = f"{name}.{stem}" + (f"-{used[stem]}" if used[stem] > 1 else "")
            yield of_file, {**rest, "capture": str(path.absolute()), "targets": of_targets}


def _matching(below: Reader, captures: Sequence[Path], pattern: str) -> list[Path]:
    try:
        matched = [path for folder in captures for path in folder.glob(pattern) if path.is_file()]
    except (ValueError, NotImplementedError) as error:
        raise below.fail("capture", f"{pattern!r}: {error}") from None
    if not matched:
        raise below.fail("capture", f"{pattern}: no such file in {_listed(captures)}")
    return matched


def _listed(folders: Sequence[Path]) -> str:
    return " or ".join(str(folder) for folder in folders)


def _capture(read: _Tables, captures: Sequence[Path]) -> str:
    name = read.string("capture") or ""
    for folder in captures:
        if (folder / name).is_file():
            return str(folder / name)
    why = "is a directory" if any((folder / name).is_dir() for folder in captures) else "no such file"
    raise read.fail("capture", f"{name}: {why} in {_listed(captures)}")


def _replay(read: _Tables, case: Case) -> Case:
    from dataclasses import replace

    role = read.choice("role", Side) or Side.CLIENT
    pace = read.choice("pace", Pace) or Pace.LOCKSTEP
    early = read.data.get("early_prefix")
    if isinstance(early, bool):
        early_ns = 0 if early else None
    else:
        early_ns = read.seconds("early_prefix")
    cap_ns = read.seconds("idle_cap")
    if cap_ns is None and pace is not Pace.RECORDED:
        cap_ns = Options().idle_cap_ns
    options = Options(
        pace=pace,
        speed=read.real("speed", 1.0, 1e-3, 1e6, "a factor"),
        shape=_shape(read),
        early_prefix_ns=early_ns,
        password=read.string("password"),
        idle_cap_ns=cap_ns,
        silence_ns=read.seconds("silence"),
        through=read.string("through"),
        rules=_rules(read),
    )
    return replace(
        case,
        played=role,
        conversation=read.integer("conversation", None, 0, 1 << 31),
        session_id=read.integer("session_id", None, 0, (1 << 32) - 1),
        options=options,
        password=options.password,
    )


def _shape(read: _Tables) -> Shape:
    value = read.data.get("shape", "captured")
    gap = read.seconds("gap")
    gap_ns = GAP_NS if gap is None else gap
    match value:
        case "captured":
            return Shape(gap_ns=gap_ns)
        case "bytewise":
            return Shape("bytes", gap_ns=gap_ns)
        case "coalesced":
            return Shape("coalesced", gap_ns=gap_ns)
        case [*sizes] if sizes and all(type(size) is int and size > 0 for size in sizes):
            return Shape("split", tuple(sizes), gap_ns)
    choices = '"captured", "bytewise", "coalesced" or a list of sizes in bytes'
    raise read.fail("shape", f"must be {choices}, not {value!r}")


def _rules(read: _Tables) -> Rules:
    value = read.data.get("rules")
    try:
        if isinstance(value, str):
            return Rules.read(Path(read.file).parent / value)
        below = read.below("rules")
        return Rules() if below is None else Rules.of(below.data)
    except RulesError as error:
        raise read.fail("rules", str(error)) from None


def _probe(read: _Tables) -> Probe:
    lengths = read.data.get("lengths")
    if lengths is not None and not (
        isinstance(lengths, list) and lengths and all(type(one) is int and one > 0 for one in lengths)
    ):
        raise read.fail("lengths", "must be a list of numbers of bytes")
    return Probe(
        protocols=read.words("probe", PROTOCOLS),
        lengths=None if lengths is None else tuple(lengths),
        sweeps=read.words("sweep", SWEEPS),
        delay_s=read.real("delay", 0.0, 0.0, LONGEST_S, "a number of seconds"),
        seed=read.integer("seed", 0, 0, 1 << 31) or 0,
    )


def _expect(read: _Tables, is_probe: bool) -> Expect:
    value = read.data.get("expect")
    # Not among them: "inconclusive", since nothing that was not compared is ever right.
    outcomes = tuple(str(one) for one in Outcome if one is not Outcome.INCONCLUSIVE)
    if isinstance(value, str):
        if value == "baseline":
            return Expect(baseline=True)
        return Expect(outcome=tuple(Outcome(one) for one in read.words("expect", (*outcomes, "baseline"))))
    below = read.table_of("expect")
    if below is None:
        return Expect()
    if is_probe:
        below.only("within", "noticed", "never", "answered", "hangs", "speaks", "baseline")
    else:
        below.only("outcome", "differs", "within", "baseline")
    noticed = below.table_of("noticed")
    counts: list[tuple[str, int]] = []
    for name in noticed.data if noticed else ():
        assert noticed is not None
        if name not in PROTOCOLS:
            raise noticed.fail(name, f"must be among {', '.join(PROTOCOLS)}")
        counts.append((name, noticed.integer(name, 0, 1, 1 << 16) or 0))
    return Expect(
        outcome=tuple(Outcome(one) for one in below.words("outcome", outcomes)),
        differs=below.words("differs"),
        within_ns=below.seconds("within"),
        noticed=tuple(counts),
        never=below.words("never", PROTOCOLS),
        answered=below.flag("answered"),
        hangs=below.words("hangs"),
        speaks=below.string("speaks"),
        baseline=below.flag("baseline"),
    )
