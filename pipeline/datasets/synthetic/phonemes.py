"""The sounds of the lyrics: vowels by their formants, consonants by gap, locus and noise."""

from dataclasses import dataclass

Formants = tuple[float, float, float]
"""The first three resonances of the vocal tract, Hz."""

# First three formants of adult male speakers, Hz (Peterson & Barney, 1952).
VOWELS: dict[str, Formants] = {
    "a": (730, 1090, 2440),
    "A": (660, 1720, 2410),
    "e": (530, 1840, 2480),
    "i": (280, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (310, 870, 2240),
}
"""Vowels by the letters that styles name them with."""


@dataclass(frozen=True)
class Consonant:
    """How a syllable begins."""

    seconds: float
    voicing: float
    """Amplitude of the voice meanwhile, relative to the vowel's."""
    locus: Formants | None = None
    """Formants that the vowel is reached from, Hz for an adult male."""
    noise: tuple[float, float, float] | None = None
    """Centre and width in Hz, and amplitude, of its noise."""
    burst: bool = False
    """Whether the noise is a short burst at the end (plosives) or lasts throughout."""


CONSONANTS = {
    "": Consonant(0.03, 0.8),
    "m": Consonant(0.11, 0.3, (250, 1000, 2200)),
    "n": Consonant(0.10, 0.3, (250, 1500, 2500)),
    "l": Consonant(0.09, 0.45, (350, 1150, 2700)),
    "r": Consonant(0.09, 0.45, (350, 1100, 1500)),
    "w": Consonant(0.10, 0.45, (300, 620, 2200)),
    "y": Consonant(0.10, 0.45, (270, 2250, 3000)),
    "s": Consonant(0.14, 0.0, (350, 1700, 2600), (4800, 2800, 0.40)),
    "S": Consonant(0.14, 0.0, (350, 1800, 2500), (3000, 1500, 0.40)),
    "f": Consonant(0.13, 0.0, (320, 1000, 2200), (2800, 3500, 0.18)),
    "h": Consonant(0.12, 0.05, None, (1500, 1500, 0.22)),
    "t": Consonant(0.11, 0.0, (350, 1750, 2600), (3500, 2400, 0.7), True),
    "k": Consonant(0.11, 0.0, (320, 1900, 2300), (2000, 900, 0.7), True),
    "p": Consonant(0.11, 0.0, (320, 900, 2200), (900, 1100, 0.6), True),
    "d": Consonant(0.08, 0.1, (300, 1750, 2600), (3300, 2000, 0.4), True),
    "g": Consonant(0.08, 0.1, (300, 1900, 2200), (1800, 900, 0.4), True),
    "b": Consonant(0.08, 0.1, (300, 850, 2200), (700, 900, 0.4), True),
}
"""Syllable onsets by the names that styles use; S is as in she, the empty one a soft onset."""
