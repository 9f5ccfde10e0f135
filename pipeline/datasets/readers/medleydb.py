"""MedleyDB V1: 122 multitracks (https://medleydb.weebly.com, Zenodo record 1649325).

A stem is vocal or not by its instrument label. The labels come from the metadata file beside the
stems (first release), else from the Metadata folder (later ones), else from the package's own list.
The stems do not sum to the published MIX file, which weighs them: it is not read. MedleyDB-sample,
two of the tracks for a first try, has the same layout.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from pipeline.datasets import catalogue
from pipeline.datasets.readers import base
from pipeline.datasets.readers.base import ACCOMPANIMENT, VOCALS, Listing, Reader
from pipeline.errors import UserError
from pipeline.text_files import read_text
from pipeline.tracks import Part, Track

NAME = "MedleyDB"
SAMPLE = "MedleyDB-sample"
LAYOUT = "Audio/<Track>/<Track>_STEMS/<Track>_STEM_NN.wav, and Metadata/<Track>_METADATA.yaml"

_VOICES = "male singer, female singer, male speaker, female speaker, male rapper, female rapper"
_OTHER_VOICES = "beatboxing, vocalists, choir, male screamer, female screamer"
VOCAL_INSTRUMENTS = frozenset(f"{_VOICES}, {_OTHER_VOICES}".split(", "))
"""Labels of the dataset's taxonomy that are a singing or speaking voice; a crowd is none."""

_METADATA = "Metadata"
_UNUSED = ("*_MIX.wav", "*_RAW/*.wav")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def list_tracks(root: Path, dataset: str = NAME) -> Listing:
    """The tracks below `root`/Audio; the folder's name is the id.

    A track is rejected when nothing says which of its stems are vocal.
    """
    content = base.content_folder(root, "Audio", LAYOUT)
    found = base.subfolders(content)
    tracks = []
    for folder in found.paths:
        if folder.name == _METADATA:
            continue
        try:
            tracks.append(_track(folder, root, dataset, content))
        except UserError as error:
            name = base.track_id(folder.name)
            found.rejected.append(base.Rejected(track=name, reason=str(error)))
    return base.listed(root, LAYOUT, tracks, found.rejected, found.skipped)


def artist(name: str) -> str:
    """The artist in `<Artist>_<Title>`, as the catalogue spells it if it knows this one."""
    prefix = name.split("_")[0]
    return catalogue.medleydb_artists().get(prefix, prefix)


def is_vocal(instruments: Iterable[str]) -> bool:
    """Whether a stem with these labels counts as vocals."""
    return any(label.strip().lower() in VOCAL_INSTRUMENTS for label in instruments)


def _track(folder: Path, root: Path, dataset: str, content: Path) -> Track:
    name = base.track_id(folder.name)
    sources: dict[str, tuple[Part, ...]] = {ACCOMPANIMENT: (), VOCALS: ()}
    for file, instruments in _stems(folder, content).items():
        path = folder / f"{folder.name}_STEMS" / file
        source = VOCALS if is_vocal(instruments) else ACCOMPANIMENT
        sources[source] += (Part(file=base.relative(path, root)),)
    return Track(dataset=dataset, id=name, artist=artist(name), sources=sources)


def _stems(folder: Path, content: Path) -> dict[str, tuple[str, ...]]:
    """The instruments of each stem by its file's name, so no stem is added twice."""
    metadata = f"{folder.name}_METADATA.yaml"
    for place in (folder, content.parent / _METADATA, content / _METADATA):
        if (place / metadata).is_file():
            return _parse(place / metadata)
    stems = catalogue.medleydb_stems().get(base.track_id(folder.name))
    if stems is None:
        raise UserError(
            f"{folder / metadata}: no such file, nor is it in {_METADATA}/, and the track is not in"
            " MedleyDB V1: nothing says which stems are vocals; add the file"
        )
    return {stem.filename: (stem.instrument,) for stem in stems}


def _parse(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        text = read_text(path, "copy or download it again")
        # The loader in C takes 30 times less time than one in Python, but dies of deep nesting.
        depth = 0
        for event in yaml.parse(text, _Loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > 100:
                raise ValueError("nested too deeply")
        data = yaml.load(text, _Loader)
        stems = {
            Path(str(stem["filename"])).name: _labels(stem["instrument"])
            for stem in data["stems"].values()
        }
    except yaml.YAMLError:
        raise UserError(f"{path}: not valid YAML; copy or download it again") from None
    except (KeyError, TypeError, AttributeError, ValueError):
        stems = {}
    if not stems:
        raise UserError(
            f"{path}: expected stems, each with filename and instrument; copy or download it again"
        )
    return stems


def _labels(instrument: Any) -> tuple[str, ...]:
    """One label or, for a stem of several instruments, a list of them."""
    labels = (instrument,) if isinstance(instrument, str) else tuple(instrument)
    if not labels or not all(isinstance(label, str) and label.strip() for label in labels):
        raise ValueError(instrument)
    return labels


READERS = tuple(
    Reader(name, (ACCOMPANIMENT, VOCALS), LAYOUT, partial(list_tracks, dataset=name), _UNUSED)
    for name in (NAME, SAMPLE)
)
