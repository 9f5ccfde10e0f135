"""The accompaniment: drums, bass, chords and melodic leads. Signals are (samples,) at dsp.RATE."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import Generator

from pipeline.datasets.synthetic import dsp
from pipeline.datasets.synthetic.composition import Line
from pipeline.datasets.synthetic.dsp import FloatArray, Sound


@dataclass(frozen=True)
class Lead:
    """A melodic instrument. Unlike a voice it keeps one spectrum and has no consonants."""

    label: str
    """MedleyDB's name of the instrument."""
    register: tuple[int, int]
    """Lowest and highest note, MIDI."""
    spectrum: Callable[[FloatArray, FloatArray], FloatArray]
    """Amplitude by harmonic number and frequency (Hz), both (points, harmonics)."""
    glide: float
    """Seconds a change of note takes."""
    vibrato_cents: float
    vibrato_hz: float
    attack: float
    """Seconds."""
    breath: float = 0.0
    """Amplitude of steady noise."""


def _body(frequency: FloatArray, *peaks: tuple[float, float, float]) -> FloatArray:
    """Fixed resonances: (Hz, width in Hz, gain) each."""
    response = np.full_like(frequency, 0.5)
    for centre, width, height in peaks:
        response += height * np.exp(-0.5 * ((frequency - centre) / width) ** 2)
    return response


def _flute(order: FloatArray, frequency: FloatArray) -> FloatArray:
    return order**-1.9 * np.where(order == 2, 1.6, 1.0) / (1 + (frequency / 3500) ** 4)


def _violin(order: FloatArray, frequency: FloatArray) -> FloatArray:
    peaks = (300.0, 80.0, 0.5), (480.0, 100.0, 0.8), (1100.0, 300.0, 0.7), (2500.0, 600.0, 1.6)
    return order**-1.0 * _body(frequency, *peaks) / (1 + (frequency / 5000) ** 4)


def _clarinet(order: FloatArray, frequency: FloatArray) -> FloatArray:
    odd = np.where(order % 2 == 1, 1.0, 0.12 + frequency / 15000)
    return order**-0.8 * odd / (1 + (frequency / 2200) ** 4)


def _synth(order: FloatArray, frequency: FloatArray) -> FloatArray:
    return order**-0.9 / (1 + (frequency / 2600) ** 4)


LEADS = {
    "flute": Lead("flute", (65, 86), _flute, 0.05, 12.0, 5.0, 0.06, 0.025),
    "violin": Lead("violin", (58, 82), _violin, 0.09, 22.0, 5.8, 0.07),
    "clarinet": Lead("clarinet", (57, 79), _clarinet, 0.04, 0.0, 5.0, 0.04),
    "synth": Lead("synthesizer", (55, 79), _synth, 0.12, 14.0, 5.4, 0.02),
}
"""Melodic instruments by name."""

CHORD_LABELS = {
    "pad": "synthesizer",
    "pluck": "acoustic guitar",
    "organ": "electronic organ",
    "piano": "electric piano",
    "strings": "string section",
}
"""MedleyDB's names of the chord instruments."""
SUSTAINED = ("pad", "organ", "strings")
"""Chord instruments that hold their notes; the others repeat or break the chord."""


def play_lead(
    rng: Generator, lead: Lead, lines: tuple[Line, ...], beat: float, samples: int
) -> Sound:
    """Render melodic lines, each legato."""
    part = np.zeros(samples, np.float32)
    rate = lead.vibrato_hz * rng.uniform(0.93, 1.07)
    cents = lead.vibrato_cents * rng.uniform(0.6, 1.2)
    for line in lines:
        origin = line[0].start * beat
        end = (line[-1].start + line[-1].length) * beat - origin
        time = np.arange(int((end + 0.25) * dsp.CONTROL_RATE) + 2) / dsp.CONTROL_RATE
        onsets = np.array([note.start for note in line]) * beat - origin
        current = np.clip(np.searchsorted(onsets, time, "right") - 1, 0, None)
        since = time - onsets[current]
        pitch = dsp.smooth(np.array([note.pitch for note in line], float)[current], 2 * lead.glide)
        depth = cents / 100 * np.clip((since - 0.15) / 0.3, 0, 1)
        pitch += depth * np.sin(2 * np.pi * rate * time) + 0.02 * dsp.wander(rng, len(time), 0.2)
        loudness = np.clip(time / lead.attack, 0, 1) * np.clip((end - time) / 0.12 + 1, 0, 1)
        loudness *= 1 - 0.35 * np.exp(-since / 0.04) * (current > 0)
        loudness *= 1 + 0.06 * dsp.wander(rng, len(time), 0.4)
        f0 = dsp.hertz(pitch)
        order = np.arange(1.0, int(dsp.TOP / f0.min()) + 1)
        gains = lead.spectrum(np.broadcast_to(order, (len(f0), len(order))), order * f0[:, None])
        sound = dsp.oscillate(f0, gains * loudness[:, None])
        if lead.breath:
            colour = np.exp(-0.5 * ((dsp.NOISE_HZ - 1800) / 1300) ** 2)
            sound = sound + dsp.shaped_noise(rng, lead.breath * loudness[:, None] * colour)
        dsp.add_at(part, round(origin * dsp.RATE), sound)
    return part


@lru_cache(maxsize=256)
def chord_tone(instrument: str, pitch: int, samples: int) -> Sound:
    """One note of a chord instrument, its release included in `samples`."""
    f0 = float(dsp.hertz(pitch))
    time = np.arange(samples, dtype=np.float32) / dsp.RATE
    order = np.arange(1.0, np.clip(int(5000 / f0), 2, 24))
    partial = order * f0
    left = samples / dsp.RATE - time
    held = np.clip(left / 0.08, 0, 1)
    if instrument == "pad":
        table = dsp.wavetable(order**-1.2 / (1 + (partial / 1100) ** 3))
        tone = _chorus(table, f0, samples, (1, 0.1), (1.004, 0.6))
        faded = tone * np.clip(time / 0.2, 0, 1) * np.clip(left / 0.25, 0, 1)
        return np.asarray(faded * 0.6, np.float32)
    if instrument == "strings":
        table = dsp.wavetable(order**-1.0 / (1 + (partial / 2400) ** 3))
        tone = _chorus(table, f0, samples, (0.9965, 0.2), (1.0, 0.7), (1.0035, 0.4))
        faded = tone * np.clip(time / 0.1, 0, 1) * np.clip(left / 0.2, 0, 1)
        return np.asarray(faded * 0.4, np.float32)
    if instrument == "organ":
        bars = np.zeros(8)
        bars[[0, 1, 2, 3, 5, 7]] = (1.0, 0.8, 0.5, 0.35, 0.2, 0.15)
        tone = dsp.read_table(dsp.wavetable(bars), f0, samples)
        tremolo = 1 + 0.12 * np.sin(2 * np.pi * 6.3 * time)
        return np.asarray(tone * tremolo * np.clip(time / 0.01, 0, 1) * held * 0.6, np.float32)
    if instrument == "piano":
        index = 1.6 * np.exp(-time / 0.35) + 0.25
        phase = 2 * np.pi * f0 * time.astype(np.float64)
        struck = 0.15 * np.exp(-time / 0.06) * np.sin(7 * phase)
        tone = (np.sin(phase + index * np.sin(phase)) + struck) * np.exp(-time / 0.9)
        return np.asarray(tone * np.clip(time / 0.004, 0, 1) * held, np.float32)
    # A plucked string: away from the bridge, its upper partials dying first.
    comb = np.abs(np.sin(np.pi * order * 0.18))
    bright = dsp.read_table(dsp.wavetable(order**-0.8 * comb), f0, samples)
    dark = dsp.read_table(dsp.wavetable(order**-1.8 * comb), f0, samples)
    tone = 0.8 * bright * np.exp(-time / 0.12) + dark * np.exp(-time / 0.55)
    return np.asarray(tone * np.clip(time / 0.002, 0, 1) * held, np.float32)


def _chorus(table: Sound, f0: float, samples: int, *voices: tuple[float, float]) -> FloatArray:
    """Voices that are slightly out of tune: (factor on f0, phase in turns) each."""
    return np.sum([dsp.read_table(table, f0 * d, samples, p) for d, p in voices], axis=0)  # type: ignore[no-any-return]


@lru_cache(maxsize=64)
def bass_tone(pitch: int, samples: int) -> Sound:
    """One note of the bass."""
    f0 = float(dsp.hertz(pitch))
    time = np.arange(samples, dtype=np.float32) / dsp.RATE
    order = np.arange(1.0, 13.0)
    dark = dsp.read_table(dsp.wavetable(order**-2.0), f0, samples)
    bright = dsp.read_table(dsp.wavetable(order**-1.0 / (1 + (order * f0 / 900) ** 2)), f0, samples)
    tone = np.exp(-time / 0.9) * (dark + 0.5 * bright * np.exp(-time / 0.15))
    end = np.clip((samples / dsp.RATE - time) / 0.03, 0, 1)
    return np.asarray(tone * np.clip(time / 0.005, 0, 1) * end, np.float32)


def drum_kit(rng: Generator) -> dict[str, Sound]:
    """One sound each of kick, snare, hat, open hat, tom and crash, of a kit of its own."""
    tune = rng.uniform(0.85, 1.2)

    def noise(seconds: float, low: float, high: float, decay: float) -> Sound:
        count = int(seconds * dsp.RATE)
        frequency = np.maximum(np.fft.rfftfreq(count, 1 / dsp.RATE), 1.0)
        band = 1 / np.sqrt(1 + (low / frequency) ** 4 + (frequency / high) ** 4)
        filtered = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * band, count)
        time = np.arange(count) / dsp.RATE
        return np.asarray(filtered * np.exp(-time / decay), np.float32)

    def drop(seconds: float, high: float, low: float, decay: float) -> Sound:
        time = np.arange(int(seconds * dsp.RATE)) / dsp.RATE
        frequency = tune * (low + (high - low) * np.exp(-time / 0.03))
        wave = np.sin(2 * np.pi * np.cumsum(frequency) / dsp.RATE) * np.exp(-time / decay)
        return np.asarray(wave, np.float32)

    kick = drop(0.4, 190, 52, 0.12)
    kick[:200] += noise(200 / dsp.RATE, 1500, 5000, 0.002)[:200]
    snare = 1.3 * noise(0.3, 700, 9000, rng.uniform(0.05, 0.1))
    snare += 0.6 * drop(0.3, 260, 185, 0.06)[: len(snare)]
    return {
        "kick": 1.2 * kick,
        "snare": snare,
        "hat": 0.5 * noise(0.1, 3000, 10000, 0.02),
        "open": 0.4 * noise(0.5, 2800, 10000, 0.14),
        "tom": drop(0.4, 170, 110, 0.13),
        "crash": 0.6 * noise(1.6, 1800, 10000, 0.45),
    }
