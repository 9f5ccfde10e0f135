"""The model card: what a model is, what it was made from, how well it does, what it cannot do."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from math import log10
from pathlib import Path

import pandas as pd

from pipeline.comparison import revisions
from pipeline.comparison.aggregation import combine, means, unseen_datasets
from pipeline.comparison.markdown import escaped, grid, number
from pipeline.datasets import catalogue, inventory
from pipeline.datasets.inventory import Inventory
from pipeline.evaluation.metrics import MEASURED, TABLED
from pipeline.evaluation.scored_weights import scored_as
from pipeline.evaluation.track_scores import NO_SEED, load_tracks
from pipeline.network_settings import OwnSettings
from pipeline.params import REFERENCE_ROWS
from pipeline.roles import load_split
from pipeline.separation import model_folder
from pipeline.separation.model_folder import Description
from pipeline.separation.onnx_network import INPUT, ONNX, OUTPUT
from pipeline.separation.separator import Separator
from pipeline.tracks import MIXTURE, Role

ORACLE = "oracle"
SEPARATORS = {
    "unet": "A U-Net", "wave_unet": "A Wave-U-Net", "band_split": "A band-split recurrent network"
}  # fmt: skip
"""The networks in words, by their names in params.yaml."""
LIBRARIES = ("torch", "numpy", "onnx", "onnxruntime")


def card(model: Path, separator: Separator, results: Path, exported: bool = True) -> str:
    """The model card of a model folder (Markdown); exported: whether it has an ONNX file.

    Its scores are those that results/tracks has of these very weights, whatever the model is called.
    """
    config = model_folder.read_config(model)
    name = config.model or model.name
    data = results.absolute().parent / "data"
    found = [inventory.load(path) for path in sorted((data / "inventory").glob("*.json"))]
    split = load_split(data / "split.csv") if (data / "split.csv").exists() else None
    rendered = [entry.dataset for entry in found if entry.origin == "synthetic"]
    tracks = results / "tracks"
    scored = scored_as(model / model_folder.WEIGHTS, tracks)
    sections = [
        [f"# {escaped(name)}"], _summary(separator, config, rendered, exported),
        _use(separator, exported), _own(config), _limits(separator, rendered),
        _recordings(found, split, scored is not None),
        _scores(tracks, scored, separator.sources, split), _made_with(),
    ]  # fmt: skip
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _summary(
    separator: Separator, config: Description, rendered: Sequence[str], exported: bool
) -> list[str]:
    signal, waveform = separator.signal, separator.network.representation.waveform
    seen, given = ("samples", "those") if waveform else ("log(1 + magnitude)", "that")
    critics = ", ".join(map(escaped, config.critics))
    lines = [
        f"{SEPARATORS.get(config.separator.network, 'A network')} that separates a mixture into:"
        f" {', '.join(map(escaped, separator.sources))}.",
        f"It was trained with critics for: {critics}." if critics else "It was trained without critics.",
        "",
        f"Signal: mono, {signal.sample_rate} Hz; STFT with {signal.fft_size} samples, hop"
        f" {signal.hop_size}. The network maps {seen} of the mixture to {given} of the sources.",
    ]  # fmt: skip
    if separator.level:
        decibels = 20 * log10(separator.level)
        lines += [
            "",
            f"Recordings are brought to {decibels:.1f} dB of full scale, the level of the mixtures that"
            " it has learned from, and estimates back: how loud a song was recorded makes no difference."
            + (f" `{ONNX}` expects them there." if exported else ""),
        ]  # fmt: skip
    if rendered:
        lines += [
            "",
            "**This model is a demonstration.** It was trained on synthetic recordings"
            f" ({', '.join(map(escaped, rendered))}); how well it separates real music is not known.",
        ]
    return lines


def _use(separator: Separator, exported: bool) -> list[str]:
    grid_frames, context = separator.network.grid, separator.network.context
    lines = [
        "## Use",
        "",
        "For research on separation, and for listening to what it does:",
        "",
        "    python -m pipeline separate SONG --model THIS_FOLDER --out OUT",
    ]
    if not exported:
        return lines
    signal, padded, own = separator.signal, f"bins, frames + {2 * context}", "bins, frames"
    if separator.network.representation.waveform:
        more, hop = 2 * context * signal.hop_size, signal.hop_size
        own = f"samples of frames: {signal.fft_size - hop} + {hop} a frame"
        padded = f"samples + {more}"
    return [
        *lines,
        f"    python -m pipeline separate SONG --model THIS_FOLDER --onnx THIS_FOLDER/{ONNX} --out OUT",
        "",
        f"`{ONNX}` is the network alone: `{INPUT}` (batch, {padded}) to"
        f" `{OUTPUT}` (batch, sources, {own}). Valid are"
        f" {separator.network.valid_frames(1)} frames and every multiple of {grid_frames} more.",
    ]


def _own(config: Description) -> list[str]:
    """What a network that is not the program's needs."""
    settings = config.separator
    if not isinstance(settings, OwnSettings):
        return []
    if settings.version:
        return [f"It needs the package {settings.network.partition(':')[0]} {settings.version}."]
    return [
        f"It needs `{settings.network}`, which is in this folder. The program runs no code that comes"
        " with a model: read it, and copy it into the folder `networks/` where the program is."
    ]


def _limits(separator: Separator, rendered: Sequence[str]) -> list[str]:
    rate = separator.signal.sample_rate
    lines = [
        "## Limits",
        "",
        f"- It hears nothing above {rate // 2} Hz, and no stereo.",
    ]
    if not separator.network.representation.waveform:
        lines.append(
            "- Estimates keep the phase of the mixture; the row `oracle` shows about how much that costs."
        )
    lines.append("- It knows the kinds of music that it was trained on.")
    if rendered:
        lines.append(
            "- Synthetic music is simpler than real music: do not rely on the scores below."
        )
    return lines


def _recordings(
    found: Sequence[Inventory], split: pd.DataFrame | None, scored_here: bool
) -> list[str]:
    lines = ["## Recordings", ""]
    if split is None:
        return [*lines, "Not known: data/split.csv was not there when this was written."]
    count = split.groupby(["dataset", "role"]).size()
    rows = [
        [escaped(dataset), *(str(count.get((dataset, role), 0)) for role in Role)]
        for dataset in split["dataset"].unique()
    ]
    lines += ["Tracks; the weights come from `supervised` and, with critics, `unlabelled`;"
              " `validation` chose the epoch, `test` is scored below.", ""]  # fmt: skip
    lines += grid(["dataset", *Role], rows, 1)
    if not scored_here:
        lines += ["", "That is the split that was here when this was written; whether this model was"
                  " trained with it is not known."]  # fmt: skip
    if found:
        lines += [
            "",
            "Terms of the recordings; whether they hold for a model too is for you to judge:",
        ]
        lines += ["", *(f"- {escaped(entry.dataset)}: {_terms(entry)}" for entry in found)]
    return lines


def _terms(entry: Inventory) -> str:
    if entry.origin == "synthetic":
        return "synthetic, rendered by this program; no recording of anybody is in it"
    name = entry.collection or entry.dataset
    if name in catalogue.collections():
        return f"{escaped(name)}; {catalogue.collection(name).licence}"
    return "files of the people who trained the model, under terms that only they know"


def _scores(
    tracks: Path, scored: tuple[str, int] | None, sources: Sequence[str], split: pd.DataFrame | None
) -> list[str]:
    """Means of the row and the seed in `tracks` that are the scores of these weights."""
    lines = ["## Scores", ""]
    if not tracks.is_dir():
        return [*lines, "None: results/tracks was not there when this was written."]
    if scored is None:
        return [*lines, "None: no scores in results/tracks are of these weights."]
    row, seed = scored
    frames = {name: load_tracks(tracks / f"{name}.csv") for name in (MIXTURE, row, ORACLE)}
    if seed not in set(frames[row]["seed"]):
        return [*lines, f"None: results/tracks has no scores of {escaped(row)} with seed {seed}."]
    scores = combine(frames, sources)
    unseen = () if split is None else unseen_datasets(split)
    of_all = means(scores, sources, unseen)
    of_this = means(scores[scores["seed"].isin([NO_SEED, seed])], sources, unseen)
    this, every = f"seed {seed}", f"{frames[row]['seed'].nunique()} seeds"
    columns = {
        MIXTURE: (of_all, MIXTURE), this: (of_this, row), every: (of_all, row), ORACLE: (of_all, ORACLE)
    }  # fmt: skip
    lines.append(
        f"Means over test tracks in dB (BSS Eval v3). `{this}`: this model; `{every}`: the mean over"
        f" all that {escaped(row)} was trained with; `{MIXTURE}`: {REFERENCE_ROWS[MIXTURE]};"
        f" `{ORACLE}`: {REFERENCE_ROWS[ORACLE]}."
    )
    header = ["test set", "metric", "tracks", *columns]
    for source in sources:
        rows = []
        for test_set, cells in of_this.items():
            for metric in [name for name in TABLED if name in MEASURED]:
                shown = [
                    of[test_set][name].get(f"{metric}_{source}") for of, name in columns.values()
                ]
                tracks_of = str(cells[row]["tracks"])
                rows.append([escaped(test_set), metric, tracks_of, *map(number, shown)])
        lines += ["", f"{escaped(source)}:", "", *grid(header, rows, 2)]
    return lines


def _made_with() -> list[str]:
    commit = revisions.checked_out(Path(__file__).parent)
    libraries = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    return [
        "## Made with",
        "",
        f"Exported by commit {commit}; Python {platform.python_version()}, {libraries}.",
    ]
