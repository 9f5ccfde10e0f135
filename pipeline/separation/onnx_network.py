"""The network of a model without torch: written as ONNX, run by onnxruntime."""

import hashlib
import json
import shlex
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime  # type: ignore[import-untyped]
import torch
from torch import Tensor
from torch.onnx.utils import register_custom_op_symbolic

from pipeline.errors import UserError, in_one_line
from pipeline.network_settings import is_own
from pipeline.networks.interfaces import SeparatorNetwork
from pipeline.separation.model_folder import WEIGHTS, digest
from pipeline.separation.separator import Separator

ONNX = "model.onnx"
"""The file's name in a folder that is given away."""


class NotExportedError(UserError):
    """A network has operations that ONNX, or what writes it, has not."""


INPUT, OUTPUT = "mixture", "estimates"


def write_onnx(separator: Separator, path: Path, fingerprint: str) -> None:
    """Write the network: mixture (batch, bins, frames + 2 * context) -> (batch, sources, bins, frames).

    Both are log magnitudes, or samples in place of (bins, frames); batch and frames are free, as far as
    `valid_frames` has it. What else is needed to use it is in the file's metadata, such as the level
    that a recording is brought to (null: none); fingerprint: of the weights. Raises NotExportedError.
    """
    network = separator.network
    if not isinstance(network, torch.nn.Module) or not isinstance(network.settings, dict):
        raise TypeError("only a torch network can be exported")
    context, frames = network.context, network.valid_frames(1)
    signal, padded = separator.signal, frames + 2 * context
    waveform, kind = network.representation.waveform, network.settings["network"]
    shape = (signal.samples(padded),) if waveform else (signal.bins, padded)
    axis, what = (1, "samples") if waveform else (2, "frames")
    mixture = torch.zeros(1, *shape)
    # without gradients: the exporter cannot follow an operation with a gradient of its own
    with warnings.catch_warnings(), torch.no_grad():
        # The newer exporter (dynamo=True) cannot follow sizes that halve at every level.
        warnings.simplefilter("ignore")
        register_custom_op_symbolic("aten::expm1", _expm1, 9)
        try:
            torch.onnx.export(
                network, (mixture,), str(path), dynamo=False,
                input_names=[INPUT], output_names=[OUTPUT],
                dynamic_axes={
                    INPUT: {0: "batch", axis: f"padded_{what}"},
                    OUTPUT: {0: "batch", axis + 1: what},
                },
            )  # fmt: skip
        except Exception as error:
            path.unlink(missing_ok=True)
            expected = isinstance(error, torch.onnx.errors.OnnxExporterError | RuntimeError)
            if not (expected or is_own(kind)):
                raise
            raise NotExportedError(
                f"{separator.name}: has no {ONNX}, for the network {kind} cannot be written so"
                f" ({in_one_line(error)[:80]}); it works with torch alone"
            ) from None
    written = onnx.load(str(path))
    metadata = {
        "sources": json.dumps(separator.sources),
        "signal": separator.signal.model_dump_json(),
        "level": json.dumps(separator.level),
        "context": str(context),
        "grid": str(network.grid),
        "smallest_frames": str(frames),
        "weights": fingerprint,
        "graph": _graph_digest(written),
    }
    onnx.helper.set_model_props(written, metadata)
    onnx.checker.check_model(written)
    onnx.save(written, str(path))
    if is_own(kind):
        _check_sizes(separator, path)


def _check_sizes(separator: Separator, path: Path) -> None:
    """Raise NotExportedError unless a network in a file gives its estimates at another size too.

    The exporter takes sizes for constants that it cannot follow, without a word.
    """
    network, signal = separator.network, separator.signal
    frames = network.valid_frames(2 * network.valid_frames(1) + 5) + 2 * network.context
    shape = (signal.samples(frames),) if network.representation.waveform else (signal.bins, frames)
    mixture = torch.rand(2, *shape)
    with torch.inference_mode():
        expected = network(mixture)
    session = onnxruntime.InferenceSession(str(path), _options(), ["CPUExecutionProvider"])
    try:
        found = torch.from_numpy(session.run([OUTPUT], {INPUT: mixture.numpy()})[0])
        same = torch.allclose(found, expected, rtol=0, atol=1e-3 * float(expected.abs().max()))
    except Exception:  # a dozen classes without a common one
        same = False
    if not same:
        path.unlink()
        raise NotExportedError(
            f"{separator.name}: has no {ONNX}, for its network written so gives other estimates at other"
            " sizes; it works with torch alone"
        )


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what is wrong comes as an exception
    return options


def _expm1(graph: Any, x: Any) -> Any:
    """exp(x) - 1, of which ONNX has no operation of its own."""
    return graph.op("Sub", graph.op("Exp", x), graph.op("Constant", value_t=torch.tensor(1.0)))


class OnnxNetwork:
    """An exported network, run by onnxruntime on the CPU; its sizes are those of the torch network."""

    def __init__(self, session: onnxruntime.InferenceSession, like: SeparatorNetwork) -> None:
        self._session = session
        self.context, self.grid = like.context, like.grid
        self.representation = like.representation
        self.valid_frames = like.valid_frames

    def __call__(self, mixture: Tensor, /) -> Tensor:
        """As `SeparatorNetwork`."""
        (estimates,) = self._session.run([OUTPUT], {INPUT: mixture.cpu().numpy()})
        return torch.from_numpy(estimates)


def load_onnx(model: Path, path: Path) -> Separator:
    """A model folder's separator with its network exported to `path`.

    Raises UserError when the folder is no good, and when the file is missing, damaged, or exported
    from other weights.
    """
    separator = Separator.load(model)
    if not path.is_file():
        name = shlex.quote(str(model))
        raise UserError(
            f"{path}: no such file; `python -m pipeline export {name} --out exported` writes"
            f" exported/{ONNX}"
        )
    try:
        session = onnxruntime.InferenceSession(str(path), _options(), ["CPUExecutionProvider"])
        graph = _graph_digest(onnx.load(str(path)))
    except Exception as error:  # a dozen classes without a common one
        reason = in_one_line(error)
        raise UserError(f"{path}: not a network that onnxruntime can run: {reason}") from None
    metadata = session.get_modelmeta().custom_metadata_map
    if metadata.get("weights") != weights_digest(model):
        raise UserError(f"{path}: not exported from the weights in {model}; export them again")
    if metadata.get("graph", graph) != graph:
        raise UserError(f"{path}: damaged (its SHA-256 differs); copy it or export it again")
    network = OnnxNetwork(session, separator.network)
    return replace(separator, network=network, precision="float32", name=str(path))


def _graph_digest(network: onnx.ModelProto) -> str:
    """SHA-256 of the operations with their weights."""
    return hashlib.sha256(network.graph.SerializeToString(deterministic=True)).hexdigest()


def weights_digest(model: Path) -> str:
    """SHA-256 of the weights in a model folder."""
    return digest(model / WEIGHTS)
