# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of RFB and their registered names.

Sources: the lists of the community document (rfbproto.rst), which carry the IANA registries, and, where
a comment says so, the headers of the implementation that uses the number without registration.
"""

from __future__ import annotations

from collections.abc import Mapping


def _range(first: int, last: int, name: str) -> dict[int, str]:
    return {_signed(number): name for number in range(first, last + 1)}


def _signed(number: int) -> int:
    """Encodings are S32 on the wire; the lists write the large ones unsigned."""
    return number - (1 << 32) if number > 0x7FFFFFFF else number


SECURITY_TYPES: Mapping[int, str] = {
    **_range(3, 4, "RealVNC"),
    **_range(7, 12, "RealVNC"),
    **_range(14, 15, "RealVNC"),
    **_range(31, 35, "Apple Inc."),
    **_range(131, 132, "RealVNC"),
    **_range(134, 255, "RealVNC"),
    0: "Invalid",
    1: "None",
    2: "VNC Authentication",
    5: "RSA-AES",
    6: "RSA-AES Unencrypted",
    13: "RSA-AES Two-step",
    16: "Tight",
    17: "Ultra",
    18: "TLS",
    19: "VeNCrypt",
    20: "SASL",
    21: "MD5 hash authentication",
    22: "xvp Authentication",
    23: "Secure Tunnel",
    24: "Integrated SSH",
    30: "Diffie-Hellman Authentication",
    36: "Apple Inc.",
    104: "UltraVNC SCPrompt",
    105: "UltraVNC SessionSelect",
    112: "MS-Logon I",
    113: "MSLogonII Authentication",
    114: "SecureVNC plugin",
    115: "SecureVNC plugin (new)",
    116: "UltraVNC ClientInitExtraMsgSupport",
    117: "UltraVNC ClientInitExtraMsgSupportNew",
    118: "MS-Logon III",
    128: "RealVNC",
    129: "RSA-AES-256",
    130: "RSA-AES-256 Unencrypted",
    133: "RSA-AES-256 Two-step",
}
"""rfbproto.rst, "Security"; 104, 105, 112, 114 to 118: UltraVNC rfbproto.h; 36: offered by macOS."""

LEGACY_MS_LOGON = 0xFFFFFFFA
"""What UltraVNC's servers of 3.3 say, in a U32, where they want MS-Logon II. UltraVNC rfbproto.h."""

VENCRYPT_SUBTYPES: Mapping[int, str] = {
    256: "Plain",
    257: "TLSNone",
    258: "TLSVnc",
    259: "TLSPlain",
    260: "X509None",
    261: "X509Vnc",
    262: "X509Plain",
    263: "TLSSASL or X509SASL",
    264: "X509SASL or TLSSASL",
    265: "Ident",
    266: "TLSIdent",
    267: "X509Ident",
}
"""rfbproto.rst, "VeNCrypt", which has 263 as TLSSASL and 264 as X509SASL. QEMU, gtk-vnc and libvncserver
have them the other way round; the number does not tell which is meant, so both names are shown."""

SECURITY_RESULTS: Mapping[int, str] = {
    0: "OK",
    1: "failed",
    2: "failed, too many attempts",
    3: "failed, with reason",
    0xFFFFFFFF: "continue",
}
"""rfbproto.rst, "SecurityResult"; 3 and 0xffffffff: UltraVNC rfbproto.h."""

CLIENT_MESSAGES: Mapping[int, str] = {
    **_range(16, 19, "Possibly used in UltraVNC"),
    0: "SetPixelFormat",
    1: "FixColourMapEntries",
    2: "SetEncodings",
    3: "FramebufferUpdateRequest",
    4: "KeyEvent",
    5: "PointerEvent",
    6: "ClientCutText",
    7: "FileTransfer",
    8: "SetScale",
    9: "SetServerInput",
    10: "SetSW",
    11: "TextChat",
    12: "KeyFrameRequest",
    13: "KeepAlive",
    14: "Possibly used in UltraVNC",
    15: "SetScaleFactor",
    20: "RequestSession",
    21: "SetSession",
    80: "NotifyPluginStreaming",
    127: "VMware",
    128: "Car Connectivity",
    150: "EnableContinuousUpdates",
    248: "ClientFence",
    249: "OLIVE Call Control",
    250: "xvp Client Message",
    251: "SetDesktopSize",
    252: "tight",
    253: "gii Client Message",
    254: "VMware",
    255: "QEMU Client Message",
}
"""rfbproto.rst, "Client to Server Messages"."""

APPLE_CLIENT_MESSAGES: Mapping[int, str] = {
    9: "AutoFrameBufferUpdate",
    18: "SetEncryption",
    21: "AutoPasteboard",
    29: "SetDisplayConfiguration",
    33: "ViewerInfo",
}
"""What clients say to Apple's servers (3.889) by numbers that mean something else elsewhere, or nothing.
Field notes; no layout is published."""

SERVER_MESSAGES: Mapping[int, str] = {
    **_range(8, 10, "Possibly used in UltraVNC"),
    0: "FramebufferUpdate",
    1: "SetColourMapEntries",
    2: "Bell",
    3: "ServerCutText",
    4: "ResizeFrameBuffer",
    5: "KeyFrameUpdate",
    6: "Possibly used in UltraVNC",
    7: "FileTransfer",
    11: "TextChat",
    12: "Possibly used in UltraVNC",
    13: "KeepAlive",
    14: "Possibly used in UltraVNC",
    15: "ResizeFrameBuffer",
    127: "VMware",
    128: "Car Connectivity",
    150: "EndOfContinuousUpdates",
    173: "ServerState",
    248: "ServerFence",
    249: "OLIVE Call Control",
    250: "xvp Server Message",
    252: "tight",
    253: "gii Server Message",
    254: "VMware",
    255: "QEMU Server Message",
}
"""rfbproto.rst, "Server to Client Messages"."""

ENCODINGS: Mapping[int, str] = {
    **_range(-768, -763, "JPEG Subsampling Level"),
    **_range(-528, -523, "Car Connectivity"),
    **_range(-512, -412, "JPEG Fine-Grained Quality Level"),
    **_range(-304, -273, "VMware"),
    **_range(-272, -262, "QEMU"),
    **_range(-256, -247, "Compression Level"),
    **_range(-246, -241, "Tight options"),
    **_range(-238, -226, "Tight options"),
    **_range(-222, -219, "Historical libVNCServer use"),
    **_range(-218, -33, "Tight options"),
    **_range(-32, -23, "JPEG Quality Level"),
    **_range(-22, -1, "Tight options"),
    **_range(1000, 1002, "Apple Inc."),
    **_range(1024, 1099, "RealVNC"),
    **_range(1100, 1105, "Apple Inc."),
    **_range(0x574D5600, 0x574D56FF, "VMware"),
    **_range(0xFFFE0004, 0xFFFE00FF, "libVNSServer"),
    -317: "Tight Without Zlib",
    -316: "ExtendedMouseButtons",
    -314: "Cursor With Alpha",
    -313: "ContinuousUpdates",
    -312: "Fence",
    -311: "ClientRedirect",
    -310: "OLIVE Call Control",
    -309: "xvp",
    -308: "ExtendedDesktopSize",
    -307: "DesktopName",
    -306: "popa",
    -305: "gii",
    -261: "QEMU LED State",
    -260: "Tight PNG",
    -259: "QEMU Audio",
    -258: "QEMU Extended Key Event",
    -257: "QEMU Pointer Motion Change",
    -240: "X Cursor",
    -239: "Cursor",
    -232: "PointerPos",
    -225: "PointerPos",
    -224: "LastRect",
    -223: "DesktopSize",
    0: "Raw",
    1: "CopyRect",
    2: "RRE",
    4: "CoRRE",
    5: "Hextile",
    6: "zlib",
    7: "Tight",
    8: "zlibhex",
    9: "Ultra",
    10: "Ultra2",
    15: "TRLE",
    16: "ZRLE",
    17: "Hitachi ZYWRLE",
    18: "XZ",
    19: "XZYW",
    20: "H.264",
    21: "JPEG",
    22: "JRLE",
    25: "Zstd",
    26: "TightZstd",
    27: "ZstdHex",
    28: "ZSTDRLE",
    29: "ZSTDYWRLE",
    50: "Open H.264",
    1011: "Apple Inc.",
    1107: "Apple Inc.",
    1109: "Apple Inc.",
    1110: "Apple Inc.",
    0x48323634: "VA H.264",
    0x574D5664: "VMware Cursor",
    0x574D5665: "VMware Cursor State",
    0x574D5666: "VMware Cursor Position",
    0x574D5667: "VMware Key Repeat",
    0x574D5668: "VMware LED state",
    0x574D5669: "VMware Display Mode Change",
    0x574D566A: "VMware Virtual Machine State",
    _signed(0xC0A1E5CE): "Extended Clipboard",
    _signed(0xC0A1E5CF): "PluginStreaming",
    _signed(0xFFFE0000): "KeyboardLedState",
    _signed(0xFFFE0001): "SupportedMessages",
    _signed(0xFFFE0002): "SupportedEncodings",
    _signed(0xFFFE0003): "ServerIdentity",
    _signed(0xFFFF0000): "Cache",
    _signed(0xFFFF0001): "CacheEnable",
    _signed(0xFFFF0002): "XOR zlib",
    _signed(0xFFFF0003): "XORMonoRect zlib",
    _signed(0xFFFF0004): "XORMultiColor zlib",
    _signed(0xFFFF0005): "SolidColor",
    _signed(0xFFFF0006): "XOREnable",
    _signed(0xFFFF0007): "CacheZip",
    _signed(0xFFFF0008): "SolMonoZip",
    _signed(0xFFFF0009): "UltraZip",
    _signed(0xFFFF8000): "ServerState",
    _signed(0xFFFF8001): "EnableKeepAlive",
    _signed(0xFFFF8002): "FTProtocolVersion",
    _signed(0xFFFF8003): "Session",
    _signed(0xFFFF8004): "EnableIdleTime",
    _signed(0xFFFF8005): "MonitorInfo",
    _signed(0xFFFF8006): "UnicodeTextChat",
    _signed(0xFFFF8007): "ChatFileTransfer",
}
"""rfbproto.rst, "Encodings" and "Pseudo-encodings"; 18, 19, 25 to 29, 0xffff8004 to 0xffff8007: UltraVNC
rfbproto.h; -232: TightVNC and libvncserver; 1107, 1109, 1110: offered by macOS."""
