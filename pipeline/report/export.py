"""A model as it is given away: a folder that needs nothing else, and its network without torch."""

import hashlib
import json
import platform
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import onnxruntime  # type: ignore[import-untyped]
import pandas as pd
import torch
from torch import Tensor

from pipeline.comparison.aggregation import Means
from pipeline.comparison.markdown import grid
from pipeline.datasets import catalogue, inventory
from pipeline.datasets.inventory import Inventory
from pipeline.errors import UserError
from pipeline.evaluation.metrics import MEASURED
from pipeline.files import atomic_path
from pipeline.params import REFERENCE_ROWS
from pipeline.roles import load_split
from pipeline.separation.separator import CONFIG, WEIGHTS, Network, Separator
from pipeline.tracks import Role

ONNX, CARD = "model.onnx", "README.md"
INPUT, OUTPUT = "mixture", "estimates"
LIBRARIES = ("torch", "numpy", "onnx", "onnxruntime")


def export_model(model: Path, out: Path, results: Path) -> None:
    """Write the new folder `out`: weights, configuration, ONNX, and a model card, README.md.

    The card tells the scores in results/metrics.json, and the recordings by data/split.csv and
    data/inventory beside `results`, as far as they are there. Raises UserError when `out` is there
    already, the model folder is no good, or one of these files is damaged.
    """
    if out.exists():
        raise UserError(f"{out}: is there already; remove it, or name another folder")
    separator = Separator.load(model)
    text = card(model, separator, results)
    with atomic_path(out) as folder:
        folder.mkdir()
        for name in (WEIGHTS, CONFIG):
            shutil.copyfile(model / name, folder / name)
        write_onnx(separator, folder / ONNX, _fingerprint(model))
        (folder / CARD).write_text(text, encoding="utf-8", newline="\n")


# --------------------------------------------------------------------------------------------- ONNX


def write_onnx(separator: Separator, path: Path, fingerprint: str) -> None:
    """Write the network: mixture (batch, bins, frames + 2 * context) -> (batch, sources, bins, frames).

    Both are log magnitudes; batch and frames are free, as far as `valid_frames` has it. What else
    is needed to use it is in the file's metadata; fingerprint: of the weights.
    """
    network = separator.network
    if not isinstance(network, torch.nn.Module):
        raise TypeError("only a torch network can be exported")
    context, frames = network.context, network.valid_frames(1)
    mixture = torch.zeros(1, separator.signal.bins, frames + 2 * context)
    # without gradients: the exporter cannot follow an operation with a gradient of its own
    with warnings.catch_warnings(), torch.no_grad():
        # The newer exporter (dynamo=True) cannot follow sizes that halve at every level.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (mixture,), str(path), dynamo=False,
            input_names=[INPUT], output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch", 2: "padded_frames"}, OUTPUT: {0: "batch", 3: "frames"}},
        )  # fmt: skip
    written = onnx.load(str(path))
    metadata = {
        "sources": json.dumps(separator.sources),
        "signal": separator.signal.model_dump_json(),
        "context": str(context),
        "grid": str(network.grid),
        "smallest_frames": str(frames),
        "weights": fingerprint,
    }
    onnx.helper.set_model_props(written, metadata)
    onnx.checker.check_model(written)
    onnx.save(written, str(path))


class OnnxNetwork:
    """An exported network, run by onnxruntime on the CPU; its sizes are those of the torch network."""

    def __init__(self, session: onnxruntime.InferenceSession, like: Network) -> None:
        self._session = session
        self.context, self.grid = like.context, like.grid
        self.valid_frames = like.valid_frames

    def __call__(self, mixture: Tensor, /) -> Tensor:
        """As `separation.Network`."""
        (estimates,) = self._session.run([OUTPUT], {INPUT: mixture.cpu().numpy()})
        return torch.from_numpy(estimates)


def load_onnx(model: Path, path: Path) -> Separator:
    """A model folder's separator with its network exported to `path`.

    Raises UserError when the folder is no good, and when the file is missing, damaged, or exported
    from other weights.
    """
    separator = Separator.load(model)
    if not path.is_file():
        raise UserError(f"{path}: no such file; `python -m pipeline export` writes {ONNX}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what is wrong comes as an exception
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # a dozen classes without a common one
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not a network that onnxruntime can run: {reason}") from None
    if session.get_modelmeta().custom_metadata_map.get("weights") != _fingerprint(model):
        raise UserError(f"{path}: not exported from the weights in {model}; export them again")
    return Separator(OnnxNetwork(session, separator.network), separator.sources, separator.signal)


def _fingerprint(model: Path) -> str:
    with (model / WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --------------------------------------------------------------------------------------- model card


def card(model: Path, separator: Separator, results: Path) -> str:
    """The model card of a model folder (Markdown)."""
    config = json.loads((model / CONFIG).read_text(encoding="utf-8"))
    name = str(config.get("model", model.name))
    found = _inventories(results.absolute().parent / "data" / "inventory")
    split_file = results.absolute().parent / "data" / "split.csv"
    split = load_split(split_file) if split_file.exists() else None
    rendered = [entry.dataset for entry in found if entry.origin == "synthetic"]
    sections = [
        [f"# {name}"], _summary(separator, config, rendered), _use(separator),
        _limits(separator, rendered), _recordings(found, split),
        _scores(results / "metrics.json", name, separator.sources), _made_with(),
    ]  # fmt: skip
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _summary(separator: Separator, config: dict[str, Any], rendered: Sequence[str]) -> list[str]:
    signal = separator.signal
    critics = ", ".join(config.get("critics", []))
    lines = [
        f"A U-Net that separates a mixture into: {', '.join(separator.sources)}.",
        f"It was trained with critics for: {critics}." if critics else "It was trained without critics.",
        "",
        f"Signal: mono, {signal.sample_rate} Hz; STFT with {signal.fft_size} samples, hop"
        f" {signal.hop_size}. The network maps log(1 + magnitude) of the mixture to that of the sources.",
    ]  # fmt: skip
    if rendered:
        lines += [
            "",
            "**This model is a demonstration.** It was trained on synthetic recordings"
            f" ({', '.join(rendered)}); how well it separates real music is not known.",
        ]
    return lines


def _use(separator: Separator) -> list[str]:
    grid_frames, context = separator.network.grid, separator.network.context
    return [
        "## Use",
        "",
        "For research on separation, and for listening to what it does:",
        "",
        "    python -m pipeline separate SONG --model THIS_FOLDER --out OUT",
        f"    python -m pipeline separate SONG --model THIS_FOLDER --onnx THIS_FOLDER/{ONNX} --out OUT",
        "",
        f"`{ONNX}` is the network alone: `{INPUT}` (batch, bins, frames + {2 * context}) to"
        f" `{OUTPUT}` (batch, sources, bins, frames). Valid are"
        f" {separator.network.valid_frames(1)} frames and every multiple of {grid_frames} more.",
    ]


def _limits(separator: Separator, rendered: Sequence[str]) -> list[str]:
    rate = separator.signal.sample_rate
    lines = [
        "## Limits",
        "",
        f"- It hears nothing above {rate // 2} Hz, and no stereo.",
        "- Estimates keep the phase of the mixture; the row `oracle` is the best that this allows.",
        "- It knows the kinds of music that it was trained on.",
    ]
    if rendered:
        lines.append(
            "- Synthetic music is simpler than real music: do not rely on the scores below."
        )
    return lines


def _recordings(found: Sequence[Inventory], split: pd.DataFrame | None) -> list[str]:
    lines = ["## Recordings", ""]
    if split is None:
        return [*lines, "Not known: data/split.csv was not there when this was written."]
    count = split.groupby(["dataset", "role"]).size()
    rows = [
        [dataset, *(str(count.get((dataset, role), 0)) for role in Role)]
        for dataset in split["dataset"].unique()
    ]
    lines += ["Tracks; the weights come from `supervised` and, with critics, `unlabelled`;"
              " `validation` chose the epoch, `test` is scored below.", ""]  # fmt: skip
    lines += grid(["dataset", *Role], rows, 1)
    if found:
        lines += [
            "",
            "Terms of the recordings; whether they hold for a model too is for you to judge:",
        ]
        lines += ["", *(f"- {entry.dataset}: {_terms(entry)}" for entry in found)]
    return lines


def _terms(entry: Inventory) -> str:
    if entry.origin == "synthetic":
        return "synthetic, rendered by this program; no recording of anybody is in it"
    name = entry.collection or entry.dataset
    if name in catalogue.collections():
        return f"{name}; {catalogue.collection(name).licence}"
    return "files of the people who trained the model, under terms that only they know"


def _scores(path: Path, name: str, sources: Sequence[str]) -> list[str]:
    lines = ["## Scores", ""]
    if not path.exists():
        return [*lines, "None: results/metrics.json was not there when this was written."]
    try:
        metrics: Means = json.loads(path.read_text(encoding="utf-8"))
        tables = {source: _table(metrics, name, source) for source in sources}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: damaged; run `python -m stages.compare` again") from None
    if not any(tables.values()):
        return [*lines, f"None: results/metrics.json has no row {name}."]
    lines.append(
        "Means over test tracks in dB (BSS Eval v3). `mixture`: the mixture as the estimate;"
        " `oracle`: the true magnitudes with the mixture's phase."
    )
    for source, table in tables.items():
        lines += ["", f"{source}:", "", *table]
    return lines


def _table(metrics: Means, name: str, source: str) -> list[str]:
    mixture, oracle = REFERENCE_ROWS
    rows = []
    for test_set, cells in metrics.items():
        for metric in MEASURED if name in cells else ():
            found = [
                cells.get(row, {}).get(f"{metric}_{source}") for row in (mixture, name, oracle)
            ]
            values = ["–" if value is None else f"{value:.2f}" for value in found]
            rows.append([test_set, metric, str(cells[name]["tracks"]), *values])
    header = ["test set", "metric", "tracks", mixture, name, oracle]
    return grid(header, rows, 2) if rows else []


def _made_with() -> list[str]:
    libraries = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    return [
        "## Made with",
        "",
        f"Exported by commit {commit(Path(__file__).parent)}; Python {platform.python_version()},"
        f" {libraries}.",
    ]


def commit(folder: Path) -> str:
    """The commit that is checked out in `folder`, and whether files differ; "unknown" without git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = " with uncommitted changes" if git("status", "--porcelain") else ""
        return git("rev-parse", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _inventories(folder: Path) -> list[Inventory]:
    return [inventory.load(path) for path in sorted(folder.glob("*.json"))]
