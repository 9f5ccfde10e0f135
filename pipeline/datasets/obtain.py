"""Get a dataset's recordings into place."""

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

from pipeline.files import atomic_path, md5

MARKER = ".rendered.json"
"""Written with the embedded recordings: what they were rendered from, and which files they are."""


def embedded(dataset: str, root: Path, tracks: int, seconds: float, seed: int) -> bool:
    """Render the embedded recordings of a dataset into `root`; whether anything had to be done.

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
    before, present = _marker(root), _sizes(root)
    if before["made_from"] == made_from and before["files"].items() <= present.items():
        return False
    # Rendering needs scipy, which takes a second to import.
    from pipeline.datasets import synthetic

    with atomic_path(root) as partial:
        partial.mkdir()
        synthetic.render(dataset, partial, tracks, seconds, seed)
        rendered = _sizes(partial)
        marker = json.dumps({"made_from": made_from, "files": rendered}, indent=1)
        (partial / MARKER).write_text(marker, encoding="utf-8")
        for name in present.keys() - before["files"].keys() - rendered.keys():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, partial / name)
    return True


def _marker(root: Path) -> dict[str, Any]:
    """What the last rendering noted; of nothing and no files where there was none."""
    try:
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
        return {"made_from": dict(marker["made_from"]), "files": dict(marker["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"made_from": {}, "files": {}}


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
