"""Networks from their settings, found by name: `separators/<name>.py`, `critics/<name>.py`."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from pipeline.networks.slots import SlottedSeparator
from pipeline.params import Signal

UNNAMED = {"separators": "unet", "critics": "dcgan"}
"""The networks of settings that name none: those of model folders from before there was a choice."""


def build_separator(settings: Mapping[str, Any], signal: Signal, sources: int) -> nn.Module:
    """A `SeparatorNetwork` with fresh weights, from torch's global generator.

    settings: the section `separator` of params.yaml. Raises ValueError for an unknown network, and
    TypeError for settings that it does not take.
    """
    own = dict(settings)
    slots = own.pop("slots", 1)
    network = _build("separators", own, signal=signal, sources=sources * slots)
    return SlottedSeparator(network, sources, slots) if slots > 1 else network


def build_critic(settings: Mapping[str, Any], signal: Signal, frames: int) -> nn.Module:
    """A `CriticNetwork` with fresh weights for excerpts of `frames` frames.

    settings: the section `critic`. Errors as above.
    """
    return _build("critics", settings, signal=signal, frames=frames)


def _build(kind: str, settings: Mapping[str, Any], **shape: Any) -> nn.Module:
    own = dict(settings)
    name = str(own.pop("network", UNNAMED[kind]))
    place = f"{__package__}.{kind}.{name}"
    try:
        module = import_module(place)
    except ModuleNotFoundError as error:
        if error.name != place:
            raise
        raise ValueError(f"no network {name!r} among the {kind} of this version") from None
    network: nn.Module = module.build(**shape, **own)
    return network
