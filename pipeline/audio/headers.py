"""What is wrong with the length of a file: decoders do not say, and give what is there.

A header says where the audio ends. A file that ends before was cut short; one that goes on after it
holds more than would be read. (What is compressed by packets, `audio.libav` counts; here are the
formats of libsndfile, and those whose whole size is announced.)
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

# A damaged file may look like millions of empty chunks.
_MAX_CHUNKS = 10_000


class _Chunks(NamedTuple):
    """How a family of formats lays out its chunks."""

    start: int
    """Where the first chunk begins."""
    header: struct.Struct
    """Name and size of a chunk."""
    audio: bytes
    """Name of the chunk that holds the samples."""
    own: int = 0
    """Bytes of the header that the size counts too."""
    align: int = 2


_LITTLE, _BIG, _W64 = struct.Struct("<4sI"), struct.Struct(">4sI"), struct.Struct("<4s12xQ")
_LAYOUTS = {
    (b"RIFF", b"WAVE"): _Chunks(12, _LITTLE, b"data"),
    (b"RIFX", b"WAVE"): _Chunks(12, _BIG, b"data"),
    (b"RF64", b"WAVE"): _Chunks(12, _LITTLE, b"data"),  # EBU Tech 3306
    (b"RIFF", b"AVI "): _Chunks(0, _LITTLE, b"RIFF"),
    (b"FORM", b"AIFF"): _Chunks(12, _BIG, b"SSND"),
    (b"FORM", b"AIFC"): _Chunks(12, _BIG, b"SSND"),
    (b"FORM", b"8SVX"): _Chunks(12, _BIG, b"BODY"),
    (b"FORM", b"16SV"): _Chunks(12, _BIG, b"BODY"),
    (b"riff", b"\xa5\xd6\x28\xdb"): _Chunks(40, _W64, b"data", own=24, align=8),
    (b"caff", b"desc"): _Chunks(8, struct.Struct(">4sq"), b"data", align=1),
}
# Writers that cannot go back to the header (pipes, killed ones) leave one of these; sox 0x7FFFF000.
_UNKNOWN = (-1, 0, 0x7FFFF000, 0xFFFFFFFF, 2**64 - 1)
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def after_tag(file: BinaryIO) -> int:
    """Where a file begins, behind ID3v2 tags."""
    start = 0
    for _ in range(_MAX_CHUNKS):
        file.seek(start)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10 or max(head[6:]) > 0x7F:
            break
        size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        start += 10 + size + 10 * bool(head[5] & 0x10)
    return start


def wrong_length(file: BinaryIO, size: int) -> str:
    """What is wrong with the length of a file of `size` bytes, in a few words; "" if nothing is."""
    start = after_tag(file)
    file.seek(start)
    head = file.read(400)
    if head[:4] == b"OggS":
        return _wrong_ogg(file, start, size)
    if _ends_in_a_packet(file, head, start, size):
        return "truncated: it ends in the middle of a packet"
    layout = _LAYOUTS.get((head[:4], head[8:12]))
    if layout:
        return _wrong_chunks(file, start, size, layout)
    announced = _announced(file, head, start, size)
    if not announced:
        return ""
    return compared(file, start + announced, size)


def compared(file: BinaryIO, end: int, size: int) -> str:
    """A file's size with where it should end. Tags may follow, and zeros."""
    if size < end:
        return f"truncated: its header announces {end} bytes, {size} are there"
    more = before_tags(file, size) - end
    file.seek(end)
    if more <= 0 or not any(file.read(min(more, 2**16))):
        return ""
    return f"holds {more} bytes more than its header announces"


def before_tags(file: BinaryIO, size: int) -> int:
    """Where a file ends, before its tags: ID3v1 and APE, which players look for at the end."""
    file.seek(max(size - 128, 0))
    if file.read(3) == b"TAG":
        size -= 128
    file.seek(max(size - 32, 0))
    footer = file.read(32)
    if footer[:8] == b"APETAGEX":
        header = 32 * (footer[23] >> 7)
        size -= int.from_bytes(footer[12:16], "little") + header
    return size


def _walk(
    file: BinaryIO, place: int, size: int, layout: _Chunks
) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin and length of the chunks from `place` on; the last one may not fit."""
    length = 0
    for _ in range(_MAX_CHUNKS):
        file.seek(place)
        header = file.read(layout.header.size)
        if len(header) < layout.header.size:
            return
        name, length = layout.header.unpack(header)
        length -= layout.own
        place += layout.header.size
        yield name, place, length
        if not 0 <= length <= size - place:
            return
        place += -(-length // layout.align) * layout.align


def _wrong_chunks(file: BinaryIO, start: int, size: int, layout: _Chunks) -> str:
    """Audio that is cut off, or something behind it that is no chunk."""
    large, end = 0, 0
    for name, place, length in _walk(file, start + layout.start, size, layout):
        if name == b"ds64":  # RF64: the size of the audio, for which its chunk has too few bits
            file.seek(place)
            large = int(struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0])
        audio = name == layout.audio
        if audio and length == 0xFFFFFFFF and large:
            length = large
        if audio and length + layout.own in _UNKNOWN:
            # its writer was stopped, unless nothing or only other chunks follow
            unfinished = length > 0 or _unfinished(file, place, size, layout)
            return "" if unfinished else "holds no samples"
        if audio and not 0 <= length <= size - place:
            return (
                f"truncated: its header announces {length} bytes of audio, {size - place} are there"
            )
        file_again = name in (b"RIFF", b"RIFX", b"RF64", b"FORM", b"riff") and not audio
        chunk = 0 <= length <= size - place and re.fullmatch(rb"[ -~]{4}", name)
        if end and (file_again or not chunk):
            break
        if audio or end:
            end = place + -(-length // layout.align) * layout.align
    return compared(file, end, size) if 0 < end < size else ""


def _unfinished(file: BinaryIO, place: int, size: int, layout: _Chunks) -> bool:
    """Whether anything but whole chunks follows."""
    for _, begin, length in _walk(file, place, size, layout):
        place = begin + length
    return not size - layout.align < place <= size


def _ends_in_a_packet(file: BinaryIO, head: bytes, start: int, size: int) -> bool:
    """Whether the last packet of an MPEG transport stream, plain or of a disc, is not whole."""
    for length, before in ((188, 0), (192, 4)):
        if head[before::length][:2] == b"GG":  # each begins so
            rest = (size - start) % length
            file.seek(size - rest + before)
            return rest > before and file.read(1) == b"G"
    return False


def _announced(file: BinaryIO, head: bytes, start: int, size: int) -> int:
    """Bytes from `start` to the end of a file, by its header; 0 if it does not say."""
    if len(head) < 64:
        return 0
    if head[:4] in (b".snd", b"dns."):  # AU
        begin, length = struct.unpack(">II" if head[:1] == b"." else "<II", head[4:12])
        return 0 if length in _UNKNOWN else int(begin + length)
    if head[:4] == b"2BIT":  # AVR
        stereo, bits, samples = map(int, struct.unpack(">12xHH10xI", head[:30]))
        return 128 + samples * (1 + bool(stereo)) * (bits // 8)
    if head[:8] == b"NIST_1A\n":
        return _announced_by_nist(file, start)
    if head[:20] == b"Creative Voice File\x1a":
        return _announced_by_voc(file, int.from_bytes(head[20:22], "little"), start, size)
    if b"wavedata" in head and (head[:6] == b"MATLAB" or head[20:30] == b"samplerate"):
        return _announced_by_mat(head)
    if head[4:8] in _MP4_BOXES:
        return _announced_by_mp4(file, start, size)
    if head[:4] == b"FLV\1":
        return _announced_by_flv(file, start, size)
    if head[:4] == b"0&\xb2u":  # WMA: whole file, in its file properties
        for name, place, _ in _walk(file, start + 30, size, _Chunks(30, _W64, b"", 24, 1)):
            if name == b"\xa1\xdc\xab\x8c":
                file.seek(place + 16)
                return int.from_bytes(file.read(8), "little")
    return 0


def _announced_by_nist(file: BinaryIO, start: int) -> int:
    file.seek(start)
    header = file.read(1024)
    fields = dict(re.findall(rb"(\w+) -i (\d{1,12})\n", header))
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    counts = [int(fields.get(name, b"0")) for name in names]
    plain = not re.search(rb"sample_coding -s\d+ .*(shorten|wavpack)", header)
    begins = re.match(rb"NIST_1A\n *(\d+)\n", header)
    return int(begins[1]) + counts[0] * counts[1] * counts[2] if plain and begins else 0


def _announced_by_voc(file: BinaryIO, place: int, start: int, size: int) -> int:
    """Blocks with sizes, and a zero at the end."""
    for _ in range(_MAX_CHUNKS):
        file.seek(start + place)
        kind, *length = file.read(4).ljust(4, b"\1")
        if kind == 0 and start + place < size:
            return place + 1
        place += 4 + int.from_bytes(bytes(length), "little")
        if start + place > size:
            return place
    return 0


def _announced_by_mat(head: bytes) -> int:
    """The matrix of samples, as libsndfile writes and reads it, in MATLAB 4 and 5."""
    name = head.index(b"wavedata")
    if head[:6] == b"MATLAB":
        order: Literal["little", "big"] = "little" if head[126:128] == b"IM" else "big"
        return name + 16 + int.from_bytes(head[name + 12 : name + 16], order)
    layout = "<IIIII" if head[2:4] == b"\0\0" else ">IIIII"
    kind, rows, columns, _, letters = map(int, struct.unpack(layout, head[name - 20 : name]))
    return name + letters + rows * columns * {0: 8, 1: 4, 2: 4, 3: 2}.get(kind % 100 // 10, 0)


def _announced_by_mp4(file: BinaryIO, start: int, size: int) -> int:
    """Boxes with sizes, up to a second index, or to what is no box (ISO 14496-12)."""
    place, index = 0, False
    for _ in range(_MAX_CHUNKS):
        file.seek(start + place)
        length, name, large = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
        length = large if length == 1 else length
        again = name == b"moov" and index
        if start + place >= size or again or (place and not name.isalnum()) or length == 0:
            return 0 if length == 0 and name.isalnum() else place
        index |= name == b"moov"
        place += max(length, 8)
    return 0


def _announced_by_flv(file: BinaryIO, start: int, size: int) -> int:
    """Tags with sizes, up to what is no tag."""
    place = 13
    while start + place < size:
        file.seek(start + place)
        head = file.read(4)
        if head[0] & 0x1F not in (8, 9, 18):
            break
        place += 15 + int.from_bytes(head[1:], "big")
    return place


def _wrong_ogg(file: BinaryIO, place: int, size: int) -> str:
    """Pages with numbers and checksums (RFC 3533), and a mark on each stream's last one."""
    number: dict[bytes, int] = {}
    ended: set[bytes] = set()
    while place < size:
        file.seek(place)
        head = file.read(27)
        lengths = file.read(head[26]) if len(head) == 27 else b""
        page = head + lengths + file.read(sum(lengths))
        whole = len(head) == 27 and len(page) == 27 + head[26] + sum(lengths)
        serial = head[14:18]
        if not whole and head[:4] == b"OggS":
            return "truncated: it ends in the middle of a page"
        if head[:4] != b"OggS" or _ogg_checksum(page) != int.from_bytes(head[22:26], "little"):
            wrong = compared(file, place, size)
            if not wrong or number.keys() == ended:
                return wrong
            return f"damaged: the page at byte {place} has another checksum"
        sequence = int.from_bytes(head[18:22], "little")
        if head[5] & 2 and ended:
            return "holds several recordings, one after the other"
        if sequence != number.get(serial, sequence - 1) + 1:
            return f"damaged: pages are missing before byte {place}"
        number[serial] = sequence
        if head[5] & 4:
            ended.add(serial)
        place += len(page)
    return "" if number.keys() == ended else "truncated: its last page is missing"


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _ogg_checksum(page: bytes) -> int:
    """zlib's polynomial, but bits the other way round, and nothing inverted."""
    zeroed = page[:22] + bytes(4) + page[26:]
    found = zlib.crc32(zeroed.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{found:032b}"[::-1], 2)
