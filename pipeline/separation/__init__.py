"""Separation: a trained model applied to recordings of any length and rate.

In: a model folder, and waveforms (channels, samples) or files and folders of songs.
Out: the estimate of every source, as an array or as files; memory does not grow with a recording's
length. Open `separator.py` first: its docstring shows how to separate a song.
"""

from pipeline.separation.separator import Separator as Separator
