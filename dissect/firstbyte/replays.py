# SPDX-License-Identifier: GPL-2.0-or-later
"""A recorded conversation again, at a live server: what `firstbyte replay` does, from a program."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING

from dissect.firstbyte import display
from dissect.firstbyte.conversations import Conversation
from dissect.replay import telling
from dissect.replay.compare import Difference, Rules
from dissect.replay.outcome import Outcome, Result

if TYPE_CHECKING:
    from dissect.replay.plan import Plan
    from dissect.replay.player import Options


class ReplayError(Exception):
    """A replay that was not begun; `str()` says why, in one line or with the choices that there are below."""


class Replayed:
    """What one replay came to. Shows itself in a notebook as its differences, and prints as them.

    result: all of it, as `dissect.replay.outcome` has it.

    >>> from dissect import firstbyte as fb
    >>> from dissect.lab.models import VncServer, serving
    >>> recorded = "pcaps/xtigervncviewer--qemu-vnc.pcapng"
    >>> with serving(VncServer(width=640, height=480)) as server:
    ...     found = fb.replay(recorded, to=f"127.0.0.1:{server.port}", through="ServerInit")
    >>> found, bool(found), found.differences
    (<Replayed: pass>, True, [])
    >>> with serving(VncServer(width=160, height=480)) as server:
    ...     found = fb.replay(recorded, to=f"127.0.0.1:{server.port}", through="ServerInit")
    >>> found, bool(found)
    (<Replayed: diff>, False)
    >>> [(one.message, one.field, one.expected, one.got) for one in found.differences]
    [('ServerInit', 'framebuffer_width', 640, 160)]
    """

    def __init__(self, result: Result) -> None:
        self.result = result

    @property
    def outcome(self) -> Outcome:
        """The word for it: "pass", "diff", "timeout", "early-close", "reset", "refused", "inconclusive"."""
        return self.result.outcome

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        return self.result.reason

    @property
    def differences(self) -> list[Difference]:
        """What was answered otherwise than recorded: message, field, expected, got."""
        return self.result.differences

    def __bool__(self) -> bool:
        """Whether the server answered as recorded. Nothing compared is never a pass."""
        return self.outcome is Outcome.PASS

    def __repr__(self) -> str:
        return f"<Replayed: {self.outcome}>"

    def __str__(self) -> str:
        return "\n".join(telling.describe(self.result))

    def _repr_html_(self) -> str:
        return display.replay(self.result)


def replay(
    what: Conversation | str | PathLike[str],
    *,
    to: str,
    conversation: int | None = None,
    through: str | None = None,
    password: str | None = None,
    early_prefix: float | None = None,
    deadline: float = 10.0,
    rules: Rules | None = None,
    allow_hosts: Iterable[str] = (),
) -> Replayed:
    """Play the client's side of a recorded conversation at a live server, and compare its answers.

    what: a conversation, or a capture and `conversation`, its number, where there are several. to:
    "HOST:PORT", "[IPv6]:PORT" or "unix:PATH"; a host that is not loopback must be in `allow_hosts`, since a
    replay logs in, types and clicks there. through: stop comparing after this message. early_prefix: send
    `RFB ` after so many seconds, before the greeting. deadline: seconds. rules: how fields are compared.

    Works inside a notebook, whose own event loop goes on. Raises ReplayError where nothing can be sent, and
    `CaptureError` where the capture cannot be read. What the server does is an outcome, never an exception.

    >>> from dissect import firstbyte as fb
    >>> from dissect.lab.models import SpiceServer, serving
    >>> (cure,) = fb.open("pcaps/gvncviewer--qemu-spice.pcapng")
    >>> with serving(SpiceServer(judges_after=4)) as server:
    ...     fb.replay(cure, to=f"127.0.0.1:{server.port}").outcome
    <Outcome.PASS: 'pass'>
    """
    from dissect.replay import plan as plans
    from dissect.replay.player import Options
    from dissect.replay.voices import refusal

    if isinstance(what, Conversation):
        source, conversation = what.capture, what.number
    else:
        source = str(what)
    options = Options(
        password=password,
        through=through,
        early_prefix_ns=None if early_prefix is None else round(early_prefix * 1e9),
        rules=rules or Rules(),
    )
    found, _ = plans.load(source, only=conversation)
    try:
        plan = plans.choose(found, conversation)
    except plans.Unplayable as error:
        raise ReplayError(str(error)) from None
    names = {item.message.name for item in plan.expected}
    if through is not None and through not in names:
        raise ReplayError(f"no message {through} of the {plan.peer} in the recording")
    if why := refusal(plan, password, None):
        raise ReplayError(f"conversation {plan.index} cannot be replayed: {why}")
    return Replayed(_apart(plan, options, to, tuple(allow_hosts), deadline))


def _apart(plan: Plan, options: Options, to: str, allowed: tuple[str, ...], deadline: float) -> Result:
    """Play in a thread of its own: a notebook's event loop runs in the one that calls."""
    found: list[Result] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(asyncio.run(_play(plan, options, to, allowed, deadline)))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="replay", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


async def _play(plan: Plan, options: Options, to: str, allowed: tuple[str, ...], deadline: float) -> Result:
    from dissect.replay.player import Player
    from dissect.replay.transports import NotAllowed, Sockets, Target, resolve, words

    player = Player(plan, options)
    if player.why_not is not None:
        raise ReplayError(f"conversation {plan.index} cannot be replayed: {player.why_not}")
    try:
        target = await resolve(Target.parse(to), allowed, min(deadline, 10.0))
    except NotAllowed as error:
        raise ReplayError(str(error)) from None
    except TimeoutError:
        raise ReplayError(f"{to}: the name was not resolved in time") from None
    except OSError as error:
        raise ReplayError(f"{to}: {words(error)}") from None
    return await Sockets(target).play(player, deadline)
