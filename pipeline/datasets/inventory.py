"""What is usable of a dataset's folder, and what exactly was in it: small enough for git.

Later stages depend on the inventory, never on the folder: gigabytes are hashed once, and one
changed byte in a recording changes the inventory. It holds no path or time of this machine.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline import files
from pipeline.datasets.readers.base import Rejected
from pipeline.errors import UserError
from pipeline.tracks import Recording


class FileEntry(BaseModel):
    """A file as it was when the inventory was taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    md5: str | None = None
    """None for an embedded recording: its last bits depend on the processor that rendered it. What
    it was rendered from is in `Inventory.made_from`; `rendered.py` knows its MD5 on this machine."""


class Inventory(BaseModel):
    """The usable recordings of a dataset, their files, and what was found wrong with the copy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    origin: str
    collection: str = ""
    """The collection that the songs were taken from, when it is not the dataset itself."""
    absent: str = ""
    """Why there are no recordings at all; empty when there are."""
    recordings: tuple[Recording, ...] = ()
    """Sorted by the track's id."""
    files: dict[str, FileEntry] = {}
    """Every file of the recordings, by its path relative to the dataset's folder."""
    rejected: tuple[Rejected, ...] = ()
    """Damaged tracks."""
    missing: tuple[str, ...] = ()
    """Published tracks that the copy does not have."""
    extra: tuple[str, ...] = ()
    """Audio files of the copy that do not belong to the published dataset."""
    made_from: dict[str, str | int | float] = {}
    """What the embedded recordings were rendered from: parameters, hash of the renderer."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is recorded of every track: sources, or mixture for a folder of mixtures."""
        held = [set(recording.track.sources) for recording in self.recordings]
        return tuple(sorted(set.intersection(*held))) if held else ()


def save(inventory: Inventory, path: Path) -> None:
    """Write as JSON that compares well line by line."""
    with (
        files.atomic_path(path) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(_lines(inventory))


def load(path: Path) -> Inventory:
    """Read what `save` wrote; raises UserError when the file is missing or damaged."""
    try:
        return Inventory.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        remedy = f"run `python -m stages.download {path.stem}` first"
        raise UserError(f"{path}: no such file; {remedy}") from None
    except (ValidationError, UnicodeDecodeError):
        remedy = f"delete it and run `python -m stages.download {path.stem}`"
        raise UserError(f"{path}: not a valid inventory; {remedy}") from None


def _lines(inventory: Inventory) -> Iterator[str]:
    """The JSON text, an entry at a time: never all of it, nor all of the model as dictionaries."""
    by_name = sorted(inventory.files.items())
    large: dict[str, tuple[str, str, Iterator[str]]] = {
        "files": ("{", "}", (f"{_json(name)}: {_json_of(entry)}" for name, entry in by_name)),
        "recordings": ("[", "]", map(_json_of, inventory.recordings)),
    }
    scalars = inventory.model_dump(mode="json", exclude_defaults=True, exclude=set(large))
    separator = "{"
    for name in sorted([*scalars, *(name for name in large if getattr(inventory, name))]):
        yield f"{separator}\n {_json(name)}: "
        separator = ","
        if name in scalars:
            yield _json(scalars[name])
            continue
        opening, closing, entries = large[name]
        for entry in entries:
            yield f"{opening}\n  {entry}"
            opening = ","
        yield f"\n {closing}"
    yield "\n}\n"


def _json_of(entry: BaseModel) -> str:
    return _json(entry.model_dump(mode="json", exclude_defaults=True))


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
