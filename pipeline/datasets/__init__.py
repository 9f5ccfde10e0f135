"""The datasets: one reader each, all with the same small interface (`base.Reader`).

To add one, write a module like `ikala.py` and name its reader here.
"""

from pipeline.datasets import ccmixter, dsd100, ikala, medleydb
from pipeline.datasets.base import Reader

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (dsd100.READER, medleydb.READER, ccmixter.READER, ikala.READER)
}
