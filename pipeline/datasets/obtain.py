"""Get a dataset's recordings into place."""

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.files import atomic_path, md5, recover

MARKER = ".rendered.json"
"""Written with the embedded recordings: what they were rendered from, and which files they are."""


class Rendered(NamedTuple):
    """The embedded recordings in a folder: what they were made from, and the size of each file."""

    made_from: dict[str, Any]
    files: dict[str, int]


def embedded(dataset: str, root: Path, tracks: int, seconds: float, seed: int) -> Rendered:
    """Render the embedded recordings of a dataset into `root`.

    Nothing is done when the same parameters and the same renderer already did, and their files are
    all there in full length. Other files in the folder are a user's own and stay there. Raises
    UserError when the disk cannot be written.
    """
    made_from = {
        "dataset": dataset,
        "tracks": tracks,
        "seconds": seconds,
        "seed": seed,
        "renderer": _renderer_md5(),
    }
    recover(root)
    before, present = _marker(root), _sizes(root)
    if before.made_from == made_from and before.files.items() <= present.items():
        return before
    # Rendering needs scipy, which takes a second to import.
    from pipeline.datasets import synthetic

    with atomic_path(root) as partial:
        partial.mkdir()
        synthetic.render(dataset, partial, tracks, seconds, seed)
        rendered = Rendered(made_from, _sizes(partial))
        marker = json.dumps(rendered._asdict(), indent=1)
        (partial / MARKER).write_text(marker, encoding="utf-8")
        for name in present.keys() - before.files.keys() - rendered.files.keys():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, partial / name)
    return rendered


def _marker(root: Path) -> Rendered:
    """What the last rendering noted; of nothing and no files where there was none."""
    try:
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
        return Rendered(dict(marker["made_from"]), dict(marker["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Rendered({}, {})


def _sizes(root: Path) -> dict[str, int]:
    """Bytes of every file below `root` but the marker."""
    paths = sorted(path for path in root.rglob("*") if path.is_file() and path.name != MARKER)
    return {path.relative_to(root).as_posix(): path.stat().st_size for path in paths}


def _renderer_md5() -> str:
    """A hash of the renderer's source code: found, not imported."""
    spec = importlib.util.find_spec("pipeline.datasets.synthetic")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pipeline.datasets.synthetic")
    code = "".join(md5(path) for path in sorted(Path(spec.origin).parent.rglob("*.py")))
    return hashlib.md5(code.encode(), usedforsecurity=False).hexdigest()
