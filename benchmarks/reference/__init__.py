"""Each part written the straightforward way: plain PyTorch, librosa, h5py, museval.

As a competent reader of the paper would write it who is after the numbers and not after speed.
tests/benchmarks checks that the numbers are ours.
"""
