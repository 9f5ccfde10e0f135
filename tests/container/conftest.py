"""A folder in which the container's entry point can start."""

from pathlib import Path

import pytest

from tests.helpers import stand_ins


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with all that the checks ask for, and the stand-ins."""
    stand_ins.set_up(tmp_path)
    return tmp_path
