"""iKala: 252 clips of 30 s (http://mac.citi.sinica.edu.tw/ikala/; withdrawn by its makers).

The song's number stands for the artist: verse and chorus of a song share their singer.
"""

from functools import partial

from pipeline.datasets.readers.base import ACCOMPANIMENT, VOCALS, Reader, karaoke_clips

NAME = "iKala"
LAYOUT = "Wavfile/<song>_<verse or chorus>.wav"

list_tracks = partial(karaoke_clips, dataset=NAME, layout=LAYOUT)

READERS = (Reader(NAME, (ACCOMPANIMENT, VOCALS), LAYOUT, list_tracks),)
