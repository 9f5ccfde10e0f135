"""The datasets: recordings obtained, checked track by track, listed and given roles.

In: an archive, a user's folder or the embedded renderer, and the published facts in `catalogue/`.
Out: an inventory of each dataset (data/inventory), and the role of every track (data/split.csv).
`survey.py` leads from a folder to its inventory and is the file to open first; to add a dataset,
write a reader like `readers/ikala.py`.
"""
