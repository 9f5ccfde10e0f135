"""How good the estimates of one row of the table are on each test track.

In: features, a split, a model folder. Out: results/tracks/<row>.csv, a line per track and source.
Open `metrics.py` first: the metrics as a table, one entry each. `table_row.py` scores all tracks of
a row, `scoring.py` one of them; museval and torchmetrics are the judges of both in `judge.py`.
"""
