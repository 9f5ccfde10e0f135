"""How many bytes of audio a file's header announces: libsndfile shortens it to what is there."""

import struct
from typing import BinaryIO, NamedTuple

# Writers that cannot go back to the header (pipes) leave one of these as the size; sox the first.
_UNKNOWN_SIZES = (0x7FFFF000, 0xFFFFFFFF)
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


_ASF = b"\xa1\xdc\xab\x8c"
_LAYOUTS = {
    (b"RIFF", b"WAVE"): _Chunks(12, struct.Struct("<4sI"), b"data"),
    (b"RIFX", b"WAVE"): _Chunks(12, struct.Struct(">4sI"), b"data"),
    (b"RF64", b"WAVE"): _Chunks(12, struct.Struct("<4sI"), b"data"),  # EBU Tech 3306
    (b"FORM", b"AIFF"): _Chunks(12, struct.Struct(">4sI"), b"SSND"),
    (b"FORM", b"AIFC"): _Chunks(12, struct.Struct(">4sI"), b"SSND"),
    (b"riff", b"\xa5\xd6\x28\xdb"): _Chunks(40, struct.Struct("<4s12xQ"), b"data", own=24, align=8),
    # WMA: the size of the whole file stands in the file properties.
    (b"0&\xb2u", b"\xa6\xd9\x00\xaa"): _Chunks(30, struct.Struct("<4s12xQ"), _ASF, own=24, align=1),
    (b"caff", b"desc"): _Chunks(8, struct.Struct(">4sq"), b"data", align=1),
}


def audio_bytes(file: BinaryIO, size: int) -> tuple[int, int]:
    """Bytes of audio that a header announces, and that follow it in the `size` bytes of the file.

    (0, 0) for other formats, and where the header does not say.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] == b".snd" and len(head) == 12:
        start, announced = struct.unpack(">II", head[4:])
        return _known(announced), max(0, size - start)
    layout = _LAYOUTS.get((head[:4], head[8:12]))
    if layout is None:
        return 0, 0
    large = 0  # the size of the audio in RF64, where the chunk's own has too few bits
    place = layout.start
    for _ in range(_MAX_CHUNKS):
        file.seek(place)
        header = file.read(layout.header.size)
        if len(header) < layout.header.size:
            break
        name, length = layout.header.unpack(header)
        length -= layout.own
        place = file.tell()
        if name == layout.audio == _ASF:
            announced = int.from_bytes(file.read(24)[16:], "little")
            # What is compressed may end in the middle of a frame.
            return (announced, size) if size < 0.99 * announced else (0, 0)
        if name == layout.audio:
            announced = large if head[:4] == b"RF64" and length == 0xFFFFFFFF else length
            return _known(announced), size - place
        if name == b"ds64" and length >= 16:
            large = int(struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0])
        if not 0 <= length <= size:
            break
        place += -(-length // layout.align) * layout.align
    return 0, 0


def _known(announced: int) -> int:
    return announced if 0 <= announced < 2**62 and announced not in _UNKNOWN_SIZES else 0
