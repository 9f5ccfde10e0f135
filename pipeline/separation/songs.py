"""Files and folders of songs, separated into files: what `python -m pipeline separate` does."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, cast, get_args

import numpy as np
import soundfile
from tqdm import tqdm

from pipeline.audio.decoder import DamagedError, Decoder, Samples, shown
from pipeline.audio.decoding import open_audio
from pipeline.audio.reading import BLOCK
from pipeline.datasets.readers.base import in_words
from pipeline.errors import UserError, printable
from pipeline.files import atomic_path, claimed, reserve, state
from pipeline.networks.devices import resolve_device
from pipeline.params import Precision
from pipeline.separation.model_folder import chosen
from pipeline.separation.separator import NonFiniteError, Separator
from pipeline.separation.song_places import MARK, check_target, find, identities, places
from pipeline.separation.streams import InputRate, ModelRate, SourceStream

FORMATS = ("wav", "flac")
PRECISIONS: tuple[str, ...] = get_args(Precision)
MakeStream = Callable[[Separator, int, int], SourceStream]
RATES: dict[str, MakeStream] = {"model": ModelRate, "input": InputRate}
FLAC_CHANNELS, FLAC_RATE = 8, 655_350
"""The most that a FLAC file can have."""


def separate_files(
    songs: list[Path],
    model: Path,
    out: Path,
    *,
    format: str = "wav",
    rate: str = "model",
    overwrite: bool = False,
    salvage: bool = False,
    device: str = "auto",
    precision: str = "",
    onnx: Path | None = None,
) -> int:
    """Separate files, and all audio files in folders, into out/<song>/<source>.<format>.

    A song that cannot be separated is a line on stderr, and the others go on. Returns the exit status:
    1 if there was any. Raises UserError, before anything is read, when model or options are no good.
    """
    started = monotonic()
    for option, given, expected in (
        ("format", format, FORMATS),
        ("rate", rate, tuple(RATES)),
        ("precision", precision or PRECISIONS[0], PRECISIONS),
    ):
        if given not in expected:
            raise UserError(f"--{option} {printable(given)}: expected {' or '.join(expected)}")
    if (folder := chosen(model)) != model:
        print(f"{printable(folder)}: of all seeds the one with the lowest validation loss")
    separator = load(folder, device, cast(Precision, precision) if precision else None, onnx)
    found, failures, skipped = find(songs)
    for failure in failures:
        _say(f"error: {failure}")
    if skipped:
        _say(f"passed over: {in_words(skipped)}")
    inputs = identities(found)
    announced = sum(_seconds(song.path) for song in found)
    done, audio = 0, 0.0
    with tqdm(
        total=announced, disable=None, desc="separated", unit="s", dynamic_ncols=True,
        # while a level is measured the time goes on, and the rate is that of both together
        miniters=0, smoothing=0,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]",
    ) as progress:  # fmt: skip

        def advance(seconds: float) -> None:
            # more than was announced, or of a song that announced nothing
            progress.total = max(progress.total or 0.0, progress.n + seconds)
            progress.update(seconds)

        for song, target in zip(found, places(found, out), strict=True):
            try:
                check_target(target, overwrite, inputs)
                seconds = separate_song(
                    song.path, target, separator, format, RATES[rate], advance, salvage
                )
            except DamagedError as error:
                failures.append(f"{error}, or take what is there with --salvage")
                _say(f"error: {failures[-1]}")
                continue
            except UserError as error:
                failures.append(str(error))
                _say(f"error: {error}")
                continue
            done, audio = done + 1, audio + seconds
    songs_done = f"{done} song{'s' * (done != 1)} separated"
    failed = f", {len(failures)} failed" if failures else ""
    print(f"{songs_done}{failed}, {audio / 60:.1f} min of audio in {monotonic() - started:.0f} s")
    return 1 if failures else 0


def load(
    model: Path, device: str, precision: Precision | None = None, onnx: Path | None = None
) -> Separator:
    """The separator of a model folder, with its network from `onnx` if that is given."""
    if onnx is None:
        return Separator.load(model, resolve_device(device), precision)
    if device not in ("auto", "cpu"):
        raise UserError(f"--onnx runs on the CPU, not with --device {printable(device)}")
    if precision == "bfloat16":
        raise UserError("--onnx computes in float32, not with --precision bfloat16")
    from pipeline.separation.onnx_network import load_onnx

    return load_onnx(model, onnx)


def separate_song(
    song: Path,
    target: Path,
    separator: Separator,
    format: str,
    make_stream: MakeStream,
    progress: Callable[[float], Any],
    salvage: bool = False,
) -> float:
    """Write the sources of a song into the folder `target`, all or none; returns its seconds.

    progress: called with seconds as they are done, and with none while the song's level is measured.
    salvage: what is damaged in the song is silent, in its place, and said in a line. Raises DamagedError
    without it, and UserError when the song cannot be read, changes in the meantime, or its sources
    cannot be written.
    """
    before = _state(song)
    with open_audio(song, salvage=salvage) as decoder:
        stream = make_stream(separator, decoder.sample_rate, decoder.channels)
        if format == "flac":
            _check_flac(song, stream)
        with claimed(target, _say), atomic_path(target) as folder, _disk(target, folder):
            folder.mkdir()
            waves = [folder / f"{source}.wav" for source in separator.sources]
            if stream.comes_twice:
                with open_audio(song, salvage=salvage) as first:
                    for samples, last in _blocks(first):
                        stream.listen(samples, last)
                        progress(0.0)
            try:
                peak = write_waves(waves, stream, decoder, progress)
            except NonFiniteError as error:
                raise UserError(f"{printable(song)}: {error}") from None
            if format == "flac":
                # no sample may leave +-1, and the sources must keep their balance
                factor = 1 / max(peak, 1.0)
                for wave in waves:
                    write_flac(wave, factor)
                if factor < 1:
                    decibels = 20 * np.log10(factor)
                    _say(
                        f"{printable(song)}: sources scaled by {factor:.3f} ({decibels:.1f} dB)"
                        " to fit into FLAC; WAV would keep them as they are"
                    )
            if stream.comes_twice and _state(song) != before:
                raise UserError(
                    f"{printable(song)}: changed while it was read; run the same command again"
                )
        if decoder.name != shown(song):
            _say(f"{decoder.name}: separated; the file has other audio streams, which are not")
        if decoder.losses:
            more = f", and {len(decoder.losses) - 1} more" if len(decoder.losses) > 1 else ""
            lost = f"; {decoder.lost:.3f} s are lost" if decoder.lost else ""
            _say(f"{decoder.name}: salvaged: {decoder.losses[0]}{more}{lost}")
        return decoder.position / decoder.sample_rate


def write_waves(
    waves: list[Path], stream: SourceStream, decoder: Decoder, progress: Callable[[float], Any]
) -> float:
    """Separate what a decoder gives into a 32-bit float WAV file a source; returns the largest sample."""
    peak, written = 0.0, 0
    with ExitStack() as stack:
        files = []
        for wave in waves:
            file = _sound_file(wave, stream.sample_rate, stream.channels, "RF64", "FLOAT")
            files.append(stack.enter_context(file))
            # RF64 has no limit of 4 GiB; below it, the file becomes WAV when it is closed
            # (SFC_RF64_AUTO_DOWNGRADE, which soundfile has no name for)
            soundfile._snd.sf_command(file._file, 0x1210, soundfile._ffi.NULL, 1)
        for samples, last in _blocks(decoder):
            for sources in stream.push(samples, last):
                loudest = float(np.abs(sources).max(initial=0))
                if not np.isfinite(loudest):
                    raise NonFiniteError("its sources would be infinite or no numbers; replace it")
                peak = max(peak, loudest)
                written += sources.shape[2]
                for file, source in zip(files, sources, strict=True):
                    file.write(np.ascontiguousarray(source.T))
            progress(samples.shape[1] / decoder.sample_rate)
    for wave in waves:
        _check_written(wave, written)
    return peak


def write_flac(wave: Path, factor: float) -> None:
    """Replace a WAV file by a 24-bit FLAC file of its samples times `factor`."""
    flac = wave.with_suffix(".flac")
    with (
        soundfile.SoundFile(bytes(wave)) as source,
        _sound_file(flac, source.samplerate, source.channels, "FLAC", "PCM_24") as file,
    ):
        samples = source.frames
        for block in source.blocks(BLOCK, dtype="float32", always_2d=True):
            file.write(block * np.float32(factor))
    _check_written(flac, samples)
    wave.unlink()


@contextmanager
def _disk(target: Path, folder: Path) -> Iterator[None]:
    """Writing with soundfile into `folder`: what goes wrong is a UserError, or the system's OSError."""
    try:
        yield
    # soundfile asserts that every sample was written; on a full disk not every one is
    except (soundfile.LibsndfileError, AssertionError) as error:
        # libsndfile does not say what the system said, so the system is asked for as much again
        written = max((path.stat().st_size for path in folder.iterdir()), default=0)
        reserve(folder / "again", written + BLOCK)
        unsaid = "not all samples were written, is the disk full?"
        reason = getattr(error, "error_string", "") or unsaid
        raise UserError(f"{printable(target)}: cannot be written: {reason.rstrip('.')}") from error


def _check_written(path: Path, samples: int) -> None:
    """Raise AssertionError unless all samples are there: closing a file fails without a word."""
    with soundfile.SoundFile(bytes(path)) as file:
        file.seek(max(samples - 1, 0))
        assert file.frames == samples, path
        assert len(file.read(1)) == 1, path


def _sound_file(path: Path, rate: int, channels: int, format: str, subtype: str) -> Any:
    # bytes, here and above: soundfile would refuse a name that is not valid UTF-8
    file = soundfile.SoundFile(bytes(path), "w", rate, channels, subtype, format=format)
    file.comment = MARK  # before the samples, so that it stands at the file's beginning
    return file


def _check_flac(song: Path, stream: SourceStream) -> None:
    for there, most, unit in (
        (stream.channels, FLAC_CHANNELS, "channels"), (stream.sample_rate, FLAC_RATE, "Hz"),
    ):  # fmt: skip
        if there > most:
            raise UserError(
                f"{printable(song)}: {there} {unit}, FLAC has {most} at most; use --format wav"
            )


def _seconds(song: Path) -> float:
    """The length that a song's header announces; 0 if unknown, or if it cannot be opened."""
    try:
        with open_audio(song, salvage=True) as decoder:
            return decoder.seconds or 0.0
    except UserError:
        return 0.0  # the reason is said when it is its turn


def _blocks(decoder: Decoder) -> Iterator[tuple[Samples, bool]]:
    """All samples of a song, and with each block whether it is the last, which may be empty."""
    last = False
    while not last:
        samples = decoder.read(BLOCK)
        last = samples.shape[1] < BLOCK
        yield samples, last


def _state(song: Path) -> list[int] | None:
    """Size, inode and time of change of a song; None of what cannot be opened either."""
    try:
        return state(song)[:3]
    except (OSError, ValueError):
        return None


def _say(line: str) -> None:
    tqdm.write(printable(line), file=sys.stderr)
