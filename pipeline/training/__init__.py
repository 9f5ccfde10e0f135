"""Training: one model learned from paired and unpaired recordings, resumable.

In: features, roles and the parameters of one model. Out: its model folder: weights, settings,
critics, and the history of its losses. The same seed gives the same batches on any machine, and a
killed run continues from its last checkpoint.
Open `step.py` first: one update of the critics and one of the separator, on one page.
"""
