"""From a score to the parts of a band: who plays what in which section, and how loud."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from pipeline.datasets.synthetic import band, dsp, instruments
from pipeline.datasets.synthetic.composition import Key, compose, harmony
from pipeline.datasets.synthetic.dsp import Sound
from pipeline.datasets.synthetic.styles import Style
from pipeline.datasets.synthetic.voice import draw_singer, sing

_HEADROOM = 0.85  # highest peak of any sum of parts, of full scale


@dataclass(frozen=True)
class Performance:
    """What one player, or a group of them, contributes."""

    kind: str
    """vocals, drums, bass or other."""
    label: str
    """MedleyDB's name of the instrument."""
    component: str
    """MedleyDB's role of the stem: melody, bass or empty."""
    audio: Sound
    """(2, samples) at dsp.RATE; the parts and all their sums stay within full scale."""


@dataclass(frozen=True)
class Request:
    """What a track is to be like; everything else is drawn."""

    seed: int
    dataset: str
    style: Style
    song: int
    """Tracks of one song share singer, key and tempo."""
    take: int
    """Sets tracks of one song apart."""
    artist: int
    seconds: float
    form: str = "song"
    sung: bool = True
    backing: bool = False


def arrange(request: Request) -> list[Performance]:
    """Write and play a track; parts of kinds drums, bass and other, and vocals where it is sung."""
    style = request.style
    song = dsp.generator(request.seed, request.dataset, "song", request.song)
    rng = dsp.generator(request.seed, request.dataset, "take", request.song, request.take)
    artist = dsp.generator(request.seed, request.dataset, "artist", request.artist)
    singer = draw_singer(artist, style.voice)
    key = Key(int(song.integers(12)), str(song.choice(("major", "major", "minor"))))
    score = compose(
        rng, key, float(song.uniform(*style.tempo)), request.seconds, request.form, singer.register
    )
    samples = round(request.seconds * dsp.RATE)
    parts: list[tuple[str, str, str, Sound, float]] = []  # kind, label, component, mono, level
    names = song.permutation(np.array(style.chords))
    for number, name in enumerate(names[: int(song.integers(1, 3))]):
        sound = band.chords(rng, score, str(name), samples, number)
        label = instruments.CHORD_LABELS[str(name)]
        parts.append(("other", label, "", sound, -4.0 * number))
    bass = band.bass(rng, score, samples)
    parts.append(("bass", "electric bass", "bass", bass, rng.uniform(*style.bass_db)))
    drums = band.drums(rng, score, samples)
    parts.append(("drums", "drum set", "", drums, rng.uniform(*style.drums_db)))
    if style.leads:
        lead = instruments.LEADS[str(song.choice(style.leads))]
        lines = band.lead_lines(rng, score, style, lead, request.sung)
        sound = instruments.play_lead(rng, lead, lines, score.beat, samples)
        component = "" if request.sung else "melody"
        parts.append(("other", lead.label, component, sound, rng.uniform(*style.lead_db)))
    if request.sung:
        label = "female singer" if style.voice.register[0] > 150 else "male singer"
        sound = sing(rng, singer, score.phrases, score.beat, samples)
        parts.append(("vocals", label, "melody", sound, 0.0))
    if request.backing:
        lines = tuple(
            harmony(line, key, -2)
            for line in score.phrases
            if score.bar_at(line[0].start).section == "chorus"
        )
        second = draw_singer(rng, style.voice)
        sound = sing(rng, second, lines or score.phrases[:1], score.beat, samples)
        parts.append(("vocals", "vocalists", "", sound, -8.0))
    return _balance(rng, request, parts)


def _balance(
    rng: Generator, request: Request, parts: list[tuple[str, str, str, Sound, float]]
) -> list[Performance]:
    """Set the levels that the style asks for, and leave headroom."""
    style = request.style
    samples = len(parts[0][3])
    fade = np.clip(np.arange(samples)[::-1] / (0.05 * dsp.RATE), 0, 1).astype(np.float32)
    placed: list[Performance] = []
    for kind, label, component, sound, level in parts:
        central = kind in ("bass", "drums") or component == "melody"
        pan = 0.0 if central else style.width * rng.uniform(0.3, 1.0) * rng.choice((-1, 1))
        scaled = sound * fade * np.float32(dsp.gain(level) / _active_rms(sound))
        audio = dsp.place_in_room(scaled, pan, 0.0 if kind == "bass" else 0.25, rng)
        placed.append(Performance(kind, label, component, audio))
    vocals = sum((p.audio for p in placed if p.kind == "vocals"), np.zeros((2, samples), "f4"))
    rest = sum((p.audio for p in placed if p.kind != "vocals"), np.zeros((2, samples), "f4"))
    wanted = dsp.gain(rng.uniform(*style.vocals_db))
    ratio = wanted * _rms(rest) / _rms(vocals) if vocals.any() else 1.0
    mixture = rest + np.float32(ratio) * vocals
    # Parts can be louder than their sum where they cancel: every one of them must fit too.
    peaks = [_peak(mixture), _peak(rest), ratio * _peak(vocals)]
    peaks += [_peak(p.audio) * (ratio if p.kind == "vocals" else 1.0) for p in placed]
    level = min(dsp.gain(rng.uniform(*style.loudness_db)) / _rms(mixture), _HEADROOM / max(peaks))
    return [
        replace(p, audio=p.audio * np.float32(level * (ratio if p.kind == "vocals" else 1.0)))
        for p in placed
    ]


def _peak(signal: Sound) -> float:
    return float(np.abs(signal).max())


def _rms(signal: Sound) -> float:
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))


def _active_rms(signal: Sound) -> float:
    """RMS of the louder half second blocks: what a part's level is while it plays."""
    size = dsp.RATE // 2
    count = max(1, len(signal) // size)
    blocks = [_rms(block) for block in np.array_split(signal, count)]
    louder = [block for block in blocks if block >= 0.2 * max(blocks)]
    return max(_rms(np.array(louder)), 1e-6)
