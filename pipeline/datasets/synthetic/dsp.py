"""Sound generation that voice and instruments share. Signals are float32 at RATE, one channel."""

import zlib

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
Sound = NDArray[np.float32]

OUTPUT_RATE = 44100
"""Hz, of the files."""
RATE = OUTPUT_RATE // 2
"""Hz, of synthesis: what is rendered ends near 8 kHz, so half the rate halves the work."""
HOP = 110
"""Samples between control points."""
CONTROL_RATE = RATE / HOP
"""Hz, of envelopes, pitch and formants; about 200."""
TOP = 7500.0
"""Hz above which no harmonic is rendered."""
NOISE_SIZE = 4 * HOP
NOISE_HZ = np.fft.rfftfreq(NOISE_SIZE, 1 / RATE)
"""Hz of the columns of a noise gain map."""

_BLOCKS = 64  # control blocks rendered at once: their harmonics fit the processor's cache
_TABLE = 8192  # samples of one period in a wavetable
_HALF_BAND = 8  # samples on either side that a sample between two is computed from


def generator(seed: int, *words: str | int) -> Generator:
    """A random generator that depends on the seed and the words, not on what was drawn before."""
    keys = [zlib.crc32(str(word).encode()) for word in words]
    return Generator(np.random.Philox(np.random.SeedSequence([seed % 2**64, *keys])))


def gain(decibels: float) -> float:
    """The factor on amplitudes that a level in dB stands for."""
    return float(10 ** (decibels / 20))


def hertz(midi: FloatArray | float) -> NDArray[np.float64]:
    """Frequency of (fractional) MIDI notes, 69 = 440 Hz."""
    return np.asarray(440.0 * 2.0 ** ((np.asarray(midi, np.float64) - 69.0) / 12.0))


def smooth(values: FloatArray, seconds: float) -> FloatArray:
    """Low-pass control values (points,) or (points, columns) by a Hann kernel of that length."""
    size = max(3, 2 * round(seconds * CONTROL_RATE / 2) + 1)
    kernel = np.hanning(size + 2)[1:-1]
    kernel /= kernel.sum()
    if values.ndim == 2:
        return np.stack([smooth(column, seconds) for column in values.T], axis=1)
    padded = np.pad(values, size // 2, mode="edge")
    return np.asarray(np.convolve(padded, kernel, "valid"))


def wander(rng: Generator, points: int, seconds: float) -> FloatArray:
    """Slow random drift (points,), standard deviation about 1."""
    noise = smooth(rng.standard_normal(points), seconds)
    return np.asarray(noise * np.sqrt(max(1.0, seconds * CONTROL_RATE / 1.5)))


def oscillate(f0: FloatArray, gains: FloatArray) -> Sound:
    """Add up the harmonics of a gliding tone.

    f0 is (points,) in Hz and gains (points, harmonics), both at the control rate and linear between
    its points. Returns ((points - 1) * HOP,).
    """
    blocks = len(f0) - 1
    steps = np.arange(HOP) / HOP
    frequency = f0[:-1, None] + np.diff(f0)[:, None] * steps
    phase = np.cumsum(frequency.ravel() / RATE).reshape(blocks, HOP)
    turns = (2 * np.pi * (phase % 1.0)).astype(np.float32)
    order = np.arange(1, gains.shape[1] + 1)
    audible = np.clip((TOP - order * f0[:, None]) / 500.0, 0.0, 1.0)
    levels = (gains * audible).astype(np.float32)
    ends = np.stack([levels[:-1], np.diff(levels, axis=0)], axis=2)  # (blocks, harmonics, 2)
    ramp = steps.astype(np.float32)
    signal = np.zeros((blocks, HOP), np.float32)
    for first in range(0, blocks, _BLOCKS):
        chunk = slice(first, first + _BLOCKS)
        used = np.flatnonzero(np.abs(levels[first : first + _BLOCKS + 1]).max(axis=0) > 1e-6)
        if len(used) == 0:
            continue
        count = used[-1] + 1
        waves = np.sin(turns[chunk, :, None] * order[:count].astype(np.float32))
        parts = waves @ ends[chunk, :count]
        signal[chunk] = parts[..., 0] + ramp * parts[..., 1]
    return signal.ravel()


def shaped_noise(rng: Generator, gains: FloatArray) -> Sound:
    """Filter white noise of unit variance by a moving spectrum.

    gains is (points, len(NOISE_HZ)) at the control rate. Returns ((points - 1) * HOP,).
    """
    points = len(gains)
    white = rng.standard_normal((points + 3) * HOP, dtype=np.float32)
    signal = np.zeros((points + 3) * HOP, np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(white, NOISE_SIZE)[::HOP]
    # A periodic Hann window every quarter of its length sums to 2.
    window = (np.hanning(NOISE_SIZE + 1)[:-1] / 2).astype(np.float32)
    spectra = np.fft.rfft(frames * window) * gains
    filtered = np.fft.irfft(spectra, NOISE_SIZE).astype(np.float32)
    for offset in range(4):
        rows = filtered[offset::4]
        signal[offset * HOP : offset * HOP + rows.size] += rows.ravel()
    # A frame is centred two hops after its start; the first control point is sample 0.
    return signal[2 * HOP : (points + 1) * HOP]


def wavetable(harmonics: FloatArray) -> Sound:
    """One period of a tone with these amplitudes (harmonics,), for read_table."""
    spectrum = np.zeros(_TABLE // 2 + 1, np.complex128)
    spectrum[1 : len(harmonics) + 1] = -0.5j * _TABLE * np.asarray(harmonics)
    return np.asarray(np.fft.irfft(spectrum, _TABLE), np.float32)


def read_table(table: Sound, f0: float, samples: int, start: float = 0.0) -> Sound:
    """A steady tone of f0 Hz from a wavetable, beginning at a phase in turns: (samples,)."""
    index = ((start + np.arange(samples) * (f0 / RATE)) * _TABLE).astype(np.int64) % _TABLE
    return np.asarray(table[index])


def add_at(buffer: Sound, start: int, sound: Sound) -> None:
    """Add a sound into a buffer from a sample on, cutting what lies outside."""
    skip = max(0, -start)
    count = min(len(buffer) - start, len(sound)) - skip
    if count > 0:
        buffer[start + skip : start + skip + count] += sound[skip : skip + count]


def place_in_room(signal: Sound, pan: float, wet: float, rng: Generator) -> Sound:
    """Pan a signal (-1 left to 1 right) and add early reflections: (2, samples)."""
    angle = (pan + 1) * np.pi / 4
    stereo = np.outer((np.cos(angle), np.sin(angle)), signal).astype(np.float32)
    dull = signal.copy()
    dull[1:] = 0.5 * (dull[1:] + signal[:-1])
    for side in stereo:
        for delay in np.sort(rng.uniform(0.009, 0.06, 5)):
            level = wet * np.exp(-delay / 0.035) * rng.choice((-1.0, 1.0))
            add_at(side, int(delay * RATE), np.float32(level) * dull)
    return stereo


def upsample(signal: Sound) -> Sound:
    """From RATE to OUTPUT_RATE: (..., samples) to (..., 2 * samples), by a half-band filter."""
    taps = np.arange(_HALF_BAND) + 0.5
    weights = np.sinc(taps) * np.cos(np.pi * taps / (2 * _HALF_BAND)) ** 2
    edges = [(0, 0)] * (signal.ndim - 1) + [(_HALF_BAND - 1, _HALF_BAND)]
    padded = np.pad(signal, edges)
    samples = signal.shape[-1]
    between = np.zeros_like(signal)
    for tap, weight in enumerate((weights / weights.sum() / 2).astype(np.float32)):
        before, after = _HALF_BAND - 1 - tap, _HALF_BAND + tap
        pair = padded[..., before : before + samples] + padded[..., after : after + samples]
        between += weight * pair
    return np.stack([signal, between], axis=-1).reshape(*signal.shape[:-1], 2 * samples)
