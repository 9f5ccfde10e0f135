"""Where networks compute."""

import torch

from pipeline.errors import UserError


def resolve_device(device: str) -> str:
    """cpu or cuda. Raises UserError when cuda is asked for and there is none."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device is visible; use --device cpu")
    if device not in ("cpu", "cuda"):
        raise UserError(f"--device {device}: expected auto, cpu or cuda")
    return device
