"""What the critics have learned: their scores of recordings that they know and of others.

In: features, a split, the model folders. Out: results/critics.csv, a line for each critic, seed and
kind of recordings. Open `opinions.py`, the only file.
"""
