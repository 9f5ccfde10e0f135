"""The datasets' layouts: a file each, found by its `READERS`, all with the interface of `base.Reader`."""

from importlib import import_module
from pkgutil import iter_modules

from pipeline.datasets.readers.base import Reader

READERS: dict[str, Reader] = {
    reader.name: reader
    for found in iter_modules(__path__)
    for reader in getattr(import_module(f"{__name__}.{found.name}"), "READERS", ())
}
