"""MIR-1K: 1000 clips of karaoke songs (https://sites.google.com/site/unvoicedsoundseparation/mir-1k).

Hsu and Jang, IEEE Transactions on Audio, Speech and Language Processing 18(2), 2010. The singer is the
artist: all clips of all songs share one voice. Voice and accompaniment have the same level in every clip.
"""

from functools import partial

from pipeline.datasets.readers.base import ACCOMPANIMENT, VOCALS, Reader, karaoke_clips

NAME = "MIR-1K"
LAYOUT = "Wavfile/<singer>_<song>_<clip>.wav"
UNUSED = ("UndividedWavfile/*", "LyricsWav/*")
"""Whole songs, and the lyrics read aloud."""

list_tracks = partial(karaoke_clips, dataset=NAME, layout=LAYOUT)

READERS = (Reader(NAME, (ACCOMPANIMENT, VOCALS), LAYOUT, list_tracks, UNUSED),)
