"""Get a dataset's recordings into place."""

import hashlib
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline import files
from pipeline.datasets import catalogue, rendered
from pipeline.datasets.catalogue import Collection
from pipeline.datasets.download.fetch import fetch, local
from pipeline.datasets.download.transfer import Transfer, plainly
from pipeline.datasets.download.unpack import refuse_visible, unpack, visible
from pipeline.datasets.rendered import Rendered
from pipeline.errors import UserError
from pipeline.parallel import machine


def embedded(dataset: str, root: Path, tracks: int, seconds: float, seed: int) -> Rendered:
    """Render the embedded recordings of a dataset into `root`.

    Nothing is done when the same parameters and the same renderer already did, and their files are
    all there as they were written. Other files in the folder are a user's own and stay there. Raises
    UserError when the disk cannot be written.
    """
    asked = {"dataset": dataset, "tracks": tracks, "seconds": seconds, "seed": seed}
    made_from = asked | {"renderer": _renderer_md5(), "arithmetic": machine.arithmetic()}
    files.recover(root)
    before = rendered.load(root)
    if before.made_from == made_from and before.intact(root):
        return before
    # Rendering needs scipy, which takes a second to import.
    from pipeline.datasets import synthetic

    with files.atomic_path(root) as partial:
        partial.mkdir()
        synthetic.render(dataset, partial, tracks, seconds, seed)
        found = rendered.note(partial, made_from)
        for name in set(rendered.names(root)) - before.files.keys() - found.files.keys():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, partial / name)
    return found


def public(collection: Collection, root: Path, say: Callable[[str], None] = print) -> None:
    """Bring a public collection into the folder `root`, unless something is there already.

    What is there is a user's copy or ours from before, and is left alone. Else the archive is loaded
    to `root`/../archives (one that lies there is used) and unpacked; killed at any moment and run
    again, that ends with the whole collection. Raises UserError, one line, when the disk has no room
    for it, no address gives it, or it is not what was published.
    """
    say = plainly(say)
    if _there(collection, root, say):
        return
    place = root.parent / "archives" / collection.file
    with files.alone(place.with_name(f"{collection.file}.unpack"), say):
        if _there(collection, root, say):
            return
        say(f"{collection.name}: {collection.page}")
        say(f"{collection.name}: licence: {collection.licence}")
        say(f"{collection.name}: please cite: {collection.citation}")
        # What a killed run had unpacked: removed now, so that it does not count as used.
        files.remove(root.resolve().with_name(root.resolve().name + files.PARTIAL))
        _check_room(collection, place, root.resolve())
        checksum, size = collection.checksum, collection.bytes
        packed = fetch(collection.urls, place, checksum=checksum, size=size, say=say)
        unpack(packed, root)
    say(f"{collection.name}: unpacked to {root}")
    if packed == place:
        say(f"{collection.name}: its archive {packed} may be deleted now")


def publisher(name: str, url: str | None = None, checksum: str | None = None) -> Collection:
    """The catalogue's entry of a collection, with another address or checksum of its archive.

    Another checksum means another archive: the published sizes do not hold for it. Raises UserError
    when it cannot be downloaded, saying how to get it.
    """
    found = catalogue.collection(name)
    if not found.file:
        raise UserError(
            f"{name}: cannot be downloaded: {found.apply}; use origin: local with a copy of yours"
        )
    if url:
        found = found._replace(urls=(url,))
    if checksum:
        found = found._replace(checksum=checksum, bytes=None, unpacked_bytes=None)
    return found


def is_empty(root: Path) -> bool:
    """Whether there is nothing at `root`: no folder, or none with anything visible in it."""
    return not visible(root) and (root.is_dir() or not root.exists())


def _there(collection: Collection, root: Path, say: Callable[[str], None]) -> bool:
    if visible(root):
        say(f"{collection.name}: {root} holds files: they are used as they are, nothing is loaded")
        return True
    refuse_visible(root)
    return False


def _check_room(collection: Collection, place: Path, root: Path) -> None:
    """Raise UserError unless what is still missing fits on the disk, or on the two disks."""
    load = max((collection.bytes or 0) - Transfer(place).length(), 0)
    if place.exists() or (collection.urls and local(collection.urls[0])):
        load = 0
    unpacked = collection.unpacked_bytes or 0
    if files.existing(place).stat().st_dev == files.existing(root).stat().st_dev:
        files.require_space(root, load + unpacked, f"{collection.name} and its archive")
    else:
        files.require_space(place, load, f"the archive of {collection.name}")
        files.require_space(root, unpacked, collection.name)


def _renderer_md5() -> str:
    """A hash of the renderer's source code: found, not imported."""
    spec = importlib.util.find_spec("pipeline.datasets.synthetic")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pipeline.datasets.synthetic")
    code = "".join(files.md5(path) for path in sorted(Path(spec.origin).parent.rglob("*.py")))
    return hashlib.md5(code.encode(), usedforsecurity=False).hexdigest()
