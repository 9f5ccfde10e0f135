"""What is usable of a dataset's folder, and what exactly was in it: small enough for git.

Later stages depend on the inventory, never on the folder: gigabytes are hashed once, and one
changed byte in a recording changes the inventory. It holds no path or time of this machine.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pipeline import files
from pipeline.audio import landmarks
from pipeline.datasets.readers.base import Rejected
from pipeline.errors import UserError
from pipeline.params import FOLDER, Origin
from pipeline.sections import Name
from pipeline.text_files import printed, read_json
from pipeline.tracks import Recording


def _fingerprint(text: str) -> str:
    landmarks.hashes(text)
    return text


class FileEntry(BaseModel):
    """A file as it was when the inventory was taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: Annotated[int, Field(ge=0)]
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    """None for an embedded recording: its last bits depend on the processor that rendered it. What
    it was rendered from is in `Inventory.made_from`; `rendered.py` knows its MD5 on this machine."""


class Inventory(BaseModel):
    """The usable recordings of a dataset, their files, and what was found wrong with the copy."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: Name
    origin: Origin
    collection: str = ""
    """The collection that the songs were taken from, when it is not the dataset itself."""
    absent: str = ""
    """Why there are no recordings at all; empty when there are."""
    recordings: tuple[Recording, ...] = ()
    """Sorted by the track's id."""
    files: dict[str, FileEntry] = {}
    """Every file of the recordings, by its path relative to the dataset's folder."""
    fingerprints: dict[str, dict[str, Annotated[str, AfterValidator(_fingerprint)]]] = {}
    """How each recording sounds, by its track and by what is heard: the mixture and each source, or
    what a folder holds."""
    rejected: tuple[Rejected, ...] = ()
    """Damaged tracks."""
    missing: tuple[str, ...] = ()
    """Published tracks that the copy does not have."""
    extra: tuple[str, ...] = ()
    """Audio files of the copy that do not belong to the published dataset."""
    made_from: dict[str, str | int | float] = {}
    """What the embedded recordings were rendered from: parameters, hash of the renderer."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Later rooms look up tracks, files and kinds by name."""
        seen: set[str] = set()
        for track in (recording.track for recording in self.recordings):
            if track.dataset != self.dataset or track.id in seen:
                raise ValueError(
                    f"recordings: {printed(track.id)} is of another dataset, or twice there"
                )
            seen.add(track.id)
            for part in (part for parts in track.sources.values() for part in parts):
                if part.file not in self.files:
                    raise ValueError(
                        f"files: {printed(part.file)} is missing, {printed(track.id)} needs it"
                    )
        if self.origin == FOLDER and len(self.kinds) != 1:
            raise ValueError("recordings: a folder holds one kind of recordings")
        return self

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
    run = f"run `python -m stages.download {path.stem}`"
    found = read_json(path, Inventory, f"delete it and {run}", f"{run} first")
    if found.dataset != path.stem:
        raise UserError(f"{path}: the inventory of {found.dataset}; delete it and {run}")
    return found


def _lines(inventory: Inventory) -> Iterator[str]:
    """The JSON text, an entry at a time: never all of it, nor all of the model as dictionaries."""
    by_name = sorted(inventory.files.items())
    large: dict[str, tuple[str, str, Iterator[str]]] = {
        "files": ("{", "}", (f"{_json(name)}: {_json_of(entry)}" for name, entry in by_name)),
        "fingerprints": (
            "{", "}",
            (f"{_json(name)}: {_json(heard)}" for name, heard in inventory.fingerprints.items()),
        ),
        "recordings": ("[", "]", map(_json_of, inventory.recordings)),
    }  # fmt: skip
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
