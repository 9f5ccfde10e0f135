"""Where networks compute."""

import torch

from pipeline.errors import UserError
from pipeline.parallel import machine


def resolve_device(device: str) -> str:
    """cpu or cuda; auto: cuda where there is one, unless results are to be the same everywhere.

    Raises UserError when cuda is asked for and there is none.
    """
    if device == "auto":
        gpu = torch.cuda.is_available() and machine.arithmetic() == "native"
        return "cuda" if gpu else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device is visible; use --device cpu")
    if device not in ("cpu", "cuda"):
        raise UserError(f"--device {device}: expected auto, cpu or cuda")
    return device
