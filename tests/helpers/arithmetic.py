"""What a processor makes of each kind of arithmetic in the experiment, from recordings to scores.

All is computed in one process, so that an emulator sees all of it.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import threadpoolctl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from pipeline import params
from pipeline.audio.reading import read_mono
from pipeline.datasets.readers import dsd100
from pipeline.datasets.synthetic.layouts import Spec, write_track
from pipeline.evaluation.bss_eval import energy_ratios
from pipeline.features.stft import log_magnitude, stft
from pipeline.networks.builders import build_critic, build_separator
from pipeline.networks.interfaces import SeparatorNetwork
from pipeline.parallel import machine
from pipeline.params import Signal
from pipeline.separation.separator import Separator
from pipeline.training.batches import CriticBatch, SeparatorBatch
from pipeline.training.pools import generator
from pipeline.training.step import State, critic_step, separator_step
from pipeline.ways import Model
from tests.helpers.places import TOP

SIGNAL = Signal(sample_rate=8000, fft_size=512, hop_size=256)
SOURCES = ("accompaniment", "vocals")
MODELS = {
    "baseline": Model(critics=[], alpha=0.0, beta=0.0),
    "VA": Model(critics=["vocals", "accompaniment"], alpha=0.001, beta=0.01),
}
FRAMES, STEPS = 66, 2
BATCH = int(os.environ.get("BATCH", "2"))


def say() -> None:
    """Print, as JSON, the settings of the libraries and the digests of what they compute."""
    simd = np.show_config("dicts")["SIMD Extensions"]
    found = {
        "environment": {
            name: value for name, value in os.environ.items() if name.startswith(machine.LIBRARIES)
        },
        "NumPy": simd["found"],
        "OpenBLAS": sorted(
            {
                one["architecture"]
                for one in threadpoolctl.threadpool_info()
                if "architecture" in one
            }
        ),
        "PyTorch": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "digests": digests(),
    }
    print(json.dumps(found))


def digests() -> dict[str, str]:
    """Each kind of work with 16 hexadecimal digits of what it gives."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        write_track(Spec("DSD100", root, 0, seconds=4.0, seed=7))
        recordings = [path.read_bytes() for path in sorted(root.rglob("*.wav"))]
        (track,) = dsd100.list_tracks(root).tracks
        waveforms = read_mono(track, root, SOURCES, SIGNAL.sample_rate)
    mixture = waveforms.sum(axis=0)
    features = log_magnitude(stft(torch.from_numpy(np.stack([mixture, *waveforms])), SIGNAL))
    baseline, both = trained(MODELS["baseline"], features), trained(MODELS["VA"], features)
    network = cast(SeparatorNetwork, both.separator)
    with torch.no_grad():
        estimates = Separator(network, SOURCES, SIGNAL).estimate(mixture)
    ratios = energy_ratios(waveforms, estimates, 512)
    return {
        "recordings": digest(recordings),
        "waveforms": digest([waveforms.tobytes()]),
        "features": digest([features.numpy().tobytes()]),
        "separator of the baseline": weights(baseline.separator),
        "separator of VA": weights(both.separator),
        "critics of VA": weights(both.critics),
        "estimates": digest([estimates.tobytes()]),
        "scores": digest(ratio.tobytes() for ratio in ratios),
    }


def trained(model: Model, features: Tensor) -> State:
    """A model after STEPS updates on excerpts of features (kinds, bins, frames)."""
    settings = params.load(TOP / "params.yaml").training
    torch.manual_seed(1)
    separator = build_separator({"network": "unet", "filters": 8, "depth": 3}, SIGNAL, len(SOURCES))
    critics = nn.ModuleDict(
        {
            source: build_critic({"network": "dcgan", "filters": 8}, SIGNAL, FRAMES)
            for source in model.critics
        }
    )
    nn.ModuleList([separator, critics]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    networks = [separator, *critics.values()]
    optimisers = [Adam(one.parameters(), 1e-3, fused=True) for one in networks]
    state = State(separator, critics, SOURCES, optimisers)
    context = cast(SeparatorNetwork, separator).context
    length = cast(SeparatorNetwork, separator).valid_frames(FRAMES)
    padded = functional.pad(features, (context, context + length))
    for step in range(STEPS):
        first, second, third = generator(1, "excerpts", step).integers(
            features.shape[-1] // 2, size=(3, BATCH)
        )
        around = slice(0, length + 2 * context)
        within = slice(context, context + length)
        paired = torch.stack([padded[:, :, start:][..., around] for start in first])
        unlabelled = torch.stack([padded[0, :, start:][..., around] for start in second])
        real = torch.stack([padded[1:, :, start:][..., within] for start in third])
        if model.critics:
            batch = CriticBatch(
                unlabelled,
                {source: real[:, SOURCES.index(source)] for source in model.critics},
                {source: torch.linspace(0.1, 0.9, BATCH) for source in model.critics},
            )
            critic_step(state, batch, model, settings, lambda _, losses: dict(losses))
        pairs = SeparatorBatch(
            paired[:, 0], paired[:, 1:, :, within], unlabelled if model.unlabelled else None
        )
        separator_step(state, pairs, model, settings, lambda _, losses: dict(losses))
    return state


def weights(network: nn.Module) -> str:
    return digest(value.detach().numpy().tobytes() for value in network.parameters())


def digest(pieces: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(pieces)).hexdigest()[:16]
