# SPDX-License-Identifier: GPL-2.0-or-later
"""The walk over the packets of a large capture, in a form that numba can compile; see `machine`.

`step` takes records out of a buffer, reads their headers, finds their conversations and does for those that
are quiet what `reassembly` and `conversations` would do: advance. Everything else it hands on, in order, as
rows of `todo`; see `swift`, which drives it and is the only one to call it.

A conversation (a slot, one row of `slots`) is in one of these states:

- YOUNG: begun here with a SYN, and so far nothing but the common happened: handshake, bytes in order, and
  first bytes of both sides that say that it is foreign (the caller's table decides). Its first
  packets are remembered by their places; a conversation that ends like this is told in one row (DONE).
- ASLEEP: laid here by the ordinary way, since nobody wants its bytes and nothing of it waits.
- AWAKE: taken by the ordinary way, packet by packet.
- CUT: it was young, and one side sent a RST. For a while what was under way may still come; then it is told
  in one row too (CUT_OFF), at the packet with which that while is over.
- OVER: it ended here; its last packets still belong to it for a while.

The first packet of a YOUNG, CUT or ASLEEP conversation that is any different from what is expected wakes it
(WAKE), and it goes on the ordinary way. So there is one description of TCP, and it is not here.

The same functions run as plain Python, slowly; the tests run them both ways. Only integers are used, no
product or shift here leaves 63 bits, so that both ways count alike, and nothing is made or can fail, so that
what is compiled needs nothing of Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from dissect.stream.recognition import (
    AT_ONCE,
    BY_FIVE,
    BY_LINES,
    FIVE,
    HEAD,
    LINE,
    NOT_HERE,
    WORD,
    WORD_MOST,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers: TypeAlias = npt.NDArray[Any]

Int: TypeAlias = Any
"""An int, or a numpy.int64 where this runs as plain Python."""

# states
FREE, YOUNG, ASLEEP, AWAKE, OVER, CUT = 0, 1, 2, 3, 4, 5

# columns of `slots`; pairs are of the lower and the higher address. What every packet needs comes first, so
# that it lies in few lines of the processor's cache.
STATE, KEY_PORTS, KEY_NETWORK, LAST = 0, 1, 2, 3
NEXT = 4  # a pair
KEY_WORDS = 6  # eight: two for IPv4
PACKETS, STAGE = 14, 15
FIN_NS, FIRST_NS, SENT, DATA_NS = 16, 18, 20, 22  # pairs
PASSED, PASSED_NS, BEFORE, BEFORE_NS, ACKED, SPOKE = 24, 26, 28, 30, 32, 34  # pairs
HASH, SLOT, CLIENT, ORDINAL, FRAME, START, ESTABLISHED, FIRST, HEADS, UNTIL = range(36, 46)
ISN, SENT_BY, HEAD_AT, HEAD_SIZE = 46, 48, 50, 52  # pairs
RESET_NS = 54  # a pair, at most one of which is set
FIN_AT, FIN_FRAME, RESET_AT, RESET_FRAME = 56, 57, 58, 59
EARLIER, LATER = 60, 61  # the queue of those that are CUT: neighbours, as slot + 1
PLACES = 62  # where the records of the first packets lie in the file, and their numbers
MOST_PLACES: Final = 16
BEGINS = 94  # what a head is recognised by, as `beginning` has it: four of the lower address, then the higher
COLUMNS: Final = 104
assert PLACES + 2 * MOST_PLACES <= BEGINS
assert BEGINS + 8 <= COLUMNS
assert COLUMNS % 8 == 0  # whole lines of the cache
KEY: Final = (KEY_PORTS, KEY_NETWORK, *range(KEY_WORDS, KEY_WORDS + 8), HASH, SLOT)
"""The columns that stay while a slot is taken."""

# `state`: what `step` is told and tells
(
    AT, NUMBER, BASE, FORMAT, SIZE, LIMIT, LINK, SCALE, MOST, SEED,
    ROWS, TODO, SNAPS, OPENS, FREE_COUNT, USED, DEAD, ORD, LATEST, UDP, ABSORBED, QUIET,
    LOW, HIGH, NEED, CUT_FIRST, CUT_LAST,
) = range(27)  # fmt: skip
STATES: Final = 27

# formats
PCAP_LITTLE, PCAP_BIG, PCAPNG = 0, 1, 2

# why `step` came back
ENOUGH, MORE, ODD, UNUSUAL, FULL, ROOM = 0, 1, 2, 3, 4, 5
"""`MOST` records were taken; the buffer ends (`NEED` bytes are wanted at `AT`); a record that is not of the
common form; a frame that may hold TCP out of the common form; `todo` is full; no slot is free."""

# kinds of rows of `todo`
SEGMENT, WAKE, DONE, OTHER, CUT_OFF = 0, 1, 2, 3, 4
(
    T_KIND, T_ROW, T_SNAP, T_TIME, T_ADDRESSES, T_SIX, T_SPORT, T_DPORT, T_SEQ, T_ACK, T_FLAGS, T_PAYLOAD,
    T_SIZE, T_END, T_NETWORK, T_ORD, T_START, T_LENGTH, T_LINK, T_OFFSET, T_INTERFACE,
) = range(21)  # fmt: skip
TODO_COLUMNS: Final = 21

# columns of `faces`, the interfaces of a pcapng section
F_LINK, F_SCALE, F_OFFSET, F_LIMIT, F_NUMBER = 0, 1, 2, 3, 4
FACE_COLUMNS: Final = 5

NEVER: Final = -(1 << 62)
HOLD: Final = 32 << 10
TIME_WAIT: Final = 60_000_000_000
LINGER: Final = 1_000_000_000  # after a RST
NEAR: Final = 1 << 20

FIN, SYN, RST, ACK = 1, 2, 4, 16

_WORD: Final = np.frombuffer(WORD, np.uint8)

# Where an index has no sign, none can lie before the beginning, and bytes that follow are loaded together.
ONE, TWO, THREE = np.uint64(1), np.uint64(2), np.uint64(3)


def big2(buffer: Numbers, at: Int) -> Int:
    """Two bytes in network order."""
    first = np.uint64(at)
    return (np.int64(buffer[first]) << 8) | np.int64(buffer[first + ONE])


def big4(buffer: Numbers, at: Int) -> Int:
    """Four bytes in network order."""
    first = np.uint64(at)
    return (
        (np.int64(buffer[first]) << 24)
        | (np.int64(buffer[first + ONE]) << 16)
        | (np.int64(buffer[first + TWO]) << 8)
        | np.int64(buffer[first + THREE])
    )


def little4(buffer: Numbers, at: Int) -> Int:
    """Four bytes, the lowest first."""
    first = np.uint64(at)
    return (
        np.int64(buffer[first])
        | (np.int64(buffer[first + ONE]) << 8)
        | (np.int64(buffer[first + TWO]) << 16)
        | (np.int64(buffer[first + THREE]) << 24)
    )


def behind(one: Int, other: Int) -> Int:
    """How far a sequence number lies behind another, between -2**31 and 2**31."""
    return ((one - other + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def mixed(value: Int, word: Int) -> Int:
    """31 bits of what was before and one more word."""
    return (((value ^ word ^ (word >> 16)) & 0x7FFFFFFF) * 0x1E3779B1 >> 7) & 0x7FFFFFFF


def hash_of(key: Numbers, seed: Int) -> Int:
    """The hash of a key: its ports, network and words."""
    value = mixed(seed, key[0] & 0xFFFFFFFF)
    for number in range(2 if key[0] >> 32 == 0 else 8):
        value = mixed(value, key[2 + number])
    return value


def find(key: Numbers, hashed: Int, slots: Numbers, table: Numbers) -> Int:
    """The slot of a key (ports, network, eight words); -1 where there is none."""
    mask = len(table) - 1
    at = hashed & mask
    while True:
        entry = table[at]
        if entry == 0:
            return -1
        if entry > 0 and entry >> 32 == hashed:
            slot = (entry & 0xFFFFFFFF) - 1
            same = slots[slot, KEY_PORTS] == key[0] and slots[slot, KEY_NETWORK] == key[1]
            number = 0
            words = 2 if key[0] >> 32 == 0 else 8
            while same and number < words:
                same = slots[slot, KEY_WORDS + number] == key[2 + number]
                number += 1
            if same:
                return slot
        at = (at + 1) & mask


def insert(key: Numbers, hashed: Int, state: Numbers, slots: Numbers, table: Numbers, free: Numbers) -> Int:
    """Take a free slot for a key that has none; there must be one."""
    state[FREE_COUNT] -= 1
    slot = free[state[FREE_COUNT]]
    for column in range(COLUMNS):  # one by one: what makes slices of arrays can fail, and this must not
        slots[slot, column] = 0
    slots[slot, SLOT] = slot
    slots[slot, HASH] = hashed
    for number in range(10):
        slots[slot, KEY_PORTS + number if number < 2 else KEY_WORDS + number - 2] = key[number]
    mask = len(table) - 1
    at = hashed & mask
    while table[at] > 0:
        at = (at + 1) & mask
    if table[at] < 0:
        state[DEAD] -= 1
    table[at] = (np.int64(hashed) << 32) | np.int64(slot + 1)
    state[USED] += 1
    return slot


def remove(slot: Int, state: Numbers, slots: Numbers, table: Numbers, free: Numbers) -> None:
    """Free a slot that is taken."""
    mask = len(table) - 1
    at = slots[slot, HASH] & mask
    while table[at] <= 0 or (table[at] & 0xFFFFFFFF) != slot + 1:
        at = (at + 1) & mask
    table[at] = -1
    state[DEAD] += 1
    state[USED] -= 1
    slots[slot, STATE] = FREE
    free[state[FREE_COUNT]] = slot
    state[FREE_COUNT] += 1


def sweep(state: Numbers, slots: Numbers, table: Numbers, free: Numbers) -> None:
    """Free what is over for long enough."""
    for slot in range(len(slots)):
        if slots[slot, STATE] == OVER and state[LATEST] >= slots[slot, UNTIL]:
            remove(slot, state, slots, table, free)


def rebuild(state: Numbers, slots: Numbers, table: Numbers) -> None:
    """Fill an empty table from the slots."""
    mask = len(table) - 1
    for slot in range(len(slots)):
        if slots[slot, STATE] != FREE:
            at = slots[slot, HASH] & mask
            while table[at] != 0:
                at = (at + 1) & mask
            table[at] = (slots[slot, HASH] << 32) | np.int64(slot + 1)
    state[DEAD] = 0


def has_empty_line(buffer: Numbers, start: Int, end: Int) -> bool:
    """Whether a line of a head in lines is empty."""
    for at in range(start, end - 3):
        if buffer[at] == 13 and buffer[at + 1] == 10 and buffer[at + 2] == 13 and buffer[at + 3] == 10:
            return True
    return False


def has_word(buffer: Numbers, start: Int, end: Int) -> bool:
    """Whether a head in lines has `WORD` anywhere."""
    for at in range(start, end - len(_WORD) + 1):
        number = 0
        while number < len(_WORD) and buffer[at + number] | 0x20 == _WORD[number]:
            number += 1
        if number == len(_WORD):
            return True
    return False


def beginning(
    kind: Int, slot: Int, side: Int, start: Int, have: Int, buffer: Numbers, slots: Numbers
) -> None:
    """Keep what a head is recognised by, where that is its beginning (see `recognition`).

    That is up to 12 bytes in three words, and how many there are in a fourth: none where the head must be
    looked at.
    """
    most = 0
    if kind == BY_FIVE:
        most = FIVE
    elif kind == BY_LINES and not has_word(buffer, start, start + min(have, HEAD)):
        most = LINE
    most = min(most, have)
    request = kind == BY_LINES and not (have > 1 and buffer[start] == 72 and buffer[start + 1] == 84)
    words = BEGINS + 4 * side
    count = 0
    while count < most:
        byte = np.int64(buffer[start + count])
        slots[slot, words + (count >> 2)] |= byte << (24 - 8 * (count & 3))
        count += 1
        if request and byte == 32 and count <= WORD_MOST:
            most = count
    slots[slot, words + 3] = count


def noted(kind: Int, row: Int, now: Int, start: Int, stop: Int, state: Numbers, todo: Numbers) -> Int:
    """A new row of `todo`: what it is, and of which record."""
    number = state[TODO]
    todo[number, T_KIND] = kind
    todo[number, T_ROW] = row
    todo[number, T_TIME] = now
    todo[number, T_START] = start
    todo[number, T_END] = stop
    todo[number, T_ORD] = state[ORD]
    state[TODO] = number + 1
    return number


def told(
    kind: Int, slot: Int, row: Int, now: Int, state: Numbers, slots: Numbers, todo: Numbers, snaps: Numbers
) -> None:
    """Hand a conversation on as it is now."""
    snap = state[SNAPS]
    for column in range(COLUMNS):
        snaps[snap, column] = slots[slot, column]
    state[SNAPS] = snap + 1
    number = noted(kind, row, now, 0, 0, state, todo)
    todo[number, T_SNAP] = snap


def advance(slot: Int, side: Int, now: Int, at: Int, size: Int, ack: Int, flags: Int, slots: Numbers) -> None:
    """A quiet packet."""
    slots[slot, LAST] = now
    slots[slot, PACKETS] += 1
    new = at + size
    if new > 0:
        if slots[slot, PASSED + side] > 0:
            slots[slot, BEFORE + side] += slots[slot, PASSED + side]
            slots[slot, BEFORE_NS + side] = slots[slot, PASSED_NS + side]
        slots[slot, PASSED + side] = new
        slots[slot, PASSED_NS + side] = now
        slots[slot, NEXT + side] = (slots[slot, NEXT + side] + new) & 0xFFFFFFFF
        slots[slot, SENT + side] += new
        slots[slot, DATA_NS + side] = now
    if flags & ACK:
        slots[slot, ACKED + side] = ack + 1  # 0 is none


def unlink(slot: Int, state: Numbers, slots: Numbers) -> None:
    """Take a slot out of the queue of those that are CUT."""
    earlier, later = slots[slot, EARLIER], slots[slot, LATER]
    if earlier:
        slots[earlier - 1, LATER] = later
    else:
        state[CUT_FIRST] = later
    if later:
        slots[later - 1, EARLIER] = earlier
    else:
        state[CUT_LAST] = earlier
    slots[slot, EARLIER] = slots[slot, LATER] = 0


def ran_out(slot: Int, now: Int, state: Numbers, slots: Numbers) -> None:
    """What was under way after a RST has had its time."""
    unlink(slot, state, slots)
    slots[slot, STATE] = OVER
    slots[slot, UNTIL] = now + TIME_WAIT


def cut(
    slot: Int,
    side: Int,
    now: Int,
    seq: Int,
    ack: Int,
    flags: Int,
    size: Int,
    place: Int,
    number: Int,
    state: Numbers,
    slots: Numbers,
) -> bool:
    """Take the RST of a young conversation; False where it is not what was expected."""
    if flags & (SYN | FIN) or size or now <= 0 or now < slots[slot, LAST] or now < state[LATEST]:
        return False
    stage = slots[slot, STAGE]
    if slots[slot, FIN_NS + side] or now == slots[slot, FIRST_NS + 1 - side]:
        return False
    if stage > 0 or side == slots[slot, CLIENT]:  # of a server that answers nothing else no number is known
        off = behind(seq, slots[slot, NEXT + side])
        if off > NEAR or off < -NEAR or (off and stage < 2):
            return False
    slots[slot, RESET_NS + side] = now
    slots[slot, RESET_AT] = place
    slots[slot, RESET_FRAME] = number
    slots[slot, LAST] = now
    slots[slot, UNTIL] = now + LINGER
    slots[slot, STATE] = CUT
    last = state[CUT_LAST]
    slots[slot, EARLIER] = last
    if last:
        slots[last - 1, LATER] = slot + 1
    else:
        state[CUT_FIRST] = slot + 1
    state[CUT_LAST] = slot + 1
    return True


def grown(
    slot: Int,
    side: Int,
    now: Int,
    seq: Int,
    ack: Int,
    flags: Int,
    size: Int,
    payload: Int,
    stop: Int,
    place: Int,
    number: Int,
    buffer: Numbers,
    base: Int,
    slots: Numbers,
    firsts: Numbers,
) -> bool:
    """Take a packet of a young conversation; False where it is not what was expected."""
    other = 1 - side
    stage = slots[slot, STAGE]
    last = slots[slot, LAST]
    if now < last or now <= 0:
        return False
    heads = slots[slot, HEADS]
    if stage < 3:
        if heads >= MOST_PLACES:
            return False
        if stage == 0:  # the SYN-ACK
            expected = (
                side != slots[slot, CLIENT]
                and flags & (SYN | FIN | ACK) == SYN | ACK
                and size == 0
                and ack == slots[slot, NEXT + other]
            )
            if not expected:
                return False
            slots[slot, ISN + side] = seq
            slots[slot, NEXT + side] = (seq + 1) & 0xFFFFFFFF
            slots[slot, STAGE] = 1
        elif stage == 1:  # the last ACK of the handshake
            expected = (
                side == slots[slot, CLIENT]
                and flags & (SYN | FIN | ACK) == ACK
                and size == 0
                and seq == slots[slot, NEXT + side]
                and ack == slots[slot, NEXT + other]
            )
            if not expected:
                return False
            slots[slot, ESTABLISHED] = now
            slots[slot, STAGE] = 2
        else:  # the first bytes of each side
            if flags & (SYN | FIN | ACK) != ACK or seq != slots[slot, NEXT + side]:
                return False
            if behind(ack, slots[slot, NEXT + other]) > 0:
                return False
            if size > 0:
                if slots[slot, SENT] + slots[slot, SENT + 1] + size > HOLD:
                    return False
                if slots[slot, SPOKE + other] and now == slots[slot, FIRST_NS + other]:
                    return False
                if slots[slot, SPOKE + side] == 0:
                    have = min(payload + size, stop) - payload
                    kind: Int = np.int64(NOT_HERE)
                    if have > 0:
                        kind = np.int64(firsts[buffer[payload]])
                    known = kind == AT_ONCE or (kind == BY_FIVE and have >= 5)
                    if kind == BY_LINES:
                        known = have >= HEAD or has_empty_line(buffer, payload, payload + min(have, HEAD))
                    if not known:
                        return False
                    slots[slot, SPOKE + side] = 1
                    slots[slot, FIRST_NS + side] = now
                    slots[slot, SENT_BY + other] = slots[slot, SENT + other]
                    slots[slot, HEAD_AT + side] = base + payload
                    slots[slot, HEAD_SIZE + side] = min(have, HEAD)
                    beginning(kind, slot, side, payload, have, buffer, slots)
                    if slots[slot, SPOKE + other] == 0:
                        slots[slot, FIRST] = side
                    else:
                        slots[slot, STAGE] = 3
                slots[slot, NEXT + side] = (seq + size) & 0xFFFFFFFF
                slots[slot, SENT + side] += size
                slots[slot, DATA_NS + side] = now
        slots[slot, PLACES + 2 * heads] = place
        slots[slot, PLACES + 2 * heads + 1] = number
        slots[slot, HEADS] = heads + 1
        slots[slot, LAST] = now
        return True
    at = behind(seq, slots[slot, NEXT + side])
    if flags & SYN or at > 0 or at <= -(1 << 30) or size >= 1 << 20:
        return False
    if flags & ACK and behind(ack, slots[slot, NEXT + other]) > 0:
        return False
    if slots[slot, FIN_NS + side] and (flags & FIN or size or at):
        return False
    if slots[slot, FIN_NS + other] and size:
        return False
    if at + size > 0 and now == slots[slot, FIRST_NS + other]:
        return False
    if flags & FIN and (at or not flags & ACK or now <= 0):
        return False
    advance(slot, side, now, at, size, ack, flags, slots)
    if flags & FIN:
        if not slots[slot, FIN_NS + other]:
            slots[slot, FIN_AT] = place
            slots[slot, FIN_FRAME] = number
            # Where it wakes, the FIN is looked at again, and what came with it.
            slots[slot, PASSED + side] -= size
            slots[slot, PACKETS] -= 1
        slots[slot, FIN_NS + side] = now
        slots[slot, NEXT + side] = (slots[slot, NEXT + side] + 1) & 0xFFFFFFFF
    return True


def step(
    buffer: Numbers,
    state: Numbers,
    faces: Numbers,
    slots: Numbers,
    table: Numbers,
    free: Numbers,
    todo: Numbers,
    snaps: Numbers,
    times: Numbers,
    opens: Numbers,
    firsts: Numbers,
    key: Numbers,
) -> Int:
    """Take records from `buffer` at `state[AT]` on, until there is a reason to come back, which is returned.

    times: the time of each record whose segment is used here, NEVER of the others. opens: the numbers of the
    frames that began conversations here, and their networks. faces: interfaces, of a pcapng file. firsts:
    what a first byte says. key: room for one.
    """
    end = len(buffer)
    form = state[FORMAT]
    base = state[BASE]
    seed = state[SEED]
    state[ROWS] = state[TODO] = state[SNAPS] = state[OPENS] = 0
    state[LOW] = -NEVER
    state[HIGH] = NEVER
    while state[ROWS] < state[MOST]:
        row = state[ROWS]
        at = state[AT]
        if state[TODO] + 3 > len(todo) or state[SNAPS] + 3 > len(snaps):
            return FULL
        if state[FREE_COUNT] < 2 or 2 * (state[USED] + state[DEAD]) > len(table):
            return ROOM
        # --- the record
        interface: Int = np.int64(0)
        if form == PCAPNG:
            if at + 32 > end:
                state[NEED] = 32
                return MORE
            if little4(buffer, at) != 6:
                return ODD
            size = little4(buffer, at + 4)
            if size < 32 or size > 16 << 20 or size & 3:
                return ODD
            if at + size > end:
                state[NEED] = size
                return MORE
            interface = little4(buffer, at + 8)
            captured = little4(buffer, at + 20)
            high = little4(buffer, at + 12)
            if interface >= len(faces) or captured > size - 32 or little4(buffer, at + size - 4) != size:
                return ODD
            if high >= faces[interface, F_LIMIT]:
                return ODD
            length = max(little4(buffer, at + 24), captured)
            now = ((high << 32) | little4(buffer, at + 16)) * faces[interface, F_SCALE]
            now += faces[interface, F_OFFSET]
            link = faces[interface, F_LINK]
            start = at + 28
            following = at + size
        else:
            if at + state[SIZE] > end:
                state[NEED] = state[SIZE]
                return MORE
            if form == PCAP_LITTLE:
                now = little4(buffer, at) * 1_000_000_000 + little4(buffer, at + 4) * state[SCALE]
                captured = little4(buffer, at + 8)
                length = max(little4(buffer, at + 12), captured)
            else:
                now = big4(buffer, at) * 1_000_000_000 + big4(buffer, at + 4) * state[SCALE]
                captured = big4(buffer, at + 8)
                length = max(big4(buffer, at + 12), captured)
            if captured > state[LIMIT]:
                return ODD
            start = at + state[SIZE]
            following = start + captured
            if following > end:
                state[NEED] = state[SIZE] + captured
                return MORE
            link = state[LINK]
        stop = start + captured
        # --- the link layer
        unusual: Any = False
        strange = False  # certainly no TCP
        ignored = False  # certainly UDP and no tunnel
        network: Int = np.int64(0)
        ethertype: Int = np.int64(0)
        place = start
        if link == 1:
            if captured >= 14:
                ethertype = big2(buffer, start + 12)
            place = start + 14
        elif link == 113:
            if captured >= 16:
                ethertype = big2(buffer, start + 14)
            place = start + 16
        elif link == 276:
            if captured >= 20:
                ethertype = big2(buffer, start)
            place = start + 20
        elif link == 101 or link == 12 or link == 14:
            if captured >= 1:
                nibble = buffer[start] >> 4
                ethertype = np.int64(0x0800 if nibble == 4 else 0x86DD if nibble == 6 else 0)
        elif link == 0:
            if captured >= 4:
                family = big4(buffer, start)
                if family == 0x02000000 or family == 2:
                    ethertype = np.int64(0x0800)
            place = start + 4
        tags = 0
        while ethertype == 0x8100 or ethertype == 0x88A8 or ethertype == 0x9100 or ethertype == 0x9200:
            if tags == 2 or place + 4 > stop:
                ethertype = np.int64(0)
            else:
                network = (network << 12) | (big2(buffer, place) & 0xFFF)
                ethertype = big2(buffer, place + 2)
                place += 4
                tags += 1
        # --- the network layer
        version: Int = 0
        least = 20
        total: Int = np.int64(0)
        protocol: Int = np.int64(0)
        if ethertype == 0x0800 and place + 28 <= stop and buffer[place] == 0x45:
            total = big2(buffer, place + 2)
            protocol = np.int64(buffer[place + 9])
            if not big2(buffer, place + 6) & 0x3FFF:
                version = 4
            else:
                unusual = True
        elif ethertype == 0x86DD and place + 48 <= stop and buffer[place] >> 4 == 6:
            total = big2(buffer, place + 4) + 40
            protocol = np.int64(buffer[place + 6])
            least = 40
            version = 6 if total > 40 else 0
        if version == 0:
            if ethertype == 0x0806 or ethertype == 0x88CC:
                strange = True
            else:
                unusual = True
        elif protocol == 17:
            sport = big2(buffer, place + least)
            dport = big2(buffer, place + least + 2)
            if (
                sport == 4789 or sport == 8472 or sport == 6081
                or dport == 4789 or dport == 8472 or dport == 6081
                or total < least
            ):  # fmt: skip
                unusual = True
            else:
                ignored = True
        elif protocol != 6:
            other = protocol == 58 if version == 6 else total >= 20 and (protocol == 1 or protocol == 2)
            if other:  # ICMP or IGMP
                strange = True
            else:
                unusual = True
        header: Int = 0
        if not unusual and not strange and not ignored:
            if place + least + 20 > stop:
                unusual = True
            else:
                header = (np.int64(buffer[place + least + 12]) >> 4) * 4
                unusual = header < 20 or total < least + header
        if state[CUT_FIRST] and not (unusual or strange or ignored):
            first = state[CUT_FIRST] - 1
            while first >= 0 and slots[first, UNTIL] <= now:
                if state[TODO] + 3 > len(todo) or state[SNAPS] + 3 > len(snaps):
                    return FULL
                told(CUT_OFF, first, row, now, state, slots, todo, snaps)
                ran_out(first, now, state, slots)
                first = state[CUT_FIRST] - 1
        times[row] = NEVER
        state[AT] = following
        state[ROWS] = row + 1
        state[LOW] = min(state[LOW], now)
        state[HIGH] = max(state[HIGH], now)
        if ignored:
            state[UDP] += 1
            continue
        if unusual or strange:
            number = noted(OTHER, row, now, start, stop, state, todo)
            todo[number, T_LENGTH] = length
            todo[number, T_LINK] = link
            todo[number, T_OFFSET] = at
            todo[number, T_INTERFACE] = interface
            if unusual:
                return UNUSUAL
            continue
        # --- TCP
        times[row] = now
        state[LATEST] = max(state[LATEST], now)
        tcp = place + least
        sport = big2(buffer, tcp)
        dport = big2(buffer, tcp + 2)
        seq = big4(buffer, tcp + 4)
        ack = big4(buffer, tcp + 8)
        flags = np.int64(buffer[tcp + 13])
        size = total - least - header
        payload = tcp + header
        words = 1 if version == 4 else 4
        addresses = place + (12 if version == 4 else 8)
        order = 0
        for word in range(words):
            one = big4(buffer, addresses + 4 * word)
            two = big4(buffer, addresses + 4 * words + 4 * word)
            if order == 0:
                order = -1 if one < two else 1 if one > two else 0
            key[2 + word] = one
            key[2 + words + word] = two
        if order == 0:
            order = -1 if sport <= dport else 1
        side = 0 if order < 0 else 1
        if side:
            for word in range(words):
                one = key[2 + word]
                key[2 + word] = key[2 + words + word]
                key[2 + words + word] = one
            key[0] = (dport << 16) | sport
        else:
            key[0] = (sport << 16) | dport
        if version == 6:
            key[0] |= np.int64(1) << 32
        key[1] = network
        hashed = hash_of(key, seed)
        slot = find(key, hashed, slots, table)
        frame = state[NUMBER] + row
        if slot >= 0 and slots[slot, STATE] == OVER:
            again = flags & (SYN | RST) == SYN and slots[slot, ISN + side] != seq
            if flags & (SYN | ACK | RST) == SYN and slots[slot, RESET_NS] + slots[slot, RESET_NS + 1]:
                again = True  # each attempt that is refused is one of its own
            if again or state[LATEST] >= slots[slot, UNTIL]:
                remove(slot, state, slots, table, free)
                slot = -1
            else:
                state[ABSORBED] += 1
                continue
        if slot < 0:
            slot = insert(key, hashed, state, slots, table, free)
            slots[slot, LAST] = now
            if flags & (SYN | ACK | RST | FIN) == SYN and size == 0:
                slots[slot, STATE] = YOUNG
                slots[slot, CLIENT] = side
                slots[slot, FRAME] = frame
                slots[slot, START] = now
                slots[slot, ISN + side] = seq
                slots[slot, ISN + 1 - side] = -1
                slots[slot, NEXT + side] = (seq + 1) & 0xFFFFFFFF
                slots[slot, ORDINAL] = state[ORD]
                slots[slot, FIRST] = -1
                slots[slot, PLACES] = base + at
                slots[slot, PLACES + 1] = frame
                slots[slot, HEADS] = 1
                opens[state[OPENS], 0] = frame
                opens[state[OPENS], 1] = network
                state[OPENS] += 1
                state[ORD] += 1
                continue
            slots[slot, STATE] = AWAKE
        elif slots[slot, STATE] == YOUNG and flags & RST:
            if cut(slot, side, now, seq, ack, flags, size, base + at, frame, state, slots):
                state[QUIET] += slots[slot, STAGE] == 3
                continue
            told(WAKE, slot, row, now, state, slots, todo, snaps)
            slots[slot, STATE] = AWAKE
        elif slots[slot, STATE] == CUT:
            again = flags & (RST | SYN | FIN) == RST and size == 0 and slots[slot, RESET_NS + side] != 0
            if again and now >= slots[slot, LAST] and seq == slots[slot, NEXT + side]:
                slots[slot, LAST] = now
                slots[slot, PACKETS] += 1
                continue
            unlink(slot, state, slots)
            told(WAKE, slot, row, now, state, slots, todo, snaps)
            slots[slot, STATE] = AWAKE
        elif slots[slot, STATE] == YOUNG:
            if grown(
                slot, side, now, seq, ack, flags, size, payload, stop, base + at, frame, buffer, base, slots,
                firsts,
            ):  # fmt: skip
                state[QUIET] += slots[slot, STAGE] == 3
                if not slots[slot, FIN_NS] or not slots[slot, FIN_NS + 1]:
                    continue
                if state[LATEST] < now + TIME_WAIT:
                    told(DONE, slot, row, now, state, slots, todo, snaps)
                    slots[slot, STATE] = OVER
                    slots[slot, UNTIL] = now + TIME_WAIT
                    continue
                # Times run backwards: it may be forgotten already. So this FIN is looked at.
                slots[slot, FIN_NS + side] = 0
                slots[slot, NEXT + side] = seq
                slots[slot, PACKETS] -= 1
            told(WAKE, slot, row, now, state, slots, todo, snaps)
            slots[slot, STATE] = AWAKE
        elif slots[slot, STATE] == ASLEEP:
            other = 1 - side
            offset = behind(seq, slots[slot, NEXT + side])
            fine = (
                flags & (SYN | FIN | RST) == 0
                and offset <= 0
                and offset > -(1 << 30)
                and size < 1 << 20
                and (slots[slot, SPOKE + side] != 0 or (offset == 0 and size == 0))
                and (not flags & ACK or behind(ack, slots[slot, NEXT + other]) <= 0)
                and now >= slots[slot, LAST]
            )
            if fine:
                advance(slot, side, now, offset, size, ack, flags, slots)
                state[QUIET] += 1
                continue
            told(WAKE, slot, row, now, state, slots, todo, snaps)
            slots[slot, STATE] = AWAKE
        # --- the ordinary way
        number = noted(SEGMENT, row, now, start, stop, state, todo)
        todo[number, T_ADDRESSES] = addresses
        todo[number, T_SIX] = version == 6
        todo[number, T_SPORT] = sport
        todo[number, T_DPORT] = dport
        todo[number, T_SEQ] = seq
        todo[number, T_ACK] = ack
        todo[number, T_FLAGS] = flags
        todo[number, T_PAYLOAD] = payload
        todo[number, T_SIZE] = size
        todo[number, T_NETWORK] = network
    return ENOUGH
