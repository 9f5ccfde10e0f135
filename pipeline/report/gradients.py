"""What a critic asks of an estimate: the gradient of its score (paper, Figure 3)."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import Tensor
from torch.nn import functional

from pipeline.errors import UserError
from pipeline.networks.critics.dcgan import Critic
from pipeline.params import Signal
from pipeline.separation.separator import CONFIG, Separator


def load_critics(folder: Path) -> dict[str, Critic]:
    """The critics of a model folder by source; none for a purely supervised model.

    Raises UserError when a critic that config.json names is missing or damaged.
    """
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    critics = {}
    for source in config.get("critics", []):
        path = folder / f"critic-{source}.safetensors"
        critic = Critic(config["critic"]["filters"], Signal(**config["signal"]).bins - 1)
        try:
            load_model(critic, str(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path}: critic cannot be read ({reason}); run `dvc repro -f train@{folder.name}`"
            ) from None
        critics[source] = critic.eval()
    return critics


def critic_gradient(critic: Critic, estimate: Tensor) -> Tensor:
    """The gradient of the critic's output D with respect to what it sees of estimates.

    estimate: log magnitudes (n, bins, frames), at least `critic.frames` frames. Returns
    (n, 1, critic.bins, critic.frames), as `Critic.view` cuts it: positive where more energy would
    raise the score, negative where less would.
    """
    with torch.no_grad():
        return critic.input_gradient(critic.view(estimate))


@torch.inference_mode()
def estimate_patch(separator: Separator, mixture: Tensor, first: int, frames: int) -> Tensor:
    """The separator's own output for a stretch, as training shows it to the critics.

    mixture: log magnitudes of a whole track (bins, all frames); the stretch is `frames` frames from
    frame `first` on, silence beyond the track's ends. Returns log magnitudes (sources, bins, frames).
    """
    network = separator.network
    begin = first - network.context
    end = first + network.valid_frames(frames) + network.context
    known = mixture[:, max(begin, 0) : end]
    left = max(-begin, 0)
    padded = functional.pad(known, (left, end - begin - left - known.shape[1]))
    estimates: Tensor = separator.predict(padded[None])[0, :, :, :frames]
    return estimates.clone()
