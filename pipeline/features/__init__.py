"""The features: log magnitudes and waveforms at the working rate, in HDF5.

In: an inventory and its recordings. Out: one file a dataset (data/features), where a track's rows
lie one behind the other: log(1 + |X|) of the mixture and of each source, and the sources' samples.
Rows of recordings that did not change are copied. Open `stft.py` first, then `store.py`.
"""
