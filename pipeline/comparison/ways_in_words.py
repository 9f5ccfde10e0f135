"""How the rows of a table learn, in words that tell each from the others."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.ways import Model

MINUTES = {"supervised_minutes", "unlabelled_minutes"}
"""How much is learned from, and not how."""


def in_words(models: Mapping[str, Model]) -> dict[str, str]:
    """How each model learns; where others learn in the same way, also the keys that they differ in."""
    ways = {name: model.way for name, model in models.items()}
    keys = {name: dict(_flat(model.model_dump(exclude=MINUTES))) for name, model in models.items()}
    found = {}
    for name, own in keys.items():
        alike = [keys[other] for other in models if ways[other] == ways[name]]
        differing = [key for key in own if any(one.get(key) != own[key] for one in alike)]
        said = [f", {key} {_shown(own[key])}" for key in differing if own[key] is not None]
        found[name] = ways[name] + "".join(said)
    return found


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Keys of sections inside sections as `teacher.decay`."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " and ".join(str(one) if isinstance(one, list) else _shown(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
