"""A model as it is given away: a folder that needs nothing else."""

import shutil
import sys
from functools import partial
from pathlib import Path

from pipeline.errors import UserError, printable
from pipeline.files import atomic_path, claimed
from pipeline.network_settings import OwnSettings
from pipeline.report.card import card
from pipeline.separation.model_folder import CONFIG, WEIGHTS, chosen, read_config
from pipeline.separation.onnx_network import ONNX, NotExportedError, weights_digest, write_onnx
from pipeline.separation.separator import Separator

CARD = "README.md"


def export_model(model: Path, out: Path, results: Path) -> None:
    """Write the new folder `out`: weights, configuration, ONNX, and a model card, README.md.

    Of a model with several seeds it is the one with the lowest validation loss. A network that ONNX
    cannot express is given without, and a line says so. The file of a user's own separator comes along,
    to be read.
    The card tells the scores that results/tracks has of these weights, and the recordings by
    data/split.csv and data/inventory beside `results`, as far as they are there. Raises UserError when
    `out` is there already, the model folder is no good, or one of these files is damaged.
    """
    _require_new(out)
    model = chosen(model)
    separator, names = Separator.load(model), [WEIGHTS, CONFIG]
    settings = read_config(model).separator
    if isinstance(settings, OwnSettings) and (model / settings.network).is_file():
        names.append(settings.network)
    with claimed(out, partial(print, file=sys.stderr)), atomic_path(out) as folder:
        _require_new(out)  # another process may have made it in the meantime
        folder.mkdir()
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(model / name, folder / name)
        try:
            write_onnx(separator, folder / ONNX, weights_digest(model))
        except NotExportedError as error:
            print(printable(str(error)), file=sys.stderr)
        text = card(model, separator, results, (folder / ONNX).exists())
        (folder / CARD).write_text(text, encoding="utf-8", newline="\n")


def _require_new(out: Path) -> None:
    if out.exists():
        raise UserError(f"{out}: is there already; remove it, or name another folder")
