"""Networks from their settings, found by name: `separators/<name>.py`, `critics/<name>.py`.

A user's own are found by `networks.own`.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from pipeline.errors import UserError
from pipeline.network_settings import is_own
from pipeline.networks import own, trial
from pipeline.networks.slots import SlottedSeparator
from pipeline.params import Signal

UNNAMED = {"separators": "unet", "critics": "dcgan"}
"""The networks of settings that name none: those of model folders from before there was a choice."""


def build_separator(settings: Mapping[str, Any], signal: Signal, sources: int) -> nn.Module:
    """A `SeparatorNetwork` with fresh weights, from torch's global generator.

    settings: the section `separator` of params.yaml. Raises ValueError for an unknown network,
    TypeError for settings that it does not take, and UserError when a user's own network is no good.
    """
    inner = dict(settings)
    slots = inner.pop("slots", 1)
    if is_own(settings.get("network")):
        network = _build_own(inner, signal=signal, sources=sources * slots)
        trial.check_separator(network, str(settings["network"]), signal)
    else:
        network = _build("separators", inner, signal=signal, sources=sources * slots)
    return SlottedSeparator(network, sources, slots) if slots > 1 else network


def build_critic(settings: Mapping[str, Any], signal: Signal, frames: int) -> nn.Module:
    """A `CriticNetwork` with fresh weights for excerpts of `frames` frames.

    settings: the section `critic`. Errors as above.
    """
    if is_own(settings.get("network")):
        network = _build_own(settings, signal=signal, frames=frames)
        trial.check_critic(network, str(settings["network"]), signal, frames)
        return network
    return _build("critics", settings, signal=signal, frames=frames)


def _build_own(settings: Mapping[str, Any], **shape: Any) -> nn.Module:
    network = own.build(settings, **shape)
    name = settings["network"]
    if not isinstance(network, nn.Module):
        raise UserError(
            f"{name}: build: expected a torch.nn.Module, found {type(network).__name__}"
        )
    with own.faults_named(name, "settings"):
        # what builds it again; a file has no version
        kept = {key: one for key, one in settings.items() if (key, one) != ("version", None)}
        network.settings = kept  # type: ignore[assignment]
    return network


def _build(kind: str, settings: Mapping[str, Any], **shape: Any) -> nn.Module:
    keys = dict(settings)
    name = str(keys.pop("network", UNNAMED[kind]))
    place = f"{__package__}.{kind}.{name}"
    try:
        module = import_module(place)
    except ModuleNotFoundError as error:
        if error.name != place:
            raise
        raise ValueError(f"no network {name!r} among the {kind} of this version") from None
    network: nn.Module = module.build(**shape, **keys)
    return network
