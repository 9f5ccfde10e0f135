"""The report: one page that says what came out, with sound and pictures beside it.

In: what the stages before it left: features, split, models, scores, metrics and the table.
Out: a folder with index.html that opens from the disk; and a model as it is given away, with its
card and as ONNX. Nothing is computed here that the table depends on. Open `page.py` first.
"""
