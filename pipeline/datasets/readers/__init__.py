"""The datasets: one reader each, all with the same small interface (`base.Reader`).

To add one, write a module like `ikala.py` and name it here.
"""

from pipeline.datasets.readers import ccmixter, dsd100, ikala, medleydb, musdb18
from pipeline.datasets.readers.base import Reader

READERS: dict[str, Reader] = {
    reader.name: reader
    for module in (dsd100, medleydb, ccmixter, ikala, musdb18)
    for reader in module.READERS
}
