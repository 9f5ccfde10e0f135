"""The networks: separators and critics, each a file that is found by its name.

In: log magnitudes of mixtures (separators) or of single sources (critics).
Out: log magnitudes of estimates, or scores. Training and separation see no more of a network than
`interfaces.py`, the file to open first; `builders.py` makes one from its section of params.yaml.
A new network is a new file in `separators/` or `critics/` with a function `build`.
"""
