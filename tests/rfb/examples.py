# SPDX-License-Identifier: GPL-2.0-or-later
"""One example a message and an encoding, written by hand from the tables of rfbproto.rst."""

from __future__ import annotations

from typing import Any

from dissect.rfb import contents as c
from dissect.rfb import messages as m
from dissect.rfb import optional as o
from dissect.rfb import security as s
from dissect.rfb import tightfiles as t
from dissect.rfb.encodings import Format
from dissect.stream.layout import ProtocolPacket


def u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def u32(number: int) -> bytes:
    return (number % (1 << 32)).to_bytes(4, "big")


FORMAT_32 = bytes([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0])
FORMAT_16 = bytes([16, 16, 0, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0])
FORMAT_8 = bytes([8, 8, 0, 1, 0, 7, 0, 7, 0, 3, 0, 3, 6, 0, 0, 0])
FORMS = {
    wire[0]: Format.of(m.PixelFormat.layout().decode(wire)[0]) for wire in (FORMAT_32, FORMAT_16, FORMAT_8)
}
DECODED_16 = {
    "bits_per_pixel": 16,
    "depth": 16,
    "big_endian_flag": 0,
    "true_colour_flag": 1,
    "red_max": 31,
    "green_max": 63,
    "blue_max": 31,
    "red_shift": 11,
    "green_shift": 5,
    "blue_shift": 0,
    "padding": b"\0\0\0",
}
SCREEN = u32(7) + u16(0) + u16(0) + u16(640) + u16(480) + u32(0)
CAPABILITY = u32(1) + b"STDVNOAUTH__"
SERVER_INIT = u16(4) + u16(3) + FORMAT_32 + u32(4) + b"desk"

# The class, its bytes, and what the fields hold (those that are not named are not looked at).
ROWS: list[tuple[type[ProtocolPacket], bytes, dict[str, Any]]] = [
    (m.ProtocolVersion, b"RFB 003.889\n", {"major": b"003", "minor": b"889"}),
    (m.RepeaterId, b"ID:1234".ljust(250, b"\0"), {"identity": b"ID:1234".ljust(250, b"\0")}),
    (m.SecurityTypes, b"\3\1\2\x13", {"number_of_security_types": 3, "security_types": [1, 2, 19]}),
    (m.SecurityType, b"\2", {"security_type": 2}),
    (m.SecurityType33, b"\0\0\0\2", {"security_type": 2}),
    (m.FailureReason, u32(3) + b"no!", {"reason_length": 3, "reason": b"no!"}),
    (m.VncAuthenticationChallenge, bytes(range(16)), {"challenge": bytes(range(16))}),
    (m.VncAuthenticationResponse, bytes(range(16)), {"response": bytes(range(16))}),
    (m.Capability, CAPABILITY, {"code": 1, "vendor": b"STDV", "signature": b"NOAUTH__"}),
    (m.TightTunnels, u32(0), {"number_of_tunnels": 0, "tunnels": []}),
    (m.TightTunnel, u32(0), {"code": 0}),
    (m.TightAuthTypes, u32(1) + CAPABILITY, {"number_of_auth_types": 1}),
    (m.TightAuthType, u32(129), {"code": 129}),
    (m.SecurityResult, u32(1), {"status": 1}),
    (m.ClientInit, b"\1", {"shared_flag": 1}),
    (m.PixelFormat, FORMAT_16, DECODED_16),
    (
        m.ServerInit,
        SERVER_INIT,
        {"framebuffer_width": 4, "framebuffer_height": 3, "name_length": 4, "name_string": b"desk"},
    ),
    (
        m.TightServerInit,
        SERVER_INIT + u16(1) + u16(0) + u16(1) + u16(0) + 2 * CAPABILITY,
        {"name_string": b"desk", "number_of_server_messages": 1, "client_messages": []},
    ),
    (m.SetPixelFormat, b"\0\0\0\0" + FORMAT_16, {"message_type": 0, "pixel_format": DECODED_16}),
    (
        m.SetEncodings,
        b"\2\0" + u16(3) + u32(0) + u32(16) + u32(-239),
        {"number_of_encodings": 3, "encoding_types": [0, 16, -239]},
    ),
    (
        m.FramebufferUpdateRequest,
        b"\3\1" + u16(1) + u16(2) + u16(3) + u16(4),
        {"incremental": 1, "x_position": 1, "y_position": 2, "width": 3, "height": 4},
    ),
    (m.KeyEvent, b"\4\1\0\0" + u32(0xFF0D), {"down_flag": 1, "key": 0xFF0D}),
    (m.PointerEvent, b"\5\1" + u16(10) + u16(20), {"button_mask": 1, "x_position": 10, "y_position": 20}),
    (
        m.ExtendedPointerEvent,
        b"\5\x81" + u16(10) + u16(20) + b"\1",
        {"button_mask": 0x81, "y_position": 20, "extended_button_mask": 1},
    ),
    (m.ClientCutText, b"\6\0\0\0" + u32(2) + b"hi", {"length": 2, "text": b"hi"}),
    (
        m.EnableContinuousUpdates,
        b"\x96\1" + u16(1) + u16(2) + u16(3) + u16(4),
        {"enable_flag": 1, "x_position": 1, "height": 4},
    ),
    (m.ClientFence, b"\xf8\0\0\0" + u32(1 << 31) + b"\2ab", {"flags": 1 << 31, "payload_data": b"ab"}),
    (m.XvpClientMessage, b"\xfa\0\1\2", {"xvp_extension_version": 1, "xvp_message_code": 2}),
    (m.Screen, SCREEN, {"id": 7, "width": 640, "height": 480}),
    (
        m.SetDesktopSize,
        b"\xfb\0" + u16(640) + u16(480) + b"\1\0" + SCREEN,
        {"width": 640, "number_of_screens": 1},
    ),
    (
        m.QemuExtendedKeyEvent,
        b"\xff\0" + u16(1) + u32(0x61) + u32(0x1E),
        {"submessage_type": 0, "down_flag": 1, "keysym": 0x61, "keycode": 0x1E},
    ),
    (m.QemuAudioClientMessage, b"\xff\1\0\0", {"submessage_type": 1, "operation": 0}),
    (
        m.QemuAudioClientMessage,
        b"\xff\1\0\2\3\2" + u32(48000),
        {"operation": 2, "sample_format": 3, "nchannels": 2, "frequency": 48000},
    ),
    (m.FramebufferUpdateHeader, b"\0\0" + u16(2), {"number_of_rectangles": 2}),
    (
        m.RectangleHeader,
        u16(1) + u16(2) + u16(3) + u16(4) + u32(-239),
        {"x_position": 1, "y_position": 2, "width": 3, "height": 4, "encoding_type": -239},
    ),
    (m.Colour, u16(1) + u16(2) + u16(0xFFFF), {"red": 1, "green": 2, "blue": 0xFFFF}),
    (
        m.SetColourMapEntries,
        b"\1\0" + u16(5) + u16(2) + bytes(6) + b"\xff" * 6,
        {"first_colour": 5, "number_of_colours": 2},
    ),
    (m.Bell, b"\2", {}),
    (m.ServerCutText, b"\3\0\0\0" + u32(3) + b"abc", {"length": 3, "text": b"abc"}),
    (m.ExtendedServerCutText, b"\3\0\0\0" + u32(-4) + u32(1 << 25 | 1), {"length": -4, "flags": 1 << 25 | 1}),
    (m.ExtendedClientCutText, b"\6\0\0\0" + u32(-6) + u32(1 << 25) + b"zz", {"clipboard_data": b"zz"}),
    (m.EndOfContinuousUpdates, b"\x96", {}),
    (m.ServerFence, b"\xf8\0\0\0" + u32(3) + b"\0", {"flags": 3, "length": 0, "payload_data": b""}),
    (m.XvpServerMessage, b"\xfa\0\1\0", {"xvp_message_code": 0}),
    (m.QemuAudioServerMessage, b"\xff\1\0\1", {"operation": 1}),
    (
        m.QemuAudioServerMessage,
        b"\xff\1\0\2" + u32(4) + b"\1\2\3\4",
        {"operation": 2, "data_length": 4, "audio": b"\1\2\3\4"},
    ),
]
MS_LOGON_1 = b"bob".ljust(256, b"\0") + b"corp".ljust(256, b"\0") + b"m" * 64 + b"r" * 16
APPLE_REQUEST = u32(10) + b"\1\0RSA1\0\0\0\0"
APPLE_KEY = u32(10) + b"\1\0" + u32(3) + b"der" + b"\0"
APPLE_CREDENTIALS = u32(394) + b"\1\0RSA1\0\1" + b"c" * 128 + b"\0\1" + b"k" * 256
SECURITY_ROWS: list[tuple[type[ProtocolPacket], bytes, dict[str, Any]]] = [
    (s.VencryptVersion, b"\0\2", {"major": 0, "minor": 2}),
    (s.VencryptSubtypes, b"\2" + u32(256) + u32(262), {"subtypes": [256, 262]}),
    (s.VencryptAck, b"\1", {"ack": 1}),
    (s.VencryptSubtype, u32(260), {"subtype": 260}),
    (s.PlainCredentials, u32(3) + u32(4) + b"bobpass", {"username": b"bob", "password": b"pass"}),
    (s.IdentUsername, u32(3) + b"bob", {"username": b"bob"}),
    (s.SaslMechanisms, u32(9) + b"PLAIN,XYZ", {"mechlist_string": b"PLAIN,XYZ"}),
    (
        s.SaslClientStart,
        u32(5) + b"PLAIN" + u32(4) + b"abc\0",
        {"mechname_string": b"PLAIN", "clientout_data": b"abc\0"},
    ),
    (s.SaslServerStep, u32(2) + b"ok\1", {"serverout_data": b"ok", "complete_flag": 1}),
    (s.SaslClientStep, u32(2) + b"ok", {"clientout_data": b"ok"}),
    (
        s.RsaPublicKey,
        u32(15) + b"\x7f\1\0\3",
        {"key_length": 15, "modulus": b"\x7f\1", "public_exponent": b"\0\3"},
    ),
    (s.RsaEncryptedRandom, u16(3) + b"abc", {"encrypted_random": b"abc"}),
    (s.AesEaxMessage, u16(1) + b"x" + bytes(16), {"encrypted_message": b"x", "mac": bytes(16)}),
    (s.XvpCredentials, b"\3\2bobpc", {"username": b"bob", "target": b"pc"}),
    (
        s.DiffieHellmanParameters,
        u16(2) + u16(2) + b"ppqq",
        {"generator": 2, "prime_modulus": b"pp", "public_value": b"qq"},
    ),
    (s.MsLogon2Parameters, b"g" * 8 + b"m" * 8 + b"p" * 8, {"generator": b"g" * 8, "public_value": b"p" * 8}),
    (s.MsLogon2Credentials, b"p" * 8 + b"u" * 256 + b"w" * 64, {"encrypted_password": b"w" * 64}),
    (s.MsLogon1Challenges, b"m" * 64 + b"c" * 16, {"challenge_ms": b"m" * 64, "challenge": b"c" * 16}),
    (s.MsLogon1Credentials, MS_LOGON_1, {"username": b"bob".ljust(256, b"\0"), "response": b"r" * 16}),
    (s.ScPrompt, b"\3\0\0\0ok?", {"text_length": 3, "text": b"ok?"}),
    (s.ScPromptAnswer, b"\1\0\0\0", {"accepted": 1}),
    (s.SessionSelection, b"\2\0\0\0", {"session": 2}),
    (s.AppleRsaRequest, APPLE_REQUEST, {"packet_length": 10, "request": b"\1\0RSA1\0\0\0\0"}),
    (s.AppleRsaKey, APPLE_KEY, {"version": 256, "key": b"der", "unknown": 0}),
    (s.AppleRsaCredentials, APPLE_CREDENTIALS, {"packet_length": 394}),
    (s.AppleRsaAnswer, u32(4), {"unknown": 4}),
]
OPTIONAL_ROWS: list[tuple[type[ProtocolPacket], bytes, dict[str, Any]]] = [
    (
        o.FixColourMapEntries,
        b"\1\0" + u16(5) + u16(1) + bytes(6),
        {"first_colour": 5, "number_of_colours": 1},
    ),
    (
        o.ClientFileTransfer,
        b"\7\x08" + u16(0) + u32(9) + u32(2) + b"/x" + u32(1),
        {"content_type": 8, "size": 9, "payload_data": b"/x", "size_high": 1},
    ),
    (o.ClientFileTransfer, b"\7\1" + u16(2) + u32(0) + u32(0), {"content_type": 1, "content_param": 2}),
    (
        o.ServerFileTransfer,
        b"\7\4" + u16(0) + u32(9) + u32(2) + b"/x" + u32(0),
        {"content_type": 4, "payload_data": b"/x", "size_high": 0},
    ),
    (o.ClientTextChat, b"\x0b\0\0\0" + u32(2) + b"hi", {"length": 2, "text": b"hi"}),
    (o.ServerTextChat, b"\x0b\0\0\0" + u32(-1), {"length": 0xFFFFFFFF, "text": b""}),
    (o.SetScale, b"\x08\2\0\0", {"scale": 2}),
    (o.SetScaleFactor, b"\x0f\2\0\0", {"scale": 2}),
    (o.SetServerInput, b"\x09\1\0\0", {"status": 1}),
    (o.SetSingleWindow, b"\x0a\1" + u16(3) + u16(4), {"x_position": 3, "y_position": 4}),
    (o.KeyFrameRequest, b"\x0c", {}),
    (o.KeyFrameUpdate, b"\5", {}),
    (o.ClientKeepAlive, b"\x0d", {}),
    (o.ServerKeepAlive, b"\x0d", {}),
    (o.RequestSession, b"\x14", {}),
    (o.SetSession, b"\x15\3", {"number": 3}),
    (o.NotifyPluginStreaming, b"\x50\0\0\0", {"flags": 0}),
    (o.ResizeFrameBuffer, b"\4\0" + u16(8) + u16(6), {"framebuffer_width": 8, "framebuffer_height": 6}),
    (
        o.PalmResizeFrameBuffer,
        b"\x0f\0" + u16(80) + u16(60) + u16(8) + u16(6) + u16(0),
        {"desktop_width": 80, "framebuffer_height": 6},
    ),
    (o.ServerState, b"\xad\0\0\0" + u32(2) + u32(5), {"state": 2, "value": 5}),
    (o.GiiBigEndian, b"\xfd\x81" + u16(2) + u16(1), {"endian_and_sub_type": 0x81, "payload_data": b"\0\1"}),
    (o.GiiLittleEndian, b"\xfd\1\2\0\1\0", {"endian_and_sub_type": 1, "payload_data": b"\1\0"}),
    (o.ClientMirrorLink, b"\x80\x14" + u16(3) + b"abc", {"extension_type": 20, "payload_data": b"abc"}),
    (o.ServerMirrorLink, b"\x80\0" + u16(0), {"extension_type": 0, "payload_data": b""}),
]


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def path(text: bytes) -> bytes:
    return u32(len(text)) + text


TIGHT_ROWS: list[tuple[type[ProtocolPacket], bytes, dict[str, Any]]] = [
    (t.TightFileListRequest, b"\x82\1" + u16(2) + b"/x", {"flags": 1, "directory_name": b"/x"}),
    (
        t.TightFileDownloadRequest,
        b"\x83\0" + u16(2) + u32(7) + b"/x",
        {"position": 7, "file_name": b"/x"},
    ),
    (t.TightFileUploadRequest, b"\x84\0" + u16(2) + u32(7) + b"/x", {"position": 7, "file_name": b"/x"}),
    (t.TightFileUploadData, b"\x85\0" + u16(3) + u16(3) + b"abc", {"real_size": 3, "file_data": b"abc"}),
    (t.TightFileUploadData, b"\x85\0" + u16(0) + u16(0) + u32(99), {"modification_time": 99}),
    (t.TightFileDownloadCancel, b"\x86\0" + u16(3) + b"no!", {"reason": b"no!"}),
    (t.TightFileUploadFailed, b"\x87\0" + u16(3) + b"no!", {"reason": b"no!"}),
    (t.TightFileCreateDirectoryRequest, b"\x88\0" + u16(2) + b"/x", {"directory_name": b"/x"}),
    (t.FileSize, u32(9) + u32(99), {"size": 9, "modification_time": 99}),
    (
        t.TightFileListData,
        b"\x82\0" + u16(2) + u16(4) + u16(4) + (u32(9) + u32(99)) * 2 + b"a\0b\0",
        {"number_of_files": 2, "file_names": b"a\0b\0"},
    ),
    (t.TightFileDownloadData, b"\x83\0" + u16(3) + u16(3) + b"abc", {"real_size": 3, "file_data": b"abc"}),
    (t.TightFileDownloadData, b"\x83\0" + u16(0) + u16(0) + u32(99), {"modification_time": 99}),
    (t.TightFileUploadCancel, b"\x84\0" + u16(3) + b"no!", {"reason": b"no!"}),
    (t.TightFileDownloadFailed, b"\x85\0" + u16(3) + b"no!", {"reason": b"no!"}),
    (t.CompressionSupportRequest, u32(0xFC000100), {"message_code": 0xFC000100}),
    (t.CompressionSupportReply, u32(0xFC000101) + b"\1", {"is_compression_supported": 1}),
    (t.ListRequest, u32(0xFC000102) + b"\0" + path(b"/C:"), {"compression_level": 0, "path": b"/C:"}),
    (t.ListReply, u32(0xFC000103) + b"\0" + u32(4) + u32(4) + bytes(4), {"block_data": bytes(4)}),
    (t.Md5Request, u32(0xFC000104) + path(b"/x") + u64(1) + u64(2), {"offset": 1, "data_size": 2}),
    (t.Md5Reply, u32(0xFC000105) + b"m" * 16, {"md5": b"m" * 16}),
    (t.UploadStartRequest, u32(0xFC000106) + path(b"/x") + b"\1" + u64(5), {"flags": 1, "offset": 5}),
    (t.UploadStartReply, u32(0xFC000107), {}),
    (
        t.UploadDataRequest,
        u32(0xFC000108) + b"\6" + u32(3) + u32(9) + b"zzz",
        {"compression_level": 6, "uncompressed_size": 9, "block_data": b"zzz"},
    ),
    (t.UploadDataReply, u32(0xFC000109), {}),
    (t.UploadEndRequest, u32(0xFC00010A) + u16(2) + u64(99), {"file_flags": 2, "modification_time": 99}),
    (t.UploadEndReply, u32(0xFC00010B), {}),
    (t.DownloadStartRequest, u32(0xFC00010C) + path(b"/x") + u64(5), {"path": b"/x", "offset": 5}),
    (t.DownloadStartReply, u32(0xFC00010D), {}),
    (t.DownloadDataRequest, u32(0xFC00010E) + b"\0" + u32(4096), {"data_size": 4096}),
    (t.DownloadDataReply, u32(0xFC00010F) + b"\0" + u32(2) + u32(2) + b"ab", {"block_data": b"ab"}),
    (t.DownloadEndReply, u32(0xFC000110) + b"\0" + u64(99), {"modification_time": 99}),
    (t.MkdirRequest, u32(0xFC000111) + path(b"/x"), {"path": b"/x"}),
    (t.MkdirReply, u32(0xFC000112), {}),
    (t.RemoveRequest, u32(0xFC000113) + path(b"/x"), {"path": b"/x"}),
    (t.RemoveReply, u32(0xFC000114), {}),
    (t.RenameRequest, u32(0xFC000115) + path(b"/x") + path(b"/y"), {"path": b"/x", "new_path": b"/y"}),
    (t.RenameReply, u32(0xFC000116), {}),
    (t.DirectorySizeRequest, u32(0xFC000117) + path(b"/x"), {"path": b"/x"}),
    (t.DirectorySizeReply, u32(0xFC000118) + u64(1 << 40), {"size": 1 << 40}),
    (t.LastRequestFailedReply, u32(0xFC000119) + path(b"no!"), {"reason": b"no!"}),
]
CONTENT_ROWS: list[tuple[type[ProtocolPacket], bytes, dict[str, Any]]] = [
    (c.CopyRectSource, u16(9) + u16(8), {"src_x_position": 9, "src_y_position": 8}),
    (c.SubrectanglesHeader, u32(2), {"number_of_subrectangles": 2}),
    (c.CompressedHeader, u32(7), {"length": 7}),
    (c.TightHeader, b"\x90", {"compression_control": 0x90}),
    (c.OpenH264Header, u32(5) + u32(1), {"length": 5, "flags": 1}),
    (c.XCursorColours, bytes(range(6)), {"primary_r": 0, "secondary_b": 5}),
    (c.CursorWithAlphaHeader, u32(16), {"encoding": 16}),
    (c.QemuLedState, b"\2", {"state": 2}),
    (c.DesktopName, u32(4) + b"name", {"name_string": b"name"}),
    (c.ExtendedDesktopSize, b"\1\0\0\0" + SCREEN, {"number_of_screens": 1}),
    (
        c.ClientRedirect,
        u16(5901) + path(b"host") + path(b"CN=h"),
        {"port": 5901, "host": b"host", "x509_subject": b"CN=h"},
    ),
    (c.VmwareCursorHeader, b"\1\0", {"cursor_type": 1}),
    (c.VmwareCursorState, u16(5), {"cursor_state": 5}),
    (c.VmwareKeyRepeat, u16(1) + u32(30) + u32(500), {"key_repeat_enabled": 1, "period": 30, "delay": 500}),
    (c.VmwareLedState, u32(7), {"led_flags": 7}),
    (c.VmwareDisplayModeChange, FORMAT_16, {"pixel_format": DECODED_16}),
    (c.VmwareVirtualMachineState, u16(1), {"vm_state_flags": 1}),
    (c.SupportedMessages, b"c" * 32 + b"s" * 32, {"client_to_server": b"c" * 32}),
    (c.CacheRect, u16(1), {"special": 1}),
]
ROWS += SECURITY_ROWS + OPTIONAL_ROWS + TIGHT_ROWS + CONTENT_ROWS


def rect(width: int, height: int, encoding: int, body: bytes = b"", *, x: int = 0, y: int = 0) -> bytes:
    return u16(x) + u16(y) + u16(width) + u16(height) + u32(encoding) + body


def update(*rectangles: bytes, count: int | None = None) -> bytes:
    return b"\0\0" + u16(len(rectangles) if count is None else count) + b"".join(rectangles)


def pixels(number: int, size: int) -> bytes:
    return b"\xab" * (number * size)


def _compact(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    if length < 0x4000:
        return bytes([length & 0x7F | 0x80, length >> 7])
    return bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14])


# A picture of no pixels: two segments, a fill byte, a scan with a stuffed byte and a restart, and the end.
JPEG = bytes.fromhex("ffd8 fffe0004 abcd ffff db0003 00 ffda0002 12ff00 34ffd0 56 ffd9")


def rectangles(form: Format) -> list[tuple[str, bytes]]:
    """A rectangle of every encoding that is framed, in each of its forms, for pixels of `form`."""
    p, t, c = form.pixel, form.tpixel, form.cpixel
    subrect = pixels(1, p)
    return [
        ("Raw", rect(5, 3, 0, pixels(15, p))),
        ("Raw, empty", rect(0, 3, 0)),
        ("CopyRect", rect(5, 3, 1, u16(9) + u16(8))),
        ("RRE", rect(5, 3, 2, u32(2) + pixels(1, p) + 2 * (subrect + bytes(8)))),
        ("CoRRE", rect(5, 3, 4, u32(3) + pixels(1, p) + 3 * (subrect + bytes(4)))),
        ("Hextile, raw", rect(16, 4, 5, b"\1" + pixels(64, p))),
        ("Hextile, raw with other bits", rect(2, 2, 5, b"\x1f" + pixels(4, p))),
        ("Hextile, background", rect(16, 16, 5, b"\2" + pixels(1, p))),
        ("Hextile, as before", rect(16, 16, 5, b"\0")),
        ("Hextile, foreground", rect(16, 16, 5, b"\x0e" + pixels(2, p) + b"\2" + bytes(4))),
        ("Hextile, coloured", rect(16, 16, 5, b"\x1a" + pixels(1, p) + b"\2" + 2 * (subrect + bytes(2)))),
        # 17 x 18: four tiles, of 16 x 16, 1 x 16, 16 x 2 and 1 x 2.
        (
            "Hextile, four tiles",
            rect(17, 18, 5, b"\0" + b"\1" + pixels(16, p) + b"\1" + pixels(32, p) + b"\1" + pixels(2, p)),
        ),
        ("zlib", rect(5, 3, 6, u32(7) + b"zlibdat")),
        ("Tight, fill", rect(9, 9, 7, b"\x80" + pixels(1, t))),
        ("Tight, JPEG", rect(9, 9, 7, b"\x90" + _compact(200) + bytes(200))),
        ("Tight, basic", rect(9, 9, 7, b"\x00" + _compact(20000) + bytes(20000))),
        ("Tight, basic of less than 12 bytes", rect(1, 2, 7, b"\x10" + pixels(2, t))),
        ("Tight, palette of 2", rect(9, 9, 7, b"\x50\1\1" + pixels(2, t) + _compact(5) + bytes(5))),
        ("Tight, palette of 2, short", rect(9, 5, 7, b"\x50\1\1" + pixels(2, t) + bytes(10))),
        ("Tight, palette of 256", rect(9, 9, 7, b"\x60\1\xff" + pixels(256, t) + _compact(128) + bytes(128))),
        ("Tight, palette of 3, short", rect(3, 3, 7, b"\x60\1\2" + pixels(3, t) + bytes(9))),
        ("Tight, gradient", rect(9, 9, 7, b"\x40\2" + _compact(127) + bytes(127))),
        ("Tight, copy filter", rect(9, 9, 7, b"\x4f\0" + _compact(1) + bytes(1))),
        ("Tight, without zlib", rect(9, 9, 7, b"\xa0" + _compact(81 * t) + pixels(81, t))),
        ("Tight, without zlib, short", rect(1, 1, 7, b"\xa0" + pixels(1, t))),
        (
            "Tight, without zlib, palette of 2",
            rect(9, 9, 7, b"\xe0\1\1" + pixels(2, t) + _compact(18) + bytes(18)),
        ),
        ("zlibhex, zlib raw", rect(16, 16, 8, b"\x20" + u16(3) + b"abc")),
        ("zlibhex, zlib", rect(16, 16, 8, b"\x4e" + u16(3) + b"abc")),
        ("zlibhex, raw", rect(4, 4, 8, b"\1" + pixels(16, p))),
        ("zlibhex, background", rect(4, 4, 8, b"\2" + pixels(1, p))),
        ("ZRLE", rect(64, 64, 16, u32(3) + b"abc")),
        ("ZYWRLE", rect(64, 64, 17, u32(2) + b"ab")),
        ("TRLE, raw", rect(5, 3, 15, b"\0" + pixels(15, c))),
        ("TRLE, solid", rect(16, 16, 15, b"\1" + pixels(1, c))),
        ("TRLE, packed 1 bit", rect(9, 2, 15, b"\2" + pixels(2, c) + bytes(4))),
        ("TRLE, packed 2 bits", rect(5, 2, 15, b"\3" + pixels(3, c) + bytes(4))),
        ("TRLE, packed 4 bits", rect(3, 2, 15, b"\x10" + pixels(16, c) + bytes(4))),
        (
            "TRLE, the packed palette before",
            rect(17, 2, 15, b"\2" + pixels(2, c) + bytes(4) + b"\x7f" + bytes(2)),
        ),
        ("TRLE, the colour before", rect(17, 2, 15, b"\1" + pixels(1, c) + b"\x7f")),
        ("TRLE, runs", rect(16, 16, 15, b"\x80" + pixels(1, c) + b"\xfe" + pixels(1, c) + b"\0")),
        ("TRLE, a long run", rect(16, 16, 15, b"\x80" + pixels(1, c) + b"\xff\0")),
        (
            "TRLE, palette runs",
            rect(20, 16, 15, b"\x82" + pixels(2, c) + b"\x80\xfe\1" + b"\x81\x81\x3e\0"),
        ),
        ("JPEG", rect(9, 9, 21, JPEG)),
        ("Ultra", rect(9, 9, 9, u32(3) + b"lzo")),
        ("Ultra2", rect(9, 9, 10, u32(3) + b"lzo")),
        ("XZ", rect(9, 9, 18, u32(3) + b"abc")),
        ("XZYW", rect(9, 9, 19, u32(3) + b"abc")),
        ("Zstd", rect(9, 9, 25, u32(3) + b"abc")),
        ("TightZstd", rect(9, 9, 26, b"\x80" + pixels(1, t))),
        ("ZstdHex", rect(16, 16, 27, b"\x20" + u16(3) + b"abc")),
        ("ZSTDRLE", rect(9, 9, 28, u32(3) + b"abc")),
        ("ZSTDYWRLE", rect(9, 9, 29, u32(3) + b"abc")),
        ("KeyboardLedState", rect(0, 0, 0xFFFE0000, x=2)),
        ("SupportedMessages", rect(64, 0, 0xFFFE0001, bytes(64))),
        ("SupportedEncodings", rect(8, 2, 0xFFFE0002, u32(0) + u32(5))),
        ("ServerIdentity", rect(5, 0, 0xFFFE0003, b"unix\0")),
        ("ExtViewSize", rect(640, 480, -307)),
        ("Open H.264", rect(64, 64, 50, u32(5) + u32(1) + b"frame")),
        ("DesktopSize", rect(640, 480, -223)),
        ("PointerPos", rect(0, 0, -225, x=7, y=8)),
        ("PointerPos of TightVNC", rect(0, 0, -232, x=7, y=8)),
        ("Cursor", rect(9, 2, -239, pixels(18, p) + bytes(4))),
        ("Cursor, none", rect(0, 0, -239)),
        ("X Cursor", rect(9, 2, -240, bytes(6) + bytes(4) + bytes(4))),
        ("X Cursor, none", rect(0, 2, -240)),
        ("QEMU Pointer Motion Change", rect(0, 0, -257, x=1)),
        ("QEMU Extended Key Event", rect(0, 0, -258)),
        ("QEMU Audio", rect(0, 0, -259)),
        ("Tight PNG", rect(9, 9, -260, b"\xa0" + _compact(130) + bytes(130))),
        ("Tight PNG, fill", rect(9, 9, -260, b"\x80" + pixels(1, t))),
        ("QEMU LED State", rect(0, 0, -261, b"\2")),
        ("DesktopName", rect(0, 0, -307, u32(4) + b"name")),
        ("ExtendedDesktopSize", rect(640, 480, -308, b"\2\0\0\0" + 2 * SCREEN)),
        ("Cursor With Alpha, Raw", rect(3, 3, -314, u32(0) + pixels(9, 4))),
        ("Cursor With Alpha, ZRLE", rect(3, 3, -314, u32(16) + u32(2) + b"ab")),
        ("ExtendedMouseButtons", rect(0, 0, -316)),
        ("ClientRedirect", rect(0, 0, -311, u16(5901) + u32(4) + b"host" + u32(0))),
        ("UltraVNC, Cache", rect(9, 9, 0xFFFF0000, u16(0))),
        ("UltraVNC, SolidColor", rect(9, 9, 0xFFFF0005, pixels(1, p))),
        *((f"UltraVNC, {n}", rect(9, 9, 0xFFFF0000 + n, u32(3) + b"abc")) for n in (2, 3, 4, 7, 8, 9)),
        ("VMware Cursor, classic", rect(3, 2, 0x574D5664, b"\0\0" + pixels(12, p))),
        ("VMware Cursor, alpha", rect(3, 2, 0x574D5664, b"\1\0" + pixels(6, 4))),
        ("VMware Cursor State", rect(0, 0, 0x574D5665, u16(1))),
        ("VMware Cursor Position", rect(0, 0, 0x574D5666)),
        ("VMware Key Repeat", rect(0, 0, 0x574D5667, bytes(10))),
        ("VMware LED state", rect(0, 0, 0x574D5668, u32(7))),
        ("VMware Virtual Machine State", rect(0, 0, 0x574D566A, u16(1))),
    ]
