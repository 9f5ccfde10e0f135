"""The written music: key, sections, chords and singable melodies, in beats. No sound here."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

BEATS_PER_BAR = 4
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Scale degrees, one a bar.
_PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 5, 4), (0, 2, 3, 4), (3, 0, 4, 5)),
    "minor": ((0, 5, 2, 6), (0, 3, 6, 2), (0, 6, 5, 6), (0, 3, 5, 4), (5, 6, 0, 0), (0, 2, 6, 3)),
}
# Beats of the notes in cells that rhythms are strung from.
_CELLS: tuple[tuple[float, ...], ...] = (
    (0.5, 0.5),
    (0.5, 0.5, 0.5, 0.5),
    (1, 0.5, 0.5),
    (0.5, 0.5, 1),
    (0.5, 1, 0.5),
    (1.5, 0.5),
    (1,),
)
_FORMS = {
    "song": ("intro", "verse", "chorus", "break", "verse", "chorus", "bridge", "chorus"),
    "verse": ("verse", "verse", "break"),
    "chorus": ("chorus", "chorus", "break"),
}
SUNG = ("verse", "chorus")
"""Sections with singing."""


@dataclass(frozen=True)
class Key:
    """A diatonic key: tonic pitch class (0 = C) and mode."""

    tonic: int
    mode: str

    def scale(self) -> tuple[int, ...]:
        """Pitch classes from the tonic upwards."""
        return tuple((self.tonic + step) % 12 for step in _SCALES[self.mode])

    def triad(self, degree: int) -> tuple[int, int, int]:
        """Pitch classes of root, third and fifth of the chord on a scale degree (0 = tonic)."""
        scale = self.scale()
        return scale[degree % 7], scale[(degree + 2) % 7], scale[(degree + 4) % 7]


@dataclass(frozen=True)
class Note:
    """Start and length in beats, pitch as a MIDI number."""

    start: float
    length: float
    pitch: int


Line = tuple[Note, ...]
"""Notes that follow each other in one breath."""


@dataclass(frozen=True)
class Bar:
    """A bar: its first beat, section, chord (root, third, fifth), whether it ends a section."""

    start: int
    section: str
    chord: tuple[int, int, int]
    last: bool


@dataclass(frozen=True)
class Composition:
    """What is played: the frame for every part, and the sung phrases."""

    key: Key
    tempo: float
    beats: float
    """Length of the track."""
    bars: tuple[Bar, ...]
    phrases: tuple[Line, ...]

    @property
    def beat(self) -> float:
        """Seconds of a beat."""
        return 60.0 / self.tempo

    def bar_at(self, beat: float) -> Bar:
        """The bar that sounds at a beat."""
        return self.bars[min(int(beat // BEATS_PER_BAR), len(self.bars) - 1)]

    def rests(self) -> tuple[tuple[float, float], ...]:
        """The gaps between sung phrases, as (first beat, last beat)."""
        ends = [0.0, *(line[-1].start + line[-1].length for line in self.phrases)]
        starts = [*(line[0].start for line in self.phrases), self.beats]
        return tuple((end, start) for end, start in zip(ends, starts, strict=True) if start > end)


def compose(
    rng: Generator, key: Key, tempo: float, seconds: float, form: str, register: range
) -> Composition:
    """Write a piece of about `seconds`: sections that differ, phrases with rests, in one key.

    `form` is "song", "verse" or "chorus"; `register` holds the singer's notes (MIDI).
    """
    beats = seconds * tempo / 60
    bars = _bars(rng, key, tempo, beats, form)
    frame = Composition(key, tempo, beats, bars, ())
    motifs = {section: int(rng.integers(2**32)) for section in SUNG}
    phrases: list[Line] = []
    for number, bar in enumerate(bars):
        place = _place_in_section(bars, number)
        if bar.section in SUNG and place % 2 == 0:
            # The first and third phrase of a section are alike, so are the second and fourth.
            motif = np.random.default_rng((motifs[bar.section], place // 2 % 2))
            high = bar.section == "chorus"
            line = _phrase(motif, rng, frame, bar, register[3:] if high else register[:-3])
            if line := clip(line, beats, frame.beat):
                phrases.append(line)
    return Composition(key, tempo, beats, bars, tuple(phrases))


def clip(line: Line, beats: float, beat: float) -> Line:
    """Cut a line so that it ends shortly before the track does."""
    end = beats - 0.15 / beat
    notes = (Note(n.start, min(n.length, end - n.start), n.pitch) for n in line)
    return tuple(note for note in notes if note.length * beat > 0.12)


def melody(
    rng: Generator, score: Composition, start: float, rhythm: tuple[float, ...], register: range
) -> Line:
    """Notes of these lengths in beats: steps of the scale, chord tones on beats and long notes."""
    scale = [pitch for pitch in register if pitch % 12 in score.key.scale()]
    arch = rng.uniform(0.15, 0.45)  # how far the line rises towards its middle
    base = rng.uniform(0.2, 0.5)
    position = base * (len(scale) - 1)
    notes: list[Note] = []
    for index, length in enumerate(rhythm):
        progress = (index + 0.5) / len(rhythm)
        target = (base + arch * np.sin(np.pi * progress)) * (len(scale) - 1)
        step = rng.choice((-2, -1, -1, 0, 1, 1, 2))
        position = float(np.clip(position + step + 0.35 * (target - position), 0, len(scale) - 1))
        pitch = scale[round(position)]
        if start % 1 == 0 or length >= 1 or index == len(rhythm) - 1:
            chord = score.bar_at(start).chord
            tones = [tone for tone in scale if tone % 12 in chord]
            pitch = min(tones, key=lambda tone: (abs(tone - pitch), tone), default=pitch)
        notes.append(Note(start, length, pitch))
        start += length
    return tuple(notes)


def rhythm(rng: Generator, beats: float, last: float) -> tuple[float, ...]:
    """Note lengths that fill `beats`, the last of them `last` beats long."""
    lengths: list[float] = []
    left = beats - last
    while left > 0:
        fitting = [cell for cell in _CELLS if sum(cell) <= left] or [(left,)]
        cell = fitting[rng.integers(len(fitting))]
        lengths.extend(cell)
        left -= sum(cell)
    return (*lengths, last)


def harmony(line: Line, key: Key, steps: int) -> Line:
    """The same line moved by scale steps: a second voice."""
    ladder = [pitch for pitch in range(24, 109) if pitch % 12 in key.scale()]
    moved = dict(zip(ladder, ladder[steps:] + ladder[:steps], strict=True))
    return tuple(Note(n.start, n.length, moved.get(n.pitch, n.pitch)) for n in line)


def _bars(rng: Generator, key: Key, tempo: float, beats: float, form: str) -> tuple[Bar, ...]:
    options = _PROGRESSIONS[key.mode]
    order = rng.permutation(len(options))
    chords = {"verse": options[order[0]], "chorus": options[order[1]], "bridge": options[order[2]]}
    chords |= {"intro": chords["verse"], "break": chords["chorus"]}
    # Slow songs reach their chorus too; tracks of a few seconds begin with singing.
    length = 4 if tempo >= 96 else 2
    sections = list(_FORMS[form])
    if beats < 4 * BEATS_PER_BAR:
        sections = [section for section in sections if section in SUNG]
    bars: list[Bar] = []
    turn = 0
    while len(bars) * BEATS_PER_BAR < beats:
        section = sections[turn % len(sections)]
        count = 1 if section == "intro" else 2 if section == "break" else length
        for index in range(count):
            chord = key.triad(chords[section][index % 4])
            bars.append(Bar(len(bars) * BEATS_PER_BAR, section, chord, index == count - 1))
        turn += 1
    return tuple(bars)


def _place_in_section(bars: tuple[Bar, ...], number: int) -> int:
    first = number
    while first > 0 and not bars[first - 1].last:
        first -= 1
    return number - first


def _phrase(
    motif: Generator, rng: Generator, score: Composition, bar: Bar, register: range
) -> Line:
    """A sung phrase of two bars that leaves a rest of 1 to 2 s before the next."""
    start = float(motif.choice((0.0, 0.0, 0.5, 1.0)))
    rest = motif.uniform(1.0, 1.8) / score.beat
    sung = max(2.5, np.floor(2 * (2 * BEATS_PER_BAR - start - rest)) / 2)
    lengths = rhythm(motif, float(sung), float(min(sung - 1, motif.choice((1.0, 1.5, 2.0)))))
    if len(lengths) > 3 and rng.random() < 0.25:  # a variation: two notes tied
        tied = int(rng.integers(len(lengths) - 2))
        lengths = (*lengths[:tied], lengths[tied] + lengths[tied + 1], *lengths[tied + 2 :])
    return melody(motif, score, bar.start + start, lengths, register)
