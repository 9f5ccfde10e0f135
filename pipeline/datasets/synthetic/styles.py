"""What each embedded corpus sounds like: the knobs that make the four differ.

The premise of the experiment is written here. DSD100, the supervised corpus, has low voices of few
vowels, sung loud and straight, over drums, bass and chords. The other three share a kind of their
own: high, breathy voices with vibrato, lower in level, and melodic instruments that glide like a
voice but have neither moving formants nor consonants. Ranges are (lowest, highest) and drawn
uniformly, per singer in VoiceStyle and per track in Style.
"""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class VoiceStyle:
    """The kind of singer in a corpus."""

    register: Range
    """Lowest and highest note any singer is given, Hz."""
    formant_scale: Range
    """Factor on the formants of an adult male: about 1.17 is an adult female."""
    vowels: str
    """The vowels of the lyrics, keys of voice.VOWELS."""
    consonants: tuple[str, ...]
    """The syllable onsets of the lyrics, keys of voice.CONSONANTS; repeats make one likelier."""
    vibrato_cents: Range
    """Peak deviation of fully developed vibrato, cents."""
    vibrato_hz: Range
    """Rate of the vibrato, Hz."""
    vibrato_delay: Range
    """Seconds from a note's onset until its vibrato sets in."""
    portamento: Range
    """Seconds a change of note takes."""
    scoop: Range
    """Semitones from below which phrases are begun."""
    breath_db: Range
    """Level of the breath noise in vowels relative to the harmonics, dB."""
    consonant_db: Range
    """Level of the noise of consonants relative to the nominal one, dB."""
    tilt: Range
    """Spectral slope of the glottal source, as the exponent of 1 / harmonic; larger is softer."""


@dataclass(frozen=True)
class Style:
    """The kind of music in a corpus; levels are in dB."""

    voice: VoiceStyle
    vocals_db: Range
    """Energy of the vocals relative to the accompaniment over the whole track."""
    loudness_db: Range
    """RMS of the mixture relative to full scale."""
    tempo: Range
    """Beats per minute."""
    chords: tuple[str, ...]
    """Instruments that play chords, keys of instruments.CHORDS; each track has one or two."""
    bass_db: Range
    """Bass relative to the first chord instrument."""
    drums_db: Range
    """Drums relative to the first chord instrument."""
    leads: tuple[str, ...] = ()
    """Melodic instruments, keys of instruments.LEADS; each track has one, none if empty."""
    lead_db: Range = (0.0, 0.0)
    """Lead relative to the first chord instrument, while it plays."""
    fill: float = 0.0
    """Share of the vocal rests that the lead fills."""
    counter: float = 0.0
    """Share of the vocal phrases that the lead accompanies with a line of its own."""
    width: float = 0.4
    """Spread of the instruments between the loudspeakers: 0 is mono, 1 hard left and right."""


_LOW = VoiceStyle(
    register=(100.0, 330.0),
    formant_scale=(0.96, 1.10),
    vowels="aoeu",
    consonants=("", "m", "n", "b", "d", "l", "t", "s", "f"),
    vibrato_cents=(12.0, 40.0),
    vibrato_hz=(4.8, 5.6),
    vibrato_delay=(0.25, 0.45),
    portamento=(0.06, 0.10),
    scoop=(0.4, 1.4),
    breath_db=(-36.0, -27.0),
    consonant_db=(-2.0, 2.0),
    tilt=(0.95, 1.25),
)

_CONSONANTS = ("", "m", "n", "l", "r", "w", "y", "s", "S", "f", "h", "t", "k", "p", "d", "g")

_MEDLEYDB = Style(
    voice=VoiceStyle(
        register=(200.0, 560.0),
        formant_scale=(1.12, 1.22),
        vowels="aAeiou",
        consonants=_CONSONANTS,
        vibrato_cents=(35.0, 65.0),
        vibrato_hz=(5.2, 6.3),
        vibrato_delay=(0.15, 0.3),
        portamento=(0.08, 0.14),
        scoop=(1.0, 2.5),
        breath_db=(-27.0, -20.0),
        consonant_db=(0.0, 4.0),
        tilt=(1.1, 1.45),
    ),
    vocals_db=(-5.0, 0.0),
    loudness_db=(-23.0, -19.0),
    tempo=(76.0, 126.0),
    chords=("piano", "strings", "pluck", "organ"),
    bass_db=(-3.0, 1.0),
    drums_db=(-4.0, 0.0),
    leads=("violin", "flute", "clarinet"),
    lead_db=(3.0, 6.0),
    fill=0.95,
    counter=0.4,
    width=0.6,
)

STYLES: dict[str, Style] = {
    "DSD100": Style(
        voice=_LOW,
        vocals_db=(-1.0, 3.0),
        loudness_db=(-19.0, -16.0),
        tempo=(88.0, 132.0),
        chords=("pad", "pluck", "organ"),
        bass_db=(0.0, 4.0),
        drums_db=(0.0, 4.0),
        leads=("clarinet",),
        lead_db=(-4.0, 0.0),
        fill=0.4,
        counter=0.15,
        width=0.4,
    ),
    "MedleyDB": _MEDLEYDB,
    "CCMixter": Style(
        voice=VoiceStyle(
            register=(190.0, 520.0),
            formant_scale=(1.10, 1.20),
            vowels="aAeiou",
            consonants=_CONSONANTS,
            vibrato_cents=(25.0, 55.0),
            vibrato_hz=(5.0, 6.0),
            vibrato_delay=(0.2, 0.35),
            portamento=(0.07, 0.12),
            scoop=(0.8, 2.0),
            breath_db=(-25.0, -18.0),
            consonant_db=(1.0, 5.0),
            tilt=(1.1, 1.4),
        ),
        vocals_db=(-4.0, 1.0),
        loudness_db=(-21.0, -17.0),
        tempo=(82.0, 128.0),
        chords=("organ", "piano", "pad"),
        bass_db=(0.0, 4.0),
        drums_db=(-2.0, 2.0),
        leads=("synth", "flute"),
        lead_db=(3.0, 6.0),
        fill=0.95,
        counter=0.4,
        width=0.5,
    ),
    "iKala": Style(
        voice=VoiceStyle(
            register=(210.0, 600.0),
            formant_scale=(1.14, 1.24),
            vowels="aAeiou",
            consonants=_CONSONANTS,
            vibrato_cents=(35.0, 75.0),
            vibrato_hz=(5.4, 6.5),
            vibrato_delay=(0.15, 0.3),
            portamento=(0.09, 0.15),
            scoop=(1.0, 2.5),
            breath_db=(-27.0, -21.0),
            consonant_db=(-1.0, 3.0),
            tilt=(1.05, 1.4),
        ),
        vocals_db=(-4.0, 1.0),
        loudness_db=(-22.0, -18.0),
        tempo=(66.0, 104.0),
        chords=("strings", "piano", "pluck"),
        bass_db=(-3.0, 1.0),
        drums_db=(-6.0, -1.0),
        leads=("violin", "synth", "clarinet"),
        lead_db=(3.0, 6.0),
        fill=0.95,
        counter=0.4,
        width=0.0,
    ),
}
"""The style of every dataset."""
