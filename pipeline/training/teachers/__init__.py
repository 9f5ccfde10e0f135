"""Self-training on unlabelled mixtures: a file for each kind of teacher, found by its name.

A teacher is a running average of the separator's own weights (`step.follow`). Of a kind, `loss(state,
batch, estimates)` is what the separator lowers beside L_s; estimates: its own, of `batch.unlabelled`
(n, sources, …), None where the batch has none.
"""
