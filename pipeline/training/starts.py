"""What a run starts from: weights that are there, those that stay as they are, normalised critics."""

from pathlib import Path

from torch import nn
from torch.nn.utils import parametrizations, parametrize

from pipeline.errors import UserError
from pipeline.networks.builders import build_critic
from pipeline.params import Params
from pipeline.separation import model_folder


def start(separator: nn.Module, folder: Path, params: Params, name: str) -> None:
    """Give the separator the weights of a model folder, of one seed or the best one of several.

    Raises UserError when it is missing, damaged, or of other sources, another signal or network.
    """
    place = model_folder.chosen(folder)
    network, found = model_folder.load_separator(place)
    for key, theirs, ours in (
        ("sources", found.sources, params.sources),
        ("signal", found.signal, params.signal),
        ("separator", found.separator, params.separator_of(name)),
    ):
        if theirs != ours:
            raise UserError(
                f"models.{name}.start_from: {place}: its {key} is another than params.yaml has; name a"
                " model of the same, or change params.yaml"
            )
    separator.load_state_dict(network.state_dict())


def freeze(separator: nn.Module, beginnings: list[str], name: str) -> None:
    """Keep weights as they are whose names begin so.

    Raises UserError when none does, or when nothing is left to learn.
    """
    weights = dict(separator.named_parameters())
    for beginning in beginnings:
        frozen = [one for one in weights if one.startswith(beginning)]
        if not frozen:
            parts = ", ".join(dict.fromkeys(one.split(".")[0] for one in weights))
            raise UserError(
                f"models.{name}.freeze: no weight of the separator begins with {beginning!r}; expected"
                f" one of {parts}"
            )
        for one in frozen:
            weights[one].requires_grad_(False)
    if not any(one.requires_grad for one in weights.values()):
        raise UserError(f"models.{name}.freeze: nothing is left to learn; name less")


def fresh_critic(params: Params, name: str, frames: int) -> nn.Module:
    """A critic of model `name`, for excerpts of so many frames.

    Raises UserError when it cannot look at them.
    """
    settings = params.critic_of(name)
    try:
        return build_critic(settings.model_dump(), params.signal, frames)
    except ValueError as error:
        raise UserError(
            f"params.yaml: critic: models.{name}: {settings.network}: {error}"
        ) from None


def normalise(critics: nn.Module) -> None:
    """Divide every layer's weights by their largest singular value, wherever they are used.

    Miyato, Kataoka, Koyama, Yoshida: Spectral Normalization for Generative Adversarial Networks, ICLR
    2018, section 2.1.
    """
    for layer in _layers(critics):
        parametrizations.spectral_norm(layer)


def as_they_are(critics: nn.Module) -> None:
    """Undo `normalise`, with the weights as they were used last."""
    for layer in _layers(critics):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight")


def _layers(critics: nn.Module) -> list[nn.Module]:
    kinds = nn.Conv1d | nn.Conv2d | nn.Linear
    return [one for one in critics.modules() if isinstance(one, kinds)]
