"""The embedded recordings in a folder: what they were rendered from, and the MD5 of each file.

The inventory, which is committed, has no MD5 of theirs: their last bits depend on the processor. This is
noted beside them, for the machine that rendered them.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import files
from pipeline.text_files import remembered

MARKER = ".rendered.json"


class Rendered(NamedTuple):
    """What was noted when they were rendered."""

    made_from: dict[str, Any]
    files: dict[str, str]
    """MD5 of each file by its path below the folder, with forward slashes."""

    def intact(self, root: Path) -> bool:
        """Whether all files are there as they were written."""
        try:
            # opening a named pipe would wait for a writer
            return all(
                (root / name).is_file() and files.md5(root / name) == md5
                for name, md5 in self.files.items()
            )
        except OSError:
            return False


def note(root: Path, made_from: dict[str, Any]) -> Rendered:
    """Write the marker of a folder that was just rendered."""
    found = Rendered(made_from, {name: files.md5(root / name) for name in names(root)})
    (root / MARKER).write_text(json.dumps(found._asdict(), indent=1), encoding="utf-8")
    return found


def load(root: Path) -> Rendered:
    """What `note` wrote; of nothing and no files where there is none."""
    return remembered(root / MARKER, Rendered) or Rendered({}, {})


def names(root: Path) -> list[str]:
    """Every file below a folder but the marker."""
    paths = sorted(path for path in root.rglob("*") if path.is_file() and path.name != MARKER)
    return [path.relative_to(root).as_posix() for path in paths]
