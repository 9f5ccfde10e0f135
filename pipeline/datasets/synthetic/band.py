"""What the players of the accompaniment play to a score: (samples,) at dsp.RATE each."""

import numpy as np
from numpy.random import Generator

from pipeline.datasets.synthetic import composition, dsp, instruments
from pipeline.datasets.synthetic.composition import BEATS_PER_BAR, Composition, Line, Note
from pipeline.datasets.synthetic.dsp import Sound
from pipeline.datasets.synthetic.styles import Style

# Kick, snare and hat on sixteenths of a bar; "o" is an open hat.
_GROOVES = (
    ("x.......x.......", "....x.......x...", "x.x.x.x.x.x.x.x."),
    ("x......xx.......", "....x.......x...", "x.x.x.x.x.x.x.o."),
    ("x..x..x...x.....", "....x.......x..x", "x.xxx.x.x.xxx.x."),
    ("x.....x.x.x.....", "....x.......x...", "..x...x...x...x."),
    ("x...x...x...x...", "....x.......x...", "..o...o...o...o."),
    ("x.......x.x.....", "........x.......", "x...x...x...x..."),
)
# Onsets in beats and lengths of the bass, and 0 for root, 1 for fifth, 2 for the octave.
_BASS = (
    ((0, 2, 0), (2, 2, 0)),
    ((0, 1.5, 0), (1.5, 0.5, 0), (2, 1, 1), (3, 1, 0)),
    tuple((n / 2, 0.5, 0) for n in range(8)),
    ((0, 1, 0), (1, 1, 2), (2, 1, 0), (3, 0.5, 1), (3.5, 0.5, 2)),
    ((0, 0.75, 0), (0.75, 0.75, 0), (1.5, 1, 0), (2.5, 0.5, 1), (3, 1, 0)),
)


def chords(rng: Generator, score: Composition, name: str, samples: int, number: int) -> Sound:
    """A chord instrument: voices that move as little as they can from chord to chord."""
    part = np.zeros(samples, np.float32)
    centre = 58 + 7 * number + int(rng.integers(-3, 4))
    voicing: tuple[int, ...] = ()
    patterns = {section: int(rng.integers(3)) for section in ("verse", "chorus", "bridge")}
    for bar in score.bars:
        voicing = _voicing(bar.chord, voicing, centre)
        pattern = patterns.get(bar.section, 0)
        busy = bar.section != "intro"
        if name in instruments.SUSTAINED:
            lengths = (4.0,) if pattern < 2 or not busy else (1.5, 2.5)
            events = [(sum(lengths[:n]), size, voicing) for n, size in enumerate(lengths)]
        elif pattern == 0:  # broken in quavers, up and down
            order = (0, 1, 2, 1, 2, 1, 0, 1)
            events = [(n / 2, 1.0, (voicing[i],)) for n, i in enumerate(order)]
        else:  # struck
            onsets = (0, 1, 2, 3) if pattern == 1 else (0, 1.5, 2.5, 3)
            events = [(float(onset), 1.2, voicing) for onset in onsets]
        for onset, size, pitches in events:
            for pitch in pitches:
                tone = instruments.chord_tone(name, pitch, round(size * score.beat * dsp.RATE))
                _play(part, rng, score, bar.start + onset, tone)
    return part


def _play(part: Sound, rng: Generator, score: Composition, beat: float, tone: Sound) -> None:
    """Add a tone at a beat, some louder and some softer."""
    dsp.add_at(part, round(beat * score.beat * dsp.RATE), tone * np.float32(rng.uniform(0.85, 1.0)))


def _voicing(chord: tuple[int, ...], before: tuple[int, ...], centre: int) -> tuple[int, ...]:
    """The inversion nearest to the voicing before, or to the centre."""
    options = []
    for turn in range(3):
        lowest = centre - 6 + (chord[turn] - centre + 6) % 12
        second = lowest + (chord[(turn + 1) % 3] - lowest) % 12
        options.append((lowest, second, second + (chord[(turn + 2) % 3] - second) % 12))
    target = before or (centre - 4, centre, centre + 4)
    return min(
        options, key=lambda notes: sum(abs(a - b) for a, b in zip(notes, target, strict=True))
    )


def bass(rng: Generator, score: Composition, samples: int) -> Sound:
    """The bass: roots and fifths of the chords, a pattern for every section."""
    part = np.zeros(samples, np.float32)
    patterns = {bar.section: _BASS[rng.integers(len(_BASS))] for bar in score.bars}
    for bar in score.bars:
        root = 31 + (bar.chord[0] - 31) % 12
        notes = (root, root + (bar.chord[2] - bar.chord[0]) % 12, root + 12)
        for onset, length, which in patterns[bar.section]:
            tone = instruments.bass_tone(notes[which], round(length * score.beat * dsp.RATE))
            _play(part, rng, score, bar.start + onset, tone)
    return part


def drums(rng: Generator, score: Composition, samples: int) -> Sound:
    """The drums: a groove for every section, fills and a crash between sections."""
    part = np.zeros(samples, np.float32)
    kit = instruments.drum_kit(rng)
    grooves = {bar.section: _GROOVES[rng.integers(len(_GROOVES))] for bar in score.bars}
    sixteenth = score.beat / 4

    def hit(name: str, step: float, velocity: float) -> None:
        late = rng.normal(0, 0.003)
        level = np.float32(velocity * rng.uniform(0.8, 1.0))
        dsp.add_at(part, round((step * sixteenth + late) * dsp.RATE), kit[name] * level)

    for number, bar in enumerate(score.bars):
        first = bar.start * 4
        if number and score.bars[number - 1].last:
            hit("crash", first, 0.45)
        fill = bar.last and rng.random() < 0.7
        for step in range(4 * BEATS_PER_BAR):
            if fill and step >= 12:
                hit("snare" if step % 2 else "tom", first + step, 0.5 + 0.03 * step)
                continue
            for name, line in zip(("kick", "snare", "hat"), grooves[bar.section], strict=True):
                if line[step] != ".":
                    sound = "open" if line[step] == "o" else name
                    soft = name == "hat" and step % 4
                    hit(sound, first + step, 0.6 if soft else 1.0)
    return part


def lead_lines(
    rng: Generator, score: Composition, style: Style, lead: instruments.Lead, sung: bool
) -> tuple[Line, ...]:
    """What the lead plays: the tune if nobody sings, else fills in rests and counter-melodies."""
    low = int(rng.integers(lead.register[0], lead.register[1] - 15))
    register = range(low, low + 16)
    lines: list[Line] = []
    if not sung:
        for line in score.phrases:
            shift = 12 * round((low + 8 - line[0].pitch) / 12)
            lines.append(tuple(Note(n.start, n.length, n.pitch + shift) for n in line))
        return tuple(lines)
    for first, last in score.rests():
        length = np.floor(2 * (min(last, score.beats) - first)) / 2 - 0.5
        start = np.ceil(2 * first) / 2
        while length >= 1.0:
            take = float(min(length, 7.0))
            if rng.random() < style.fill:
                quick = composition.rhythm(rng, take, float(min(take, 1.0)))
                lines.append(composition.melody(rng, score, float(start), quick, register))
            start, length = start + 8, length - 8
    for line in score.phrases:
        if rng.random() < style.counter:
            length = line[-1].start + line[-1].length - line[0].start
            slow = tuple(float(min(2.0, length - at)) for at in np.arange(0, length, 2.0))
            lines.append(composition.melody(rng, score, line[0].start, slow, register))
    cut = (composition.clip(line, score.beats, score.beat) for line in lines)
    return tuple(filter(None, cut))
