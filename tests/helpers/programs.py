"""The programs under scripts/ that are Python without a suffix, loaded as modules."""

import importlib.machinery
import importlib.util
from types import ModuleType

from tests.helpers.places import TOP


def load(name: str) -> ModuleType:
    """scripts/`name` as a module, without running its command."""
    loader = importlib.machinery.SourceFileLoader(
        name.replace("-", "_"), str(TOP / "scripts" / name)
    )
    specification = importlib.util.spec_from_loader(loader.name, loader)
    assert specification
    module = importlib.util.module_from_spec(specification)
    loader.exec_module(module)
    return module
