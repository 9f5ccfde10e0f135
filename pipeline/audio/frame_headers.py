"""What the header of one frame of compressed audio says, where libav does not look or not say."""

FLAC_HEADER = 12
"""Bytes that hold the number of a FLAC frame, however long it is."""

# kbit/s of MPEG audio by the header's number: version 1 by layer, version 2's first layer, its others
_BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def mpeg_frame_bytes(header: bytes) -> int:
    """Bytes of an MPEG audio frame (ISO 11172-3, 13818-3); 0 if its header does not say."""
    bits = int.from_bytes(header, "big")
    version, layer = bits >> 19 & 3, 4 - (bits >> 17 & 3)
    rate, speed, padding = bits >> 12 & 15, bits >> 10 & 3, bits >> 9 & 1
    if bits >> 21 != 0x7FF or version == 1 or layer == 4 or rate in (0, 15) or speed == 3:
        return 0
    first = version == 3
    hertz = (44_100, 48_000, 32_000)[speed] // {3: 1, 2: 2, 0: 4}[version]
    kilobits = _BITRATES[1 if first else 2, layer if first else min(layer, 2)][rate - 1]
    slots = 12 if layer == 1 else 72 if layer == 3 and not first else 144
    return (slots * kilobits * 1000 // hertz + padding) * (4 if layer == 1 else 1)


def flac_number(header: bytes) -> tuple[int, bool]:
    """The number in a FLAC frame's header (RFC 9639, 9.1.5), and whether it counts frames.

    It counts samples where frames have several sizes. It is written like a letter in UTF-8.
    """
    ones = f"{header[4]:08b}".index("0") if header[4] != 0xFF else 8
    number = header[4] & (0x7F >> ones)
    for byte in header[5 : 4 + ones]:
        number = number << 6 | byte & 0x3F
    return number, not header[1] & 1
