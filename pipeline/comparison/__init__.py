"""From scores per track to means, intervals, the table, and reviews.

In: results/tracks/*.csv and models/*/history; for a review two revisions of the repository.
Out: results/metrics.json, table.csv, table.md, curves.csv; Markdown for a pull request.
Open `aggregation.py` first: means per test set, differences between models; `table.py` shows them.
"""
