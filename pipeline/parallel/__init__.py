"""Per-track work on all cores or a cluster, in order, in bounded memory.

In: a function of one item, and the items. Out: their results, in the items' order, whether worker
processes of this machine or a Dask cluster computed them. A worker that dies costs one item.
Open `mapping.py` first: `parallel_map` is what the other rooms call.
"""
