# SPDX-License-Identifier: GPL-2.0-or-later
"""TightVNC's file transfers. They exist only where a Tight ServerInit announces them.

The first one (messages 130 to 136): rfbtightproto.h of libvncserver. The second one (message 252, which is
the first byte of a U32 that says which): FTMessage.h of TightVNC 2, and what its FileTransferRequestHandler
reads and writes. Big-endian.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from dissect.rfb.messages import TEXT_LIMIT, RfbPacket
from dissect.stream.fields import (
    ByteField,
    ConditionalField,
    FieldLenField,
    IntEnumField,
    IntField,
    LongField,
    PacketListField,
    ShortField,
    StrFixedLenField,
    StrLenField,
)
from dissect.stream.layout import Padding, TextField
from dissect.stream.side import Side

BLOCK_LIMIT = 1 << 24
"""Bytes of one block of a file or a list of files; programs send 64 KiB at a time."""

MESSAGES: dict[Side, dict[int, type[RfbPacket]]] = {Side.CLIENT: {}, Side.SERVER: {}}
"""Message type -> class, of the first transfer."""

CODED: dict[Side, dict[int, type[RfbPacket]]] = {Side.CLIENT: {}, Side.SERVER: {}}
"""The U32 with which a message of the second transfer begins -> class."""

CODED_TYPE = 252

P = TypeVar("P", bound=type[RfbPacket])


def _message(side: Side, number: int) -> Callable[[P], P]:
    def register(cls: P) -> P:
        (MESSAGES if number < 256 else CODED)[side][number] = cls
        return cls

    return register


# --- The first one -------------------------------------------------------------------------------------


def _reason(number: int) -> list[Any]:
    return [
        ByteField("message_type", number),
        Padding("padding", 1),
        FieldLenField("reason_length", None, length_of="reason", fmt="H"),
        TextField("reason", b"", length_from=lambda p: p.reason_length),
    ]


def _wanted(number: int) -> list[Any]:
    return [
        ByteField("message_type", number),
        ByteField("compression_level", 0),
        FieldLenField("name_length", None, length_of="file_name", fmt="H"),
        IntField("position", 0),
        TextField("file_name", b"", length_from=lambda p: p.name_length),
    ]


def _ends(packet: Any) -> bool:
    return not packet.real_size and not packet.file_data


def _piece(number: int) -> list[Any]:
    """A piece of a file; one of no bytes is the last, with the file's time."""
    return [
        ByteField("message_type", number),
        ByteField("compression_level", 0),
        ShortField("real_size", 0),
        FieldLenField("compressed_size", None, length_of="file_data", fmt="H"),
        StrLenField("file_data", b"", length_from=lambda p: p.compressed_size),
        ConditionalField(IntField("modification_time", 0), _ends),
    ]


@_message(Side.CLIENT, 130)
class TightFileListRequest(RfbPacket):
    """rfbtightproto.h rfbFileListRequestMsg."""

    name = "FileListRequest"
    fields_desc = [
        ByteField("message_type", 130),
        ByteField("flags", 0),
        FieldLenField("name_length", None, length_of="directory_name", fmt="H"),
        TextField("directory_name", b"", length_from=lambda p: p.name_length),
    ]


@_message(Side.CLIENT, 131)
class TightFileDownloadRequest(RfbPacket):
    """rfbtightproto.h rfbFileDownloadRequestMsg."""

    name = "FileDownloadRequest"
    fields_desc = _wanted(131)


@_message(Side.CLIENT, 132)
class TightFileUploadRequest(RfbPacket):
    """rfbtightproto.h rfbFileUploadRequestMsg."""

    name = "FileUploadRequest"
    fields_desc = _wanted(132)


@_message(Side.CLIENT, 133)
class TightFileUploadData(RfbPacket):
    """rfbtightproto.h rfbFileUploadDataMsg."""

    name = "FileUploadData"
    fields_desc = _piece(133)


@_message(Side.CLIENT, 134)
class TightFileDownloadCancel(RfbPacket):
    """rfbtightproto.h rfbFileDownloadCancelMsg."""

    name = "FileDownloadCancel"
    fields_desc = _reason(134)


@_message(Side.CLIENT, 135)
class TightFileUploadFailed(RfbPacket):
    """rfbtightproto.h rfbFileUploadFailedMsg."""

    name = "FileUploadFailed"
    fields_desc = _reason(135)


@_message(Side.CLIENT, 136)
class TightFileCreateDirectoryRequest(RfbPacket):
    """rfbtightproto.h rfbFileCreateDirRequestMsg."""

    name = "FileCreateDirRequest"
    fields_desc = [
        ByteField("message_type", 136),
        Padding("padding", 1),
        FieldLenField("name_length", None, length_of="directory_name", fmt="H"),
        TextField("directory_name", b"", length_from=lambda p: p.name_length),
    ]


class FileSize(RfbPacket):
    """Size and time of one file in a list. rfbtightproto.h, SizeData."""

    name = "FileSize"
    fields_desc = [IntField("size", 0), IntField("modification_time", 0)]


@_message(Side.SERVER, 130)
class TightFileListData(RfbPacket):
    """rfbtightproto.h rfbFileListDataMsg; the names may be compressed, each ends with a NUL."""

    name = "FileListData"
    fields_desc = [
        ByteField("message_type", 130),
        ByteField("flags", 0),
        FieldLenField("number_of_files", None, count_of="files", fmt="H"),
        ShortField("real_size", 0),
        FieldLenField("compressed_size", None, length_of="file_names", fmt="H"),
        PacketListField("files", [], FileSize, count_from=lambda p: p.number_of_files, max_count=65535),
        TextField("file_names", b"", length_from=lambda p: p.compressed_size),
    ]


@_message(Side.SERVER, 131)
class TightFileDownloadData(RfbPacket):
    """rfbtightproto.h rfbFileDownloadDataMsg."""

    name = "FileDownloadData"
    fields_desc = _piece(131)


@_message(Side.SERVER, 132)
class TightFileUploadCancel(RfbPacket):
    """rfbtightproto.h rfbFileUploadCancelMsg."""

    name = "FileUploadCancel"
    fields_desc = _reason(132)


@_message(Side.SERVER, 133)
class TightFileDownloadFailed(RfbPacket):
    """rfbtightproto.h rfbFileDownloadFailedMsg."""

    name = "FileDownloadFailed"
    fields_desc = _reason(133)


# --- The second one ------------------------------------------------------------------------------------

CODES = {
    0xFC000100: "COMPRESSION_SUPPORT_REQUEST",
    0xFC000101: "COMPRESSION_SUPPORT_REPLY",
    0xFC000102: "FILE_LIST_REQUEST",
    0xFC000103: "FILE_LIST_REPLY",
    0xFC000104: "MD5_REQUEST",
    0xFC000105: "MD5_REPLY",
    0xFC000106: "UPLOAD_START_REQUEST",
    0xFC000107: "UPLOAD_START_REPLY",
    0xFC000108: "UPLOAD_DATA_REQUEST",
    0xFC000109: "UPLOAD_DATA_REPLY",
    0xFC00010A: "UPLOAD_END_REQUEST",
    0xFC00010B: "UPLOAD_END_REPLY",
    0xFC00010C: "DOWNLOAD_START_REQUEST",
    0xFC00010D: "DOWNLOAD_START_REPLY",
    0xFC00010E: "DOWNLOAD_DATA_REQUEST",
    0xFC00010F: "DOWNLOAD_DATA_REPLY",
    0xFC000110: "DOWNLOAD_END_REPLY",
    0xFC000111: "MKDIR_REQUEST",
    0xFC000112: "MKDIR_REPLY",
    0xFC000113: "REMOVE_REQUEST",
    0xFC000114: "REMOVE_REPLY",
    0xFC000115: "RENAME_REQUEST",
    0xFC000116: "RENAME_REPLY",
    0xFC000117: "DIRSIZE_REQUEST",
    0xFC000118: "DIRSIZE_REPLY",
    0xFC000119: "LAST_REQUEST_FAILED_REPLY",
}


def _code(number: int) -> IntEnumField:
    return IntEnumField("message_code", number, CODES)


def _string(name: str) -> list[Any]:
    """StringUTF8."""
    length = f"{name}_length"
    return [
        FieldLenField(length, None, length_of=name, fmt="I"),
        TextField(name, b"", length_from=lambda p: getattr(p, length)),
    ]


def _block() -> list[Any]:
    """CompressedBlock; at level 0 its data are as they are, else zlib's."""
    return [
        ByteField("compression_level", 0),
        FieldLenField("compressed_size", None, length_of="block_data", fmt="I"),
        IntField("uncompressed_size", 0),
        StrLenField("block_data", b"", length_from=lambda p: p.compressed_size),
    ]


class _Transfer(RfbPacket):
    limit = TEXT_LIMIT


@_message(Side.CLIENT, 0xFC000100)
class CompressionSupportRequest(_Transfer):
    """TightVNC 2, COMPRESSION_SUPPORT_REQUEST."""

    name = "CompressionSupportRequest"
    fields_desc = [_code(0xFC000100)]


@_message(Side.SERVER, 0xFC000101)
class CompressionSupportReply(_Transfer):
    """TightVNC 2, COMPRESSION_SUPPORT_REPLY."""

    name = "CompressionSupportReply"
    fields_desc = [_code(0xFC000101), ByteField("is_compression_supported", 0)]


@_message(Side.CLIENT, 0xFC000102)
class ListRequest(_Transfer):
    """TightVNC 2, FILE_LIST_REQUEST."""

    name = "FileListRequest"
    fields_desc = [_code(0xFC000102), ByteField("compression_level", 0), *_string("path")]


@_message(Side.SERVER, 0xFC000103)
class ListReply(_Transfer):
    """TightVNC 2, FILE_LIST_REPLY."""

    name = "FileListReply"
    limit = BLOCK_LIMIT
    fields_desc = [_code(0xFC000103), *_block()]


@_message(Side.CLIENT, 0xFC000104)
class Md5Request(_Transfer):
    """TightVNC 2, MD5_REQUEST."""

    name = "Md5Request"
    fields_desc = [_code(0xFC000104), *_string("path"), LongField("offset", 0), LongField("data_size", 0)]


@_message(Side.SERVER, 0xFC000105)
class Md5Reply(_Transfer):
    """TightVNC 2, MD5_REPLY."""

    name = "Md5Reply"
    fields_desc = [_code(0xFC000105), StrFixedLenField("md5", b"\0" * 16, length=16)]


@_message(Side.CLIENT, 0xFC000106)
class UploadStartRequest(_Transfer):
    """TightVNC 2, UPLOAD_START_REQUEST."""

    name = "UploadStartRequest"
    fields_desc = [_code(0xFC000106), *_string("path"), ByteField("flags", 0), LongField("offset", 0)]


@_message(Side.SERVER, 0xFC000107)
class UploadStartReply(_Transfer):
    """TightVNC 2, UPLOAD_START_REPLY."""

    name = "UploadStartReply"
    fields_desc = [_code(0xFC000107)]


@_message(Side.CLIENT, 0xFC000108)
class UploadDataRequest(_Transfer):
    """TightVNC 2, UPLOAD_DATA_REQUEST."""

    name = "UploadDataRequest"
    limit = BLOCK_LIMIT
    fields_desc = [_code(0xFC000108), *_block()]


@_message(Side.SERVER, 0xFC000109)
class UploadDataReply(_Transfer):
    """TightVNC 2, UPLOAD_DATA_REPLY."""

    name = "UploadDataReply"
    fields_desc = [_code(0xFC000109)]


@_message(Side.CLIENT, 0xFC00010A)
class UploadEndRequest(_Transfer):
    """TightVNC 2, UPLOAD_END_REQUEST; the time in milliseconds."""

    name = "UploadEndRequest"
    fields_desc = [_code(0xFC00010A), ShortField("file_flags", 0), LongField("modification_time", 0)]


@_message(Side.SERVER, 0xFC00010B)
class UploadEndReply(_Transfer):
    """TightVNC 2, UPLOAD_END_REPLY."""

    name = "UploadEndReply"
    fields_desc = [_code(0xFC00010B)]


@_message(Side.CLIENT, 0xFC00010C)
class DownloadStartRequest(_Transfer):
    """TightVNC 2, DOWNLOAD_START_REQUEST."""

    name = "DownloadStartRequest"
    fields_desc = [_code(0xFC00010C), *_string("path"), LongField("offset", 0)]


@_message(Side.SERVER, 0xFC00010D)
class DownloadStartReply(_Transfer):
    """TightVNC 2, DOWNLOAD_START_REPLY."""

    name = "DownloadStartReply"
    fields_desc = [_code(0xFC00010D)]


@_message(Side.CLIENT, 0xFC00010E)
class DownloadDataRequest(_Transfer):
    """TightVNC 2, DOWNLOAD_DATA_REQUEST."""

    name = "DownloadDataRequest"
    fields_desc = [_code(0xFC00010E), ByteField("compression_level", 0), IntField("data_size", 0)]


@_message(Side.SERVER, 0xFC00010F)
class DownloadDataReply(_Transfer):
    """TightVNC 2, DOWNLOAD_DATA_REPLY."""

    name = "DownloadDataReply"
    limit = BLOCK_LIMIT
    fields_desc = [_code(0xFC00010F), *_block()]


@_message(Side.SERVER, 0xFC000110)
class DownloadEndReply(_Transfer):
    """TightVNC 2, DOWNLOAD_END_REPLY; the time in milliseconds."""

    name = "DownloadEndReply"
    fields_desc = [_code(0xFC000110), ByteField("file_flags", 0), LongField("modification_time", 0)]


@_message(Side.CLIENT, 0xFC000111)
class MkdirRequest(_Transfer):
    """TightVNC 2, MKDIR_REQUEST."""

    name = "MkdirRequest"
    fields_desc = [_code(0xFC000111), *_string("path")]


@_message(Side.SERVER, 0xFC000112)
class MkdirReply(_Transfer):
    """TightVNC 2, MKDIR_REPLY."""

    name = "MkdirReply"
    fields_desc = [_code(0xFC000112)]


@_message(Side.CLIENT, 0xFC000113)
class RemoveRequest(_Transfer):
    """TightVNC 2, REMOVE_REQUEST."""

    name = "RemoveRequest"
    fields_desc = [_code(0xFC000113), *_string("path")]


@_message(Side.SERVER, 0xFC000114)
class RemoveReply(_Transfer):
    """TightVNC 2, REMOVE_REPLY."""

    name = "RemoveReply"
    fields_desc = [_code(0xFC000114)]


@_message(Side.CLIENT, 0xFC000115)
class RenameRequest(_Transfer):
    """TightVNC 2, RENAME_REQUEST."""

    name = "RenameRequest"
    fields_desc = [_code(0xFC000115), *_string("path"), *_string("new_path")]


@_message(Side.SERVER, 0xFC000116)
class RenameReply(_Transfer):
    """TightVNC 2, RENAME_REPLY."""

    name = "RenameReply"
    fields_desc = [_code(0xFC000116)]


@_message(Side.CLIENT, 0xFC000117)
class DirectorySizeRequest(_Transfer):
    """TightVNC 2, DIRSIZE_REQUEST."""

    name = "DirSizeRequest"
    fields_desc = [_code(0xFC000117), *_string("path")]


@_message(Side.SERVER, 0xFC000118)
class DirectorySizeReply(_Transfer):
    """TightVNC 2, DIRSIZE_REPLY."""

    name = "DirSizeReply"
    fields_desc = [_code(0xFC000118), LongField("size", 0)]


@_message(Side.SERVER, 0xFC000119)
class LastRequestFailedReply(_Transfer):
    """TightVNC 2, LAST_REQUEST_FAILED_REPLY."""

    name = "LastRequestFailedReply"
    fields_desc = [_code(0xFC000119), *_string("reason")]
