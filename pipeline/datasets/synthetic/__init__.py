"""The embedded recordings: music with singing, rendered into the layouts of the real datasets.

They let every stage run, and the experiment show its point, without a download. `styles` says what
each corpus sounds like, `composition` writes the music, `voice` and `instruments` sound it,
`arrangement` puts a track together and `layouts` writes it.
"""

from pathlib import Path

from pipeline.datasets.synthetic.layouts import Spec, write_track
from pipeline.parallel.mapping import parallel_map


def render(dataset: str, root: Path, tracks: int, seconds: float, seed: int) -> None:
    """Write an embedded corpus in the layout of `dataset` (a key of styles.STYLES) below `root`.

    `tracks` tracks of `seconds`, each up to 15 % shorter or longer, 16 bit, 44.1 kHz, two channels.
    A track depends on the dataset, its number, `seconds` and `seed` alone, not on how many there
    are or how many processes render them. Not atomic: the caller renames `root` once it is whole.
    """
    specs = [Spec(dataset, root, index, seconds, seed) for index in range(tracks)]
    for _ in parallel_map(write_track, specs, f"render {dataset}"):
        pass
