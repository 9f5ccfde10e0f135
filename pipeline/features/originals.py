"""Whether recordings are, at the moment they are read, what their inventory says."""

import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline import files
from pipeline.datasets import rendered
from pipeline.datasets.inventory import FileEntry, Inventory
from pipeline.errors import UserError
from pipeline.features.store import SHORTAGES


def known_files(inventory: Inventory, root: Path) -> dict[str, FileEntry]:
    """The inventory's files with the MD5 of each, also of embedded recordings.

    Theirs are noted beside them. Raises UserError when what lies at `root` was rendered from something
    else than the inventory says, or not at all.
    """
    if not inventory.made_from or not root.exists():
        return inventory.files
    here = rendered.load(root)
    if here.made_from != inventory.made_from:
        raise UserError(
            f"{root}: not rendered from what the inventory of {inventory.dataset} says;"
            f" {_remedy(inventory.dataset)}"
        )
    return {
        name: entry.model_copy(update={"md5": entry.md5 or here.files.get(name)})
        for name, entry in inventory.files.items()
    }


@contextmanager
def unchanged(root: Path, expected: Mapping[str, FileEntry], dataset: str) -> Iterator[None]:
    """Hash the files below `root` that the block reads, and see that they stay as they are.

    Raises UserError, which names the file, when one is not the expected one, before the block; and
    after it, when one was replaced or written to in the meantime.
    """
    before = {name: _look(root / name, entry, dataset) for name, entry in expected.items()}
    yield
    for name, state in before.items():
        try:
            now = files.state(root / name)
            same = now == state or (
                files.perhaps_unchanged(state, now) and files.md5(root / name) == expected[name].md5
            )
        except FileNotFoundError:
            same = False
        if not same:
            raise UserError(f"{root / name}: changed while it was read; run the same command again")


def _look(path: Path, entry: FileEntry, dataset: str) -> list[int]:
    """The state that a file had before it was found to be the expected one."""
    wrong = "not the recording that data/inventory describes: its content is another"
    try:
        found, state = path.stat(), files.state(path)
        if not stat.S_ISREG(found.st_mode):  # opening a named pipe would wait for a writer
            wrong = "not a file"
        elif found.st_size == entry.bytes and entry.md5 in (None, files.md5(path)):
            return state
    except FileNotFoundError:
        wrong = "no such file"
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        wrong = f"cannot be read ({error.strerror})"
    raise UserError(f"{path}: {wrong}; put the recording back, or {_remedy(dataset)}")


def _remedy(dataset: str) -> str:
    return f"run `python -m stages.download {dataset}`, and then the same command again"
