"""A stage's command line, called in this process."""

import sys
from collections.abc import Callable

import pytest

from stages import common


def failing(
    command: Callable[..., None], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> str:
    """The one line that a stage's command line says when it ends with status 1."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["stage", *arguments])
        with pytest.raises(SystemExit) as ended:
            common.run(command)
    said = capsys.readouterr()
    assert ended.value.code == 1
    lines = said.err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]
