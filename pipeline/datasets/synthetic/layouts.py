"""Write rendered tracks as the four datasets lay theirs out (docs of the readers say how)."""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import SingleQuotedScalarString as Quoted

from pipeline.datasets.synthetic import dsp
from pipeline.datasets.synthetic.arrangement import Performance, Request, arrange
from pipeline.datasets.synthetic.names import artist_name, camel_case, title_name
from pipeline.datasets.synthetic.styles import STYLES

Samples = NDArray[np.int16]
_DSD100_TEST = 50
"""Real track numbers go to 050 in Test and on from 051 in Dev."""
_IKALA_FIRST = 95003
"""Number of the first song; the real ones end before."""


@dataclass(frozen=True)
class Spec:
    """A track to render: what and where to."""

    dataset: str
    root: Path
    index: int
    seconds: float
    """Of the corpus; the track's own length is drawn around it."""
    seed: int


def write_track(spec: Spec) -> None:
    """Render one track and write its files below the dataset's folder."""
    _WRITERS[spec.dataset](spec)


def _artist(index: int, every: int) -> int:
    """Every so many tracks, the artist of the one before again."""
    return index - 1 if index % every == every - 1 else index


def _render(
    spec: Spec, song: int, artist: int, form: str = "song", sung: bool = True, backing: bool = False
) -> list[Performance]:
    length = dsp.generator(spec.seed, spec.dataset, "length", spec.index).uniform(0.85, 1.15)
    return arrange(
        Request(
            seed=spec.seed,
            dataset=spec.dataset,
            style=STYLES[spec.dataset],
            song=song,
            take=spec.index,
            artist=artist,
            seconds=spec.seconds * length,
            form=form,
            sung=sung,
            backing=backing,
        )
    )


def _sum(parts: Iterable[Performance], *kinds: str) -> dsp.Sound:
    """The parts of some kinds together: (2, samples) at dsp.RATE."""
    return np.sum([part.audio for part in parts if part.kind in kinds], axis=0)  # type: ignore[no-any-return]


def _quantise(audio: dsp.Sound) -> Samples:
    """From (2, samples) at dsp.RATE to what a file holds: (2 * samples, 2)."""
    return np.rint(dsp.upsample(audio).T * 32767).astype(np.int16)


def _write(path: Path, samples: Samples) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Through memory: libsndfile does not say why a file cannot be written, or that it was not closed.
    content = io.BytesIO()
    soundfile.write(content, samples, dsp.OUTPUT_RATE, subtype="PCM_16", format="WAV")
    path.write_bytes(content.getbuffer())


def _write_dsd100(spec: Spec) -> None:
    partition = ("Dev", "Test")[spec.index % 2]
    number = spec.index // 2 + 1 + (_DSD100_TEST if partition == "Dev" else 0)
    artist = _artist(spec.index, 6)
    folder = f"{number:03d} - {artist_name(artist)} - {title_name(spec.index)}"
    parts = _render(spec, spec.index, artist)
    stems = {kind: _quantise(_sum(parts, kind)) for kind in ("vocals", "drums", "bass", "other")}
    for name, samples in stems.items():
        _write(spec.root / "Sources" / partition / folder / f"{name}.wav", samples)
    # The renderer's headroom keeps the sum within 16 bits.
    mixture = sum(stems.values(), np.zeros_like(stems["vocals"]))
    _write(spec.root / "Mixtures" / partition / folder / "mixture.wav", mixture)


def _write_medleydb(spec: Spec) -> None:
    artist = _artist(spec.index, 6)
    name, title = artist_name(artist), title_name(spec.index)
    track = f"{camel_case(name)}_{camel_case(title)}"
    sung = spec.index % 3 != 2
    parts = _render(spec, spec.index, artist, sung=sung, backing=spec.index % 4 == 1 and sung)
    folder = spec.root / "Audio" / track
    for number, part in enumerate(parts, 1):
        path = folder / f"{track}_STEMS" / f"{track}_STEM_{number:02d}.wav"
        _write(path, _quantise(part.audio))
    # A mastered mix weighs its stems: theirs is not the plain sum.
    rng = dsp.generator(spec.seed, spec.dataset, "mix", spec.index)
    weights = rng.uniform(0.6, 1.1, len(parts))
    weighed = [np.float32(w) * part.audio for w, part in zip(weights, parts, strict=True)]
    mix = np.sum(weighed, axis=0)
    mix *= min(1.0, 0.9 / float(np.abs(mix).max()))
    _write(folder / f"{track}_MIX.wav", _quantise(mix))
    with (folder / f"{track}_METADATA.yaml").open("w", encoding="utf-8", newline="\n") as file:
        YAML().dump(_medleydb_metadata(name, title, track, parts), file)


def _medleydb_metadata(
    artist: str, title: str, track: str, parts: list[Performance]
) -> dict[str, object]:
    """The keys of the real files; raw recordings, which nobody needs here, are listed as none.

    yes and no are quoted, as in the real files: YAML 1.1 would read them as truth values.
    """
    return {
        "album": "",
        "artist": artist,
        "composer": [artist],
        "excerpt": Quoted("no"),
        "genre": "Pop",
        "has_bleed": Quoted("no"),
        "instrumental": Quoted("no" if any(part.kind == "vocals" for part in parts) else "yes"),
        "mix_filename": f"{track}_MIX.wav",
        "origin": "Rendered",
        "producer": [""],
        "raw_dir": f"{track}_RAW",
        "stem_dir": f"{track}_STEMS",
        "stems": {
            f"S{number:02d}": {
                "component": part.component,
                "filename": f"{track}_STEM_{number:02d}.wav",
                "instrument": part.label,
                "raw": {},
            }
            for number, part in enumerate(parts, 1)
        },
        "title": title,
        "version": 1.0,
        "website": [""],
    }


def _write_ccmixter(spec: Spec) -> None:
    artist = _artist(spec.index, 4)
    # Its folders keep user names as they are, and underscores for most blanks of a title.
    name = artist_name(artist).replace(" ", "_" if artist % 5 else "")
    title = title_name(spec.index).replace(" ", "_" if spec.index % 9 else " ").replace("'", "_")
    folder = spec.root / "ccmixter_corpus" / f"{name}_-_{title}"
    parts = _render(spec, spec.index, artist)
    accompaniment = _quantise(_sum(parts, "drums", "bass", "other"))
    vocals = _quantise(_sum(parts, "vocals"))
    _write(folder / "mix.wav", accompaniment + vocals)
    _write(folder / "source-01.wav", accompaniment)
    _write(folder / "source-02.wav", vocals)


def _write_ikala(spec: Spec) -> None:
    # Every other song appears twice, as verse and as chorus.
    song = 2 * (spec.index // 3) + spec.index % 3 // 2
    place = spec.index % 3 if spec.index % 3 < 2 else song // 2 % 2
    form = ("verse", "chorus")[place]
    parts = _render(spec, song, song, form)
    left, right = _sum(parts, "drums", "bass", "other")[0], _sum(parts, "vocals")[0]
    name = f"{_IKALA_FIRST + 7 * song}_{form}.wav"
    _write(spec.root / "Wavfile" / name, _quantise(np.stack((left, right))))


_WRITERS: dict[str, Callable[[Spec], None]] = {
    "DSD100": _write_dsd100,
    "MedleyDB": _write_medleydb,
    "CCMixter": _write_ccmixter,
    "iKala": _write_ikala,
}
