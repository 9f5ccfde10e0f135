"""A server, and `fetch` from it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.download.fetch import fetch
from tests.helpers.loading import Fetch
from tests.helpers.server import Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as site:
        yield site


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "archives" / "songs.zip"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def get(target: Path, said: list[str]) -> Fetch:
    """`fetch` to `target`, with little patience."""

    def get(*urls: str, **options: Any) -> Path:
        patience: dict[str, Any] = {"wait": 0.001, "attempts": 3, "say": said.append}
        return fetch(urls, target, **patience | options)

    return get
