# SPDX-License-Identifier: GPL-2.0-or-later
"""TightVNC's file transfers: every message of both, where the server has announced them, and only there."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dissect.rfb import messages, tightfiles
from dissect.rfb.session import RfbSession
from dissect.stream import Side
from dissect.stream.layout import ProtocolPacket
from dissect.stream.records import Message, Record
from tests.rfb.examples import TIGHT_ROWS
from tests.rfb.test_messages import started
from tests.rfb.test_optional import announcing
from tests.stream import headers

SENT = [
    (side, data, cls)
    for cls, data, _ in TIGHT_ROWS
    for side in Side
    if cls in (*tightfiles.MESSAGES[side].values(), *tightfiles.CODED[side].values())
]


def test_every_code_has_its_message_on_one_side() -> None:
    for code, name in tightfiles.CODES.items():
        side = Side.SERVER if name.endswith("_REPLY") else Side.CLIENT
        assert code in tightfiles.CODED[side]
        assert code not in tightfiles.CODED[side.other]
    assert len(SENT) == sum(map(len, (*tightfiles.MESSAGES.values(), *tightfiles.CODED.values()))) + 2


@pytest.mark.parametrize(("side", "data", "cls"), SENT)
def test_each_is_read_where_it_was_announced(side: Side, data: bytes, cls: type[ProtocolPacket]) -> None:
    it = announcing(data[0], 0xFC000102)
    twice = data + data
    assert [line for byte in twice for line in it.say(side, bytes([byte]))] == [f"{side} {cls.title()}"] * 2
    assert it.over() == []
    it = started()
    told = it.say(side, data) + it.over()
    assert "does not exist" in told[0] or "neither was announced" in told[0]


def test_a_message_that_does_not_exist() -> None:
    it = announcing(0xFC000102)
    (told,) = it.client(b"\xfc\0\2\0")
    assert told.endswith("client message 0xfc000200 of TightVNC's file transfer does not exist")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    headers.text("/usr/include/rfb/rfb.h", "libvncserver-dev")
    program = tmp_path_factory.mktemp("server") / "libvncserver"
    source = Path(__file__).with_name("libvncserver.c")
    made = subprocess.run(["cc", "-o", program, source, "-lvncserver"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return program


def test_files_go_both_ways_with_libvncserver(server: Path, tmp_path: Path) -> None:
    """The first transfer, as a real server speaks it: a list, a download, an upload, and what is refused."""
    root = tmp_path / "root"
    (root / "below").mkdir(parents=True)
    text = b"hello, world\n" * 400
    (root / "hello.txt").write_bytes(text)
    session = RfbSession(role=Side.CLIENT)
    records: list[Record] = []
    with subprocess.Popen(
        [server, "-ftproot", root], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        with socket.create_connection(("127.0.0.1", int(process.stdout.readline())), 10) as connection:

            def until(true: Callable[[], bool]) -> None:
                while not true():
                    data = connection.recv(4096)
                    assert data, f"the server left in state {session.state}"
                    records.extend(session.feed(Side.SERVER, data, 0))

            def say(message: messages.RfbPacket) -> None:
                connection.sendall(session.send(message, 0))

            def answer(name: str) -> Message:
                until(lambda: records[-1].name == name)
                assert isinstance(records[-1], Message)
                return records[-1]

            until(lambda: session.server_version is not None)
            say(messages.ProtocolVersion.of(3, 7))
            until(lambda: session.state == "choice")
            say(messages.SecurityType(security_type=16))
            until(lambda: session.state == "client-init")
            say(messages.ClientInit())
            until(lambda: session.state == "messages")
            say(tightfiles.TightFileListRequest(directory_name=b"/"))
            listed = answer("FileListData")
            names = listed["file_names"].split(b"\0")[:-1]
            sizes = [one["size"] for one in listed["files"]]
            assert dict(zip(names, sizes, strict=True)) == {b"hello.txt": len(text), b"below": 0xFFFFFFFF}
            say(tightfiles.TightFileDownloadRequest(file_name=b"/hello.txt"))
            until(
                lambda: records[-1].name == "FileDownloadData" and not answer("FileDownloadData")["file_data"]
            )
            pieces = [one for one in records if isinstance(one, Message) and one.name == "FileDownloadData"]
            assert b"".join(one["file_data"] for one in pieces) == text
            say(tightfiles.TightFileUploadRequest(file_name=b"/up.txt"))
            say(tightfiles.TightFileUploadData(real_size=3, file_data=b"abc"))
            say(tightfiles.TightFileUploadData(modification_time=10**9))
            say(tightfiles.TightFileUploadRequest(file_name=b"/none/x"))
            assert answer("FileUploadCancel")["reason"]
            assert (root / "up.txt").read_bytes() == b"abc"
            say(tightfiles.TightFileDownloadRequest(file_name=b"/none"))
            assert answer("FileDownloadFailed")["reason"]
            # Nothing is asked after this: it has sent a byte more than it said.
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
    assert [one for one in records if one.kind != "message"] == []
