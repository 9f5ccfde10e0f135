"""A singing voice by the source-filter model: a glottal tone and noise through moving formants.

Everything that moves (pitch, loudness, formants, noise) is drawn at the control rate of `dsp`. What
tells this voice from an instrument lies mostly below 4 kHz: formants that travel with the
syllables, gaps, bursts and murmurs of consonants, breath, and pitch that slides and trembles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pipeline.datasets.synthetic import dsp
from pipeline.datasets.synthetic.composition import Line
from pipeline.datasets.synthetic.dsp import FloatArray, Sound
from pipeline.datasets.synthetic.phonemes import CONSONANTS, VOWELS, Consonant, Formants
from pipeline.datasets.synthetic.styles import VoiceStyle

_UPPER = (3400.0, 4300.0)  # fourth and fifth formant, alike in all vowels
_BANDWIDTHS = np.array([80.0, 100.0, 140.0, 220.0, 300.0])
_BREATH = 1.7  # noise gain at which breath in a mean vowel is as strong as its harmonics
_LEAD_IN = 0.65  # seconds rendered before a phrase, for its breath
_LEAD_OUT = 0.3


@dataclass(frozen=True)
class Singer:
    """One person's voice; the fields are those of VoiceStyle, drawn from its ranges."""

    style: VoiceStyle
    register: range
    """The notes this singer uses, MIDI."""
    formant_scale: float
    vibrato_cents: float
    vibrato_hz: float
    vibrato_delay: float
    portamento: float
    scoop: float
    breath: float
    consonant: float
    tilt: float


def draw_singer(rng: Generator, style: VoiceStyle) -> Singer:
    """A singer of that kind, with 14 semitones of its register."""
    low, high = (69 + 12 * np.log2(frequency / 440) for frequency in style.register)
    lowest = int(rng.integers(int(np.ceil(low)), max(int(np.ceil(low)) + 1, int(high) - 12)))
    return Singer(
        style=style,
        register=range(lowest, min(lowest + 14, int(high)) + 1),
        formant_scale=rng.uniform(*style.formant_scale),
        vibrato_cents=rng.uniform(*style.vibrato_cents),
        vibrato_hz=rng.uniform(*style.vibrato_hz),
        vibrato_delay=rng.uniform(*style.vibrato_delay),
        portamento=rng.uniform(*style.portamento),
        scoop=rng.uniform(*style.scoop),
        breath=dsp.gain(rng.uniform(*style.breath_db)),
        consonant=dsp.gain(rng.uniform(*style.consonant_db)),
        tilt=rng.uniform(*style.tilt),
    )


def sing(
    rng: Generator, singer: Singer, phrases: tuple[Line, ...], beat: float, samples: int
) -> Sound:
    """Render sung phrases: (samples,) at dsp.RATE; exactly zero between the phrases."""
    voice = np.zeros(samples, np.float32)
    for phrase in phrases:
        start = phrase[0].start * beat - _LEAD_IN
        dsp.add_at(voice, round(start * dsp.RATE), _sing_phrase(rng, singer, phrase, beat))
    return voice


@dataclass(frozen=True)
class _Syllable:
    onset: float
    end: float
    pitch: float
    consonant: Consonant
    begin: Formants
    """Formants at the beginning of the vowel, Hz for an adult male."""
    finish: Formants
    level: float


def _sing_phrase(rng: Generator, singer: Singer, phrase: Line, beat: float) -> Sound:
    syllables = _syllables(rng, singer, phrase, beat)
    points = int((syllables[-1].end + _LEAD_OUT) * dsp.CONTROL_RATE) + 2
    time = np.arange(points) / dsp.CONTROL_RATE
    f0 = _pitch(rng, singer, syllables, time)
    loudness = _loudness(syllables, time) * (1 + 0.05 * dsp.wander(rng, points, 0.08))
    formants = _formants(singer, syllables, time)
    # Singers open their mouths where the pitch would pass the first formant.
    formants[:, 0] = np.maximum(formants[:, 0], 1.05 * f0)
    orders = np.arange(1, int(dsp.TOP / f0.min()) + 1)
    partials = orders * f0[:, None]
    gains = _resonance(partials, formants) * orders**-singer.tilt
    gains[partials > dsp.TOP] = 0
    # Vowels differ in power far more than a singer lets them.
    power = np.sqrt((gains**2).sum(axis=1, keepdims=True))
    evened = (power**-0.7) * loudness[:, None]
    noise = _noise(rng, singer, syllables, time, formants, evened)
    return dsp.oscillate(f0, gains * evened) + dsp.shaped_noise(rng, noise)


def _syllables(rng: Generator, singer: Singer, phrase: Line, beat: float) -> list[_Syllable]:
    """Words for the notes; times in seconds from the beginning of the rendered phrase."""
    style = singer.style
    names = list(style.vowels)
    syllables: list[_Syllable] = []
    origin = phrase[0].start * beat - _LEAD_IN
    arch = rng.uniform(0.1, 0.4)
    for index, note in enumerate(phrase):
        onset = note.start * beat - origin
        vowel = names[rng.integers(len(names))]
        # Long vowels of rich languages are diphthongs.
        glide = len(names) > 3 and note.length * beat > 0.35 and rng.random() < 0.5
        finish = names[rng.integers(len(names))] if glide else vowel
        progress = index / max(1, len(phrase) - 1)
        accent = 0.08 if note.start % 2 == 0 else 0.0
        syllables.append(
            _Syllable(
                onset=onset,
                end=onset + note.length * beat,
                pitch=float(note.pitch),
                consonant=CONSONANTS[style.consonants[rng.integers(len(style.consonants))]],
                begin=VOWELS[vowel],
                finish=_between(VOWELS[vowel], VOWELS[finish], 0.6 if glide else 0.0),
                level=0.75 + accent + arch * np.sin(np.pi * progress) + rng.uniform(-0.1, 0.1),
            )
        )
    return syllables


def _between(first: Formants, second: Formants, share: float) -> Formants:
    one, two, three = ((1 - share) * a + share * b for a, b in zip(first, second, strict=True))
    return one, two, three


def _pitch(
    rng: Generator, singer: Singer, syllables: list[_Syllable], time: FloatArray
) -> FloatArray:
    """F0 in Hz at each control point: notes, slides, scoops, vibrato and unsteadiness."""
    onsets = np.array([syllable.onset for syllable in syllables])
    current = np.clip(np.searchsorted(onsets, time, "right") - 1, 0, None)
    pitch = dsp.smooth(np.array([s.pitch for s in syllables])[current], 2 * singer.portamento)
    pitch -= singer.scoop * np.exp(-np.maximum(time - onsets[0], 0) / 0.07)
    for syllable in syllables[1:]:
        if rng.random() < 0.25:
            since = time - syllable.onset
            scoop = 0.5 * singer.scoop * np.exp(-np.maximum(since, 0) / 0.05)
            pitch -= np.where(since >= 0, scoop, scoop * np.clip(1 + since / 0.05, 0, 1))
    last = syllables[-1]
    pitch -= rng.uniform(0, 1.5 * singer.scoop) * np.clip((time - last.end + 0.12) / 0.2, 0, 1) ** 2
    since = time - onsets[current]
    depth = np.clip((since - singer.vibrato_delay) / 0.25, 0, 1)
    depth *= rng.uniform(0.7, 1.2, len(onsets))[current]
    rate = singer.vibrato_hz * (1 + 0.04 * dsp.wander(rng, len(time), 0.5))
    vibrato = np.sin(2 * np.pi * (np.cumsum(rate) / dsp.CONTROL_RATE + rng.random()))
    pitch += singer.vibrato_cents / 100 * dsp.smooth(depth, 0.08) * vibrato
    pitch += 0.07 * dsp.wander(rng, len(time), 0.12)
    return dsp.hertz(pitch)


def _loudness(syllables: list[_Syllable], time: FloatArray) -> FloatArray:
    """Amplitude of the voice at each control point, about 1 in vowels."""
    keys: list[tuple[float, float]] = [(0.0, 0.0)]
    before = 0.0
    for syllable in syllables:
        onset, consonant = syllable.onset, syllable.consonant
        during = consonant.voicing * syllable.level
        attack = 0.05 if before == 0 else 0.03
        keys += [
            (onset - consonant.seconds, before),
            (onset - consonant.seconds + 0.02, min(during, before) if before else during),
            (onset - 0.005, during),
            (onset + attack, syllable.level),
            (max(onset + attack, syllable.end - 0.15), 0.9 * syllable.level),
        ]
        before = 0.85 * syllable.level
    end = syllables[-1].end
    keys += [(end - 0.08, 0.75 * syllables[-1].level), (end + 0.06, 0.0)]
    return dsp.smooth(_through(keys, time), 0.02)


def _formants(singer: Singer, syllables: list[_Syllable], time: FloatArray) -> FloatArray:
    """Hz of five formants at each control point: (points, 5)."""
    keys: list[tuple[float, Formants]] = []
    for syllable in syllables:
        consonant = syllable.consonant
        if consonant.locus:
            keys.append((syllable.onset - consonant.seconds + 0.02, consonant.locus))
            keys.append((syllable.onset - 0.01, consonant.locus))
        keys.append((syllable.onset + 0.06, syllable.begin))
        keys.append((max(syllable.onset + 0.06, syllable.end - 0.12), syllable.finish))
    columns = [_through([(at, place[n]) for at, place in keys], time) for n in range(3)]
    columns += [np.full(len(time), upper) for upper in _UPPER]
    return dsp.smooth(np.stack(columns, axis=1) * singer.formant_scale, 0.04)


def _through(keys: list[tuple[float, float]], time: FloatArray) -> FloatArray:
    """Straight lines through (seconds, value) keys; a key that comes too early is put off."""
    at, values = np.array(keys).T
    return np.asarray(np.interp(time, np.maximum.accumulate(at), values))


def _resonance(frequencies: FloatArray, formants: FloatArray) -> FloatArray:
    """Amplitude response of the vocal tract (points, n) at frequencies (points, n) or (n,), Hz."""
    response = np.ones(np.broadcast_shapes(frequencies.shape, (len(formants), 1)))
    square = frequencies**2
    for formant, bandwidth in zip(formants.T[:, :, None] ** 2, _BANDWIDTHS, strict=True):
        response *= formant**2 / ((formant - square) ** 2 + bandwidth**2 * square)
    return np.sqrt(response)


def _noise(
    rng: Generator,
    singer: Singer,
    syllables: list[_Syllable],
    time: FloatArray,
    formants: FloatArray,
    evened: FloatArray,
) -> FloatArray:
    """Gains for dsp.shaped_noise: breath in vowels, consonants, an intake before the phrase."""
    tract = _resonance(dsp.NOISE_HZ, formants)
    rising = np.clip(dsp.NOISE_HZ / 1500, 0.1, 1.5)  # aspiration has little energy at the bottom
    gains = _BREATH * singer.breath * evened * tract * rising
    for syllable in syllables:
        if syllable.consonant.noise is None:
            continue
        centre, width, level = syllable.consonant.noise
        centre *= singer.formant_scale**0.5
        band = np.exp(-0.5 * ((dsp.NOISE_HZ - centre) / (width / 2)) ** 2)
        since = time - syllable.onset
        if syllable.consonant.burst:
            shape = np.exp(-np.maximum(since + 0.02, 0) / 0.014) * (since >= -0.02)
        else:
            middle = -syllable.consonant.seconds / 2
            shape = np.exp(-0.5 * ((since - middle) / (0.28 * syllable.consonant.seconds)) ** 2)
        gains += singer.consonant * level * shape[:, None] * band
    intake = rng.uniform(0.25, 0.4)
    since = (time - (syllables[0].onset - 0.12 - intake)) / intake
    inside = np.clip(since, 0, 1)
    swell = np.where((since > 0) & (since < 1), inside * np.sin(np.pi * inside), 0)
    gains += 1.5 * singer.breath * swell[:, None] * tract[:1] * rising
    return gains
