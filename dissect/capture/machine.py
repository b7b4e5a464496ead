# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels as machine code: compiled by numba once, kept on the disk, and loaded without numba.

numba takes most of a second to come up and to load what it compiled itself. So all kernels are compiled
into one object file with one function in it, `_enter`, which calls them and needs nothing of Python or numba;
the next run loads this with llvmlite alone, in a tenth of the time. Where the file cannot be kept, or numba
made something that needs more, each run compiles anew.
"""

from __future__ import annotations

import os
from ctypes import CFUNCTYPE, c_int64, c_void_p
from functools import cache
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import numpy as np

from dissect.capture import kernels
from dissect.capture.kernels import (
    COLUMNS,
    find,
    hash_of,
    insert,
    ran_out,
    rebuild,
    remove,
    step,
    sweep,
    unlink,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers: TypeAlias = npt.NDArray[Any]

Int: TypeAlias = Any

carray: Any = None
"""numba's array at an address; known where `_enter` is compiled."""

ARRAYS: Final = (
    "buffer", "state", "faces", "slots", "table", "free", "todo", "snaps", "times", "opens", "firsts", "key",
)  # fmt: skip
"""What the kernels work on, in the order in which `_enter` takes the address and length of each."""

_STEP, _HASH_OF, _FIND, _INSERT, _REMOVE, _SWEEP, _REBUILD, _UNLINK, _RAN_OUT = range(9)

SYMBOL: Final = "firstbyte_kernels"
RUNTIME: Final = frozenset({"memcpy", "memmove", "memset"})
"""What an object file that is kept may need of the process that loads it."""

_NOTHING: Final = np.zeros(0, np.int64)
_ABSENT: Final = [_NOTHING.ctypes.data, 0] * len(ARRAYS)
_PLACE: Final = {name: 2 * index for index, name in enumerate(ARRAYS)}
"""Where the address and length of each array stand among the arguments."""


def _enter(
    what: Int, one: Int, two: Int,
    buffer: Int, size: Int, state: Int, states: Int, faces: Int, many: Int, slots: Int, room: Int,
    table: Int, entries: Int, free: Int, spare: Int, todo: Int, rows: Int, snaps: Int, shots: Int,
    times: Int, most: Int, opens: Int, begun: Int, firsts: Int, bytes_: Int, key: Int, words: Int,
) -> Int:  # fmt: skip
    """Do one of the kernels; one, two: its arguments that are no arrays."""
    its_state = carray(state, (states,))
    its_slots = carray(slots, (room, COLUMNS))
    its_table = carray(table, (entries,))
    its_free = carray(free, (spare,))
    its_key = carray(key, (words,))
    if what == _STEP:
        return step(
            carray(buffer, (size,)),
            its_state,
            carray(faces, (many, kernels.FACE_COLUMNS)),
            its_slots,
            its_table,
            its_free,
            carray(todo, (rows, kernels.TODO_COLUMNS)),
            carray(snaps, (shots, COLUMNS)),
            carray(times, (most,)),
            carray(opens, (begun, 2)),
            carray(firsts, (bytes_,)),
            its_key,
        )
    if what == _HASH_OF:
        return hash_of(its_key, one)
    if what == _FIND:
        return find(its_key, one, its_slots, its_table)
    if what == _INSERT:
        return insert(its_key, one, its_state, its_slots, its_table, its_free)
    if what == _REMOVE:
        remove(one, its_state, its_slots, its_table, its_free)
    elif what == _SWEEP:
        sweep(its_state, its_slots, its_table, its_free)
    elif what == _REBUILD:
        rebuild(its_state, its_slots, its_table)
    elif what == _UNLINK:
        unlink(one, its_state, its_slots)
    elif what == _RAN_OUT:
        ran_out(one, two, its_state, its_slots)
    return 0


class Functions:
    """The functions of `kernels` that others call, compiled; each takes what its namesake there takes."""

    def __init__(self, address: int, owner: object) -> None:
        """owner: what the machine code lives as long as."""
        self._owner = owner
        self._at = CFUNCTYPE(c_int64, *[c_int64] * 3, *[c_void_p, c_int64] * len(ARRAYS))(address)

    def _call(self, what: int, one: int = 0, two: int = 0, **arrays: Numbers) -> int:
        places = _ABSENT.copy()
        for name, array in arrays.items():
            at = _PLACE[name]
            places[at], places[at + 1] = array.ctypes.data, len(array)
        found: int = self._at(what, one, two, *places)
        return found

    def step(
        self,
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
    ) -> int:
        return self._call(
            _STEP, buffer=buffer, state=state, faces=faces, slots=slots, table=table, free=free, todo=todo,
            snaps=snaps, times=times, opens=opens, firsts=firsts, key=key,
        )  # fmt: skip

    def hash_of(self, key: Numbers, seed: int) -> int:
        return self._call(_HASH_OF, seed, key=key)

    def find(self, key: Numbers, hashed: int, slots: Numbers, table: Numbers) -> int:
        return self._call(_FIND, hashed, key=key, slots=slots, table=table)

    def insert(
        self, key: Numbers, hashed: int, state: Numbers, slots: Numbers, table: Numbers, free: Numbers
    ) -> int:
        return self._call(_INSERT, hashed, key=key, state=state, slots=slots, table=table, free=free)

    def remove(self, slot: int, state: Numbers, slots: Numbers, table: Numbers, free: Numbers) -> None:
        self._call(_REMOVE, slot, state=state, slots=slots, table=table, free=free)

    def sweep(self, state: Numbers, slots: Numbers, table: Numbers, free: Numbers) -> None:
        self._call(_SWEEP, state=state, slots=slots, table=table, free=free)

    def rebuild(self, state: Numbers, slots: Numbers, table: Numbers) -> None:
        self._call(_REBUILD, state=state, slots=slots, table=table)

    def unlink(self, slot: int, state: Numbers, slots: Numbers) -> None:
        self._call(_UNLINK, slot, state=state, slots=slots)

    def ran_out(self, slot: int, now: int, state: Numbers, slots: Numbers) -> None:
        self._call(_RAN_OUT, slot, now, state=state, slots=slots)


def plain() -> Functions:
    """The same as Python runs them, slowly."""
    return cast("Functions", kernels)


@cache
def functions() -> Functions:
    """The kernels, compiled where numba is installed; loaded, or compiled, when they are first asked for."""
    if find_spec("numba") is None:
        return plain()
    kept = _kept()
    if kept is not None:
        return _loaded(kept)
    address, owner, code = _compile()
    if code is None:
        return Functions(address, owner)
    _keep(code)
    return _loaded(code)


def to_compile() -> bool:
    """Whether the kernels must be compiled first, for some ten seconds: the disk has none of this source."""
    return find_spec("numba") is not None and not functions.cache_info().currsize and _kept() is None


# --- kept on the disk


def _folders() -> list[Path]:
    """Where what is compiled is kept: beside the source, or else in the user's cache."""
    own = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        user = [Path(own).expanduser() / "firstbyte"]
    except RuntimeError:  # nobody's home is known
        user = []
    return [Path(kernels.__file__).parent / "__pycache__", *user]


def _name() -> tuple[str, str]:
    """The name of the object file for this processor and this source: its beginning, and all of it."""
    import llvmlite
    from llvmlite import binding

    machine = [binding.get_process_triple(), binding.get_host_cpu_name(), _features(), llvmlite.__version__]
    source = b"".join(Path(file).read_bytes() for file in (kernels.__file__, __file__))
    begin = f"kernels.{sha256(' '.join(machine).encode()).hexdigest()[:16]}."
    return begin, f"{begin}{sha256(source).hexdigest()[:16]}.o"


def _kept() -> bytes | None:
    """The object file, where there is a sound one."""
    _, name = _name()
    for folder in _folders():
        try:
            kept = (folder / name).read_bytes()
        except OSError:
            continue
        if kept[:32] == sha256(kept[32:]).digest():
            return kept[32:]
    return None


def _keep(code: bytes) -> None:
    """Keep the object file, in place of those of other sources for this processor."""
    begin, name = _name()
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=folder, prefix=f"{begin}tmp.", delete=False) as stream:
                stream.write(sha256(code).digest() + code)
            made = Path(stream.name)
            made.chmod(0o644)
            made.replace(folder / name)
            for old in folder.glob(f"{begin}*.o"):
                if old.name != name:
                    old.unlink(missing_ok=True)
        except OSError:
            continue
        return


# --- machine code


def _features() -> str:
    from llvmlite import binding

    found: str = binding.get_host_cpu_features().flatten()
    return found


def _machine(opt: int) -> Any:
    """What makes code for this processor, and for use in this process."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_triple(binding.get_process_triple())
    return target.create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=_features(),
        opt=opt,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def _loaded(code: bytes) -> Functions:
    from llvmlite import binding

    empty = binding.parse_assembly("")
    empty.triple = binding.get_process_triple()
    engine = binding.create_mcjit_compiler(empty, _machine(0))
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return Functions(engine.get_function_address(SYMBOL), engine)


def _compile() -> tuple[int, object, bytes | None]:
    """Compile the kernels: the address of `_enter`, what it lives as long as, and the object file.

    This is None where it would need more than `RUNTIME`.
    """
    from llvmlite import binding

    numba: Any = import_module("numba")
    disabled, numba.config.DISABLE_JIT = numba.config.DISABLE_JIT, 0
    try:
        compiled = dict(vars(kernels))
        for name, function in vars(kernels).items():
            if isinstance(function, FunctionType) and function.__module__ == kernels.__name__:
                compiled[name] = numba.njit(FunctionType(function.__code__, compiled, name))
        space = {**globals(), **compiled, "carray": numba.carray}
        integer, octets = numba.types.int64, numba.types.uint8
        pairs = [(numba.types.CPointer(octets if name == "buffer" else integer), integer) for name in ARRAYS]
        signature = integer(*[integer] * 3, *[part for pair in pairs for part in pair])
        enter = numba.cfunc(signature)(FunctionType(_enter.__code__, space, "_enter"))
    finally:
        numba.config.DISABLE_JIT = disabled
    # What handles errors goes away once nobody else can call what is within, for nothing here can fail.
    module = binding.parse_assembly(enter.inspect_llvm())
    for function in module.functions:
        if function.name.startswith("cfunc."):
            function.name = SYMBOL
        elif not function.is_declaration:
            function.linkage = "internal"
    machine = _machine(3)
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    needed = {function.name for function in module.functions if function.is_declaration}
    if not all(name.startswith("llvm.") or name in RUNTIME for name in needed):
        return enter.address, enter, None
    return enter.address, enter, machine.emit_object(module)
