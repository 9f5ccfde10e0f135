"""From a dataset's recordings to its feature file, reading only what is new.

Recordings are transformed in parallel; the rows of those that are in the replaced file already, by
their key, are copied from it. A write that fails keeps what it has computed beside its target, where
the next one finds it.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from pipeline.datasets.inventory import FileEntry, Inventory
from pipeline.errors import UserError, listing
from pipeline.features.extraction import Extracted, extract
from pipeline.features.originals import known_files, unchanged
from pipeline.features.store import FeatureFile
from pipeline.features.writing import Layout, NewFile
from pipeline.files import PARTIAL, atomic_path, remove, reserve
from pipeline.parallel.mapping import DIED, parallel_map
from pipeline.params import Signal
from pipeline.tracks import Recording

HEADROOM = 2**20
"""Bytes kept free for the index and HDF5's own structures."""

Work = tuple[Recording, Mapping[str, FileEntry]]
"""A recording and its files."""


def write(
    inventory: Inventory,
    root: Path,
    sources: Sequence[str],
    signal: Signal,
    target: Path,
    others: Sequence[Path] = (),
) -> int:
    """Compute the features of every recording in parallel and write them as one file.

    root: the folder of the recordings; sources: those of the experiment, or the one kind that a
    folder of unpaired recordings holds; others: further feature files that may have some of them.
    Returns how many recordings were read: those of which `target` or one of the others has sound
    features already are not. Raises UserError, once all others are computed, when
    a recording no longer is what the inventory says, naming the file, or when computing one has ended
    two worker processes. `target` is then as it was, and what was computed is kept beside it.
    """
    if target.is_dir():
        raise UserError(f"{target}: a folder, expected a file; remove it and run again")
    layout = Layout.of(inventory, sources, signal)
    kept = target.with_name(f"{target.name}.kept{PARTIAL}")
    places = _reusable((target, kept, *others), layout)
    with atomic_path(target) as path, _scratch(target) as scratch:
        reserve(path, layout.bytes + HEADROOM)
        with closing(NewFile(path, layout)) as new:
            for track, known in enumerate(places):
                for old, row in known:
                    # damaged, or gone: another one, or it is computed again
                    with suppress(UserError):
                        new.copy(track, old, row)
                        break
            unread = [track for track, done in enumerate(new.done) if not done]
            files = known_files(inventory, root) if unread else {}
            work = [work_of(inventory.recordings[track], sources, files) for track in unread]
            compute = partial(
                extract_original, root=root, kinds=layout.kinds, signal=signal, folder=scratch
            )
            computed: Generator[Extracted | UserError | None, None, None] = parallel_map(
                compute, work, f"features {inventory.dataset}", lambda _: None
            )
            try:
                with closing(computed):
                    refused = _place(new, unread, computed)
                _refuse(target, new, refused)
            except (UserError, KeyboardInterrupt):
                if new.done[unread].any():
                    new.finish()
                    path.replace(kept)
                raise
            new.finish()
    remove(kept)
    return len(unread)


def extract_original(
    work: Work, root: Path, kinds: Sequence[str], signal: Signal, folder: Path
) -> Extracted | UserError:
    """`extract`, if the files are the inventory's all the while; else what is wrong."""
    recording, files = work
    try:
        with unchanged(root, files, recording.track.dataset):
            return extract(recording, root, kinds, signal, folder)
    except UserError as error:
        return error


def work_of(recording: Recording, sources: Sequence[str], files: Mapping[str, FileEntry]) -> Work:
    """A recording with those of its files that are read for `sources`."""
    names = {part.file for source in sources for part in recording.track.sources[source]}
    return recording, {name: files[name] for name in sorted(names)}


def _place(
    new: NewFile, tracks: Sequence[int], computed: Iterable[Extracted | UserError | None]
) -> list[UserError]:
    """Put what was computed into the file; returns what is wrong with the others, if it is known."""
    refused = []
    for track, result in zip(tracks, computed, strict=True):
        if isinstance(result, UserError):
            refused.append(result)
        elif result is not None:
            new.place(track, result)
            result.path.unlink()
    return refused


def _refuse(target: Path, new: NewFile, refused: Sequence[UserError]) -> None:
    if refused:
        more = f" ({len(refused)} recordings are refused; this is the first)"
        raise UserError(f"{refused[0]}{more if len(refused) > 1 else ''}")
    lost = [track for track, done in zip(new.layout.tracks, new.done, strict=True) if not done]
    if lost:
        raise UserError(
            f"{target}: {len(lost)} of {len(new.done)} tracks are lost: {listing(lost)}: {DIED}; give"
            " it more memory, or take the tracks out of the folder and run `make look`; the others"
            " are kept for the next run"
        )


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A new folder beside `target`; what a killed run has left there is removed."""
    folder = target.with_name(f"{target.name}.scratch{PARTIAL}")
    # the others are those of earlier versions, whose names said nothing of their targets
    for left in (folder, *target.parent.glob(f"tmp{'[a-z0-9_]' * 8}{PARTIAL}")):
        remove(left)
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)


def _reusable(paths: Sequence[Path], layout: Layout) -> list[list[tuple[FeatureFile, int]]]:
    """Where each track's rows are already: files and the row in each, in the order of the paths."""
    places: list[list[tuple[FeatureFile, int]]] = [[] for _ in layout.keys]
    for path in paths:
        try:
            old = FeatureFile.open(path)
        except UserError:
            continue
        if (old.kinds, old.sounds, old.signal) != (layout.kinds, layout.sounds, layout.signal):
            continue
        known = {key: row for row, key in enumerate(old.keys) if key}
        for place, key in zip(places, layout.keys, strict=True):
            if key in known:
                place.append((old, known[key]))
    return places
