"""Songs into files: what goes wrong is a line, what is written is whole."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from pipeline import files
from pipeline.errors import UserError
from pipeline.separation import songs as module
from pipeline.separation import streams
from pipeline.separation.model_folder import CONFIG
from pipeline.separation.separator import Separator
from pipeline.separation.songs import separate_files, separate_song
from tests.helpers.limits import small_files_only
from tests.helpers.places import TOP
from tests.helpers.small_recordings import encode, music, put
from tests.helpers.small_separators import small_separator, with_bias

SOURCES = ("accompaniment", "vocals")
SONG = music(2, 50_000)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    small_separator().save(folder, {})
    return folder


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    put(tmp_path / "songs/album/one.wav", SONG, subtype="FLOAT")
    put(tmp_path / "songs/two.wav", SONG[:1], rate=16_000, subtype="FLOAT")
    return tmp_path / "songs"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def written(out: Path) -> list[str]:
    """Every file below `out`; nothing half-written is among them."""
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert not [name for name in found if "partial" in name]
    return found


def read(path: Path) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    return samples


def test_files_and_folders(
    model: Path, songs: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert separate_files([songs, songs / "two.wav"], model, out) == 0
    assert written(out) == [
        f"{song}/{source}.wav" for song in ("album/one", "two") for source in SOURCES
    ]
    expected = Separator.load(model).separate(SONG, 44_100)
    for source in SOURCES:
        info = soundfile.info(out / f"album/one/{source}.wav")
        assert (info.samplerate, info.channels, info.subtype) == (8000, 1, "FLOAT")
        np.testing.assert_array_equal(read(out / f"album/one/{source}.wav")[0], expected[source])
    assert "2 songs separated, 0.1 min of audio in" in capsys.readouterr().out


@pytest.fixture(scope="module")
def levelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is applied at a level."""
    folder = tmp_path_factory.mktemp("levelled")
    replace(small_separator(), level=0.1).save(folder, {})
    return folder


@pytest.mark.parametrize("rate", ["model", "input"])
def test_a_songs_level_makes_no_difference_but_that_factor(
    levelled: Path, songs: Path, out: Path, rate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of a song at several levels; the numbers are those of the arrays' functions."""
    levels = {"low": 0.01, "one": 1.0, "high": 10.0}
    for name, factor in levels.items():
        put(songs / f"{name}.wav", SONG * np.float32(factor), subtype="FLOAT")
    assert separate_files([songs / f"{name}.wav" for name in levels], levelled, out, rate=rate) == 0
    separator = Separator.load(levelled)
    if rate == "model":
        expected = separator.separate(SONG, 44_100)
    else:
        expected = streams.separate(separator, SONG, 44_100)
    for source in SOURCES:
        estimate = read(out / f"one/{source}.wav")
        np.testing.assert_array_equal(estimate, np.atleast_2d(expected[source]))
        for name, factor in levels.items():
            found = read(out / f"{name}/{source}.wav") / np.float32(factor)
            np.testing.assert_allclose(found, estimate, atol=2e-4 * np.abs(estimate).max())
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("3 songs separated, ")
    before = (out / "low/vocals.wav").read_bytes()
    assert separate_files([songs / "low.wav"], levelled, out, rate=rate, overwrite=True) == 0
    assert (out / "low/vocals.wav").read_bytes() == before


def test_the_progress_is_of_what_is_separated(levelled: Path, songs: Path, out: Path) -> None:
    """While a level is measured, nothing is."""
    told: list[float] = []
    separator = Separator.load(levelled)
    seconds = separate_song(
        songs / "two.wav", out / "two", separator, "wav", streams.ModelRate, told.append
    )
    assert told == [0.0, pytest.approx(seconds)]


def replaced(song: Path) -> None:
    put(song.with_name("new.wav"), SONG[:1], rate=16_000, subtype="FLOAT")
    song.with_name("new.wav").replace(song)


def appended(song: Path) -> None:
    with song.open("ab") as file:
        file.write(b"\0" * 8)


@pytest.mark.parametrize("change", [replaced, appended, Path.unlink])
def test_a_song_that_changes_between_its_two_readings(
    levelled: Path,
    songs: Path,
    out: Path,
    change: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listen = streams.ModelRate.listen

    def then_changed(stream: streams.ModelRate, samples: Any, last: bool) -> None:
        listen(stream, samples, last)
        if last:
            change(songs / "two.wav")

    monkeypatch.setattr(streams.ModelRate, "listen", then_changed)
    assert separate_files([songs / "two.wav"], levelled, out) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error: {songs / 'two.wav'}: changed while it was read; run the same command again"
    ]
    assert written(out) == []


def test_of_two_runs_one_makes_a_song(
    model: Path, songs: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with files.claimed(out / "two", print):
        assert separate_files([songs], model, out) == 1
    said = capsys.readouterr()
    assert "1 song separated, 1 failed" in said.out
    assert re.search(
        rf"error: {out}/two: process {os.getpid()} on .* is at work on it; wait", said.err
    )
    assert written(out) == [f"album/one/{source}.wav" for source in SOURCES]
    assert separate_files([songs / "two.wav"], model, out) == 0


def test_in_bfloat16(model: Path, songs: Path, out: Path) -> None:
    separate_files([songs / "two.wav"], model, out, precision="bfloat16")
    separate_files([songs / "two.wav"], model, out / "exact")
    found, exact = (read(one / "two/vocals.wav") for one in (out, out / "exact"))
    assert 0 < np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(("where", "format"), [("separated", "wav"), (".", "flac")])
def test_what_was_separated_before_is_no_song(
    model: Path, songs: Path, where: str, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it lies and whatever it is called then; what was there before is left as it was."""
    put(songs / "separated/mine.wav", SONG)
    (songs / "album/.DS_Store").touch()
    before = {path: path.read_bytes() for path in songs.rglob("*") if path.is_file()}
    out = songs / where
    for _ in range(2):
        assert separate_files([songs], model, out, overwrite=True, format=format) == 0
    results = [path for path in out.rglob(f"*.{format}") if path not in before]
    assert len(results) == 6
    assert {path: path.read_bytes() for path in before} == before
    said = capsys.readouterr()
    assert said.out.count("3 songs separated, ") == 2
    results[0].rename(songs / f"album/renamed.{format}")
    elsewhere = songs.parent / "elsewhere"
    assert separate_files([songs], model, elsewhere) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("passed over: ")
    assert set(line[13:].split(", ")) == {"1 .DS_Store", "6 separated before"}
    # one that is named is a song
    assert separate_files([songs / f"album/renamed.{format}"], model, elsewhere) == 0


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_replaced(
    model: Path, tmp_path: Path, overwrite: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a result that is separated again, nor by a link or in a folder named like it."""
    put(tmp_path / "vocals.wav", SONG)
    separate_files([tmp_path / "vocals.wav"], model, tmp_path)
    (tmp_path / "link").symlink_to("vocals")
    for name in ("vocals/vocals.wav", "link/vocals.wav"):
        before = (tmp_path / name).read_bytes()
        assert separate_files([tmp_path / name], model, tmp_path, overwrite=overwrite) == 1
        assert "/vocals: " in capsys.readouterr().err
        assert (tmp_path / name).read_bytes() == before


def test_a_song_in_the_place_of_a_folder_is_left_there(model: Path, tmp_path: Path) -> None:
    for name in ("one.wav", "one/one.wav.wav", "one/x.mp3"):
        put(tmp_path / name, SONG)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert separate_files([tmp_path], model, tmp_path, overwrite=True) == 0
    assert {path: path.read_bytes() for path in before} == before
    assert len(written(tmp_path)) == len(before) + 6
    assert (tmp_path / "one.wav (2)/vocals.wav").is_file()


@pytest.mark.parametrize("ending", [".partial", ".old.partial"])
def test_what_only_looks_half_written_is_not_removed(
    model: Path, songs: Path, out: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = out / f"two{ending}"
    beside.mkdir(parents=True)
    (beside / "vocals.wav").touch()  # as a kill leaves it
    assert separate_files([songs / "two.wav"], model, out, overwrite=True) == 0
    beside.mkdir()
    (beside / "film.mkv").write_text("mine")
    assert separate_files([songs / "two.wav"], model, out, overwrite=True) == 1
    assert f"{beside}: holds other things" in capsys.readouterr().err
    assert (beside / "film.mkv").read_text() == "mine"


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_the_rate_of_the_input(model: Path, songs: Path, out: Path, format: str) -> None:
    assert separate_files([songs], model, out, format=format, rate="input") == 0
    sources = [read(out / f"album/one/{source}.{format}") for source in SOURCES]
    np.testing.assert_allclose(sum(sources), SONG, atol=1e-6 if format == "wav" else 3e-7)
    assert soundfile.info(out / f"two/vocals.{format}").samplerate == 16_000


def test_small_files_are_plain_wav(model: Path, songs: Path, out: Path) -> None:
    separate_files([songs / "two.wav"], model, out)
    assert (out / "two/vocals.wav").read_bytes()[:4] == b"RIFF"


@pytest.mark.parametrize("loud", [0.5, 4.0])
def test_flac_is_scaled_rather_than_clipped(
    model: Path, tmp_path: Path, loud: float, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "loud.wav", loud * SONG / np.abs(SONG).max(), subtype="FLOAT")
    for format in ("flac", "wav"):
        song, out = tmp_path / "loud.wav", tmp_path / format
        assert separate_files([song], model, out, format=format, rate="input") == 0
    wav = np.stack([read(tmp_path / f"wav/loud/{source}.wav") for source in SOURCES])
    flac = np.stack([read(tmp_path / f"flac/loud/{source}.flac") for source in SOURCES])
    assert soundfile.info(tmp_path / "flac/loud/vocals.flac").subtype == "PCM_24"
    said = capsys.readouterr().err
    if np.abs(wav).max() > 1:
        assert said.count("to fit into FLAC") == 1
        np.testing.assert_allclose(flac, wav / np.abs(wav).max(), atol=3e-7)
    else:
        assert said == ""
        np.testing.assert_allclose(flac, wav, atol=3e-7)
    assert (np.abs(wav).max() > 1) == (loud > 1)


def test_nothing_is_replaced_unasked(
    model: Path, songs: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "two").mkdir(parents=True)
    (out / "two/vocals.wav").write_text("mine")
    assert separate_files([songs], model, out) == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        f"error: {out}/two: is there already; use --overwrite to replace it"
    ]
    assert said.out.startswith("1 song separated, 1 failed")
    assert (out / "two/vocals.wav").read_text() == "mine"
    assert separate_files([songs], model, out, overwrite=True) == 1
    assert "two: holds other things than separated sources" in capsys.readouterr().err
    assert (out / "two/vocals.wav").read_text() == "mine"
    (out / "two/vocals.wav").unlink()
    for _ in range(2):
        assert separate_files([songs], model, out, overwrite=True) == 0
    assert (out / "two/vocals.wav").read_bytes()[:4] == b"RIFF"


def test_a_folder_with_other_things_is_never_replaced(
    model: Path, songs: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "two").mkdir(parents=True)
    (out / "two/diary.txt").write_text("mine")
    assert separate_files([songs / "two.wav"], model, out, overwrite=True) == 1
    assert "holds other things than separated sources" in capsys.readouterr().err
    assert (out / "two/diary.txt").read_text() == "mine"


def test_a_long_name(model: Path, tmp_path: Path) -> None:
    """82 letters of 3 bytes, twice, that differ in the last."""
    for letter in "かき":
        put(tmp_path / f"songs/{'あ' * 81}{letter}.wav", SONG)
    assert separate_files([tmp_path / "songs"], model, tmp_path / "out") == 0
    assert separate_files([tmp_path / "songs"], model, tmp_path / "out", overwrite=True) == 0
    assert len(written(tmp_path / "out")) == 4


def no_sound(path: Path) -> None:
    shape = ["-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-f", "mp4", f"file:{path}"]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *shape], check=True)


def not_a_number(path: Path) -> None:
    samples = SONG.copy()
    samples[1, 40_000] = np.nan
    put(path, samples, subtype="FLOAT")


def cut(path: Path) -> None:
    put(path, SONG)
    path.write_bytes(path.read_bytes()[:50_000])


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("film.mp4", no_sound, "no audio stream"),
        ("zero.wav", lambda path: path.write_bytes(b""), "empty file"),
        ("text.mp3", lambda path: path.write_text("not music\n" * 99), "not an audio file"),
        ("nan.wav", not_a_number, "NaN or infinite samples"),
        ("cut.wav", cut, "truncated"),
        ("folder", lambda path: path.mkdir(), "no audio file in this folder"),
        ("missing.mp3", lambda path: None, "no such file or folder"),
        ("odd\nna\udcffme.mp3", lambda path: path.write_bytes(b""), r"odd\nna\xffme.mp3: empty"),
        ("loop.wav", lambda path: path.symlink_to(path), "loop.wav: "),
    ],
)
@pytest.mark.parametrize("format", ["wav", "flac"])
def test_bad_input_is_one_line_and_the_others_go_on(
    model: Path,
    songs: Path,
    out: Path,
    name: str,
    make: Callable[[Path], Any],
    said: str,
    format: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = songs.parent / name
    make(bad)
    assert separate_files([bad, songs / "two.wav"], model, out, format=format) == 1
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert told.out.startswith("1 song separated, 1 failed, 0.1 min of audio in ")
    assert written(out) == [f"two/{source}.{format}" for source in SOURCES]


def test_names_that_are_not_text(model: Path, songs: Path, out: Path) -> None:
    odd = songs.parent / "na\udcffme \x1b[31m.wav"
    put(songs.parent / "x.wav", SONG)
    (songs.parent / "x.wav").rename(odd)
    for format in ("wav", "flac"):
        assert separate_files([odd], model, out / format, format=format) == 0
        assert (out / format / odd.stem / f"vocals.{format}").stat().st_size > 1000


def test_lossy_files_whose_length_only_decoding_tells(model: Path, out: Path) -> None:
    song = out.parent / "song.mp3"
    encode(song, [SONG], options="-c:a libmp3lame -write_xing 0 -f mp3")
    assert separate_files([song], model, out, rate="input") == 0
    frames = -(-(50_000 + 1105) // 1152)  # LAME's delay
    assert soundfile.info(out / "song/vocals.wav").frames == 1152 * frames


@pytest.mark.parametrize("kind", ["model", "levelled"])
@pytest.mark.parametrize("suffix", ["m4a", "wav"])
def test_what_is_left_of_a_damaged_song(
    kind: str,
    out: Path,
    suffix: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same when it is read twice."""
    model: Path = request.getfixturevalue(kind)
    song = out.parent / f"song.{suffix}"
    if suffix == "m4a":
        encode(song, [SONG], options="-f ipod")
        content = bytearray(song.read_bytes())
        content[4000:4200] = bytes(200)
        song.write_bytes(content)
    else:
        put(song, SONG)
        song.write_bytes(song.read_bytes()[: 44 + 4 * 40_000])
    assert separate_files([song], model, out, rate="input") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {song}: {'damaged at ' if suffix == 'm4a' else 'truncated: '}")
    assert line.endswith("; copy or download it again, or take what is there with --salvage")
    assert written(out) == []
    assert separate_files([song], model, out, rate="input", salvage=True) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{song}: salvaged: {'damaged' if suffix == 'm4a' else 'truncated'}")
    assert ("s are lost" in line) == (suffix == "m4a")
    found = read(out / "song/vocals.wav") + read(out / "song/accompaniment.wav")
    left = 50_000 if suffix == "m4a" else 40_000
    assert found.shape == (2, left)
    # its end is in its place
    rest = found[:, -10_000:] - SONG[:, left - 10_000 : left]
    assert (rest**2).sum() < 0.01 * (SONG[:, left - 10_000 : left] ** 2).sum()


def test_the_stream_that_was_taken_is_said(
    model: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = out.parent / "song.mka"
    marks = "-disposition:a:0 0 -disposition:a:1 default"
    encode(song, [SONG[:, ::-1].copy(), SONG], options=f"-f matroska -c:a flac {marks}")
    assert separate_files([song], model, out, rate="input") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{song} (stream 1): separated; the file has other audio streams, which are not"
    found = read(out / "song/vocals.wav") + read(out / "song/accompaniment.wav")
    np.testing.assert_allclose(found, SONG, atol=1e-3)


@pytest.mark.parametrize("rate", ["model", "input"])
def test_a_model_whose_estimates_are_no_sound(
    songs: Path, out: Path, rate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the song and the model, and nothing half-written."""
    with_bias(small_separator(), 1000.0).save(out.parent / "models/VA", {})
    assert separate_files([songs], out.parent / "models/VA", out, rate=rate) == 1
    lines = capsys.readouterr().err.splitlines()
    for song, line in zip(("album/one.wav", "two.wav"), lines, strict=True):
        said = (
            f"error: {songs / song}: {out.parent / 'models/VA'}: its estimates are infinite or no"
        )
        assert line.startswith(said)
    assert written(out) == []


def test_sources_that_are_no_sound_are_not_written(
    songs: Path,
    model: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever made them so, here after the model."""
    monkeypatch.setattr(
        streams.Shares, "at", lambda self, frames: np.full((2, len(frames)), np.nan, np.float32)
    )
    assert separate_files([songs], model, out, rate="input") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(
            r"error: .*: its sources would be infinite or no numbers; replace it", line
        )
    assert not list(out.rglob("*.*"))


@pytest.mark.parametrize("format", ["wav", "flac"])
@pytest.mark.parametrize("room", [0, 20_000])
def test_a_full_disk(
    model: Path, songs: Path, out: Path, room: int, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_files_only(room):
        assert separate_files([songs / "album"], model, out, rate="input", format=format) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {out}/one: cannot be written: ")
    assert written(out) == []


def test_flac_that_does_not_fit_while_wav_did(model: Path, songs: Path, out: Path) -> None:
    """Closing a FLAC file writes what is left and tells nobody whether it could."""
    separate_files([songs / "two.wav"], model, out, rate="input", format="flac")
    whole = (out / "two/vocals.flac").stat().st_size
    wave = out / "vocals.wav"
    put(wave, read(out / "two/vocals.flac"), subtype="FLOAT", rate=16_000)
    with small_files_only(whole - 100), pytest.raises((AssertionError, soundfile.LibsndfileError)):
        module.write_flac(wave, 1.0)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_target_that_cannot_be(
    model: Path, songs: Path, out: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (out.parent / "file").write_text("mine")
    assert separate_files([songs / "two.wav"], model, out.parent / name) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written: " in line
    assert (out.parent / "file").read_text() == "mine"


def test_an_interrupt_leaves_nothing(
    model: Path, songs: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        yield np.zeros((2, 1, 9), np.float32)
        raise KeyboardInterrupt

    monkeypatch.setattr(streams.ModelRate, "push", interrupted)
    with pytest.raises(KeyboardInterrupt):
        separate_files([songs], model, out)
    assert written(out) == []


def test_flac_has_limits(
    model: Path, songs: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(songs / "nine.wav", music(9, 9000))
    given = [songs / "nine.wav"]
    assert separate_files(given, model, out, rate="input", format="flac") == 1
    assert "9 channels, FLAC has 8 at most; use --format wav" in capsys.readouterr().err
    assert separate_files(given, model, out, format="flac") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "mp3"}, "--format mp3: expected wav or flac"),
        ({"rate": "48000"}, "--rate 48000: expected model or input"),
        ({"precision": "fp16"}, "--precision fp16: expected float32 or bfloat16"),
        ({"onnx": Path("x.onnx"), "precision": "bfloat16"}, "--onnx computes in float32"),
        ({"device": "gpu"}, "--device gpu: expected auto, cpu or cuda"),
        ({"onnx": Path("x.onnx"), "device": "cuda"}, "--onnx runs on the CPU"),
    ],
)
def test_options_that_make_no_sense(
    model: Path, songs: Path, out: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        separate_files([songs], model, out, **options)
    assert not out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(model: Path, songs: Path, out: Path) -> None:
    with pytest.raises(UserError, match="no CUDA device"):
        separate_files([songs], model, out, device="cuda")


@pytest.mark.parametrize(
    ("config", "said"), [("{", "not valid JSON"), ('{"format": 2}', "model format 2")]
)
def test_a_model_that_is_none(
    songs: Path, model: Path, out: Path, config: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / CONFIG).write_text(config)
    with pytest.raises(UserError, match=said):
        separate_files([songs], tmp_path / "m", out)
    assert not out.exists()


def test_the_command(model: Path, songs: Path, out: Path) -> None:
    """As people call it: lines on stderr, the summary on stdout, the status of the process."""
    (songs / "text.mp3").write_text("no")
    command = [sys.executable, "-m", "pipeline", "separate", str(songs), "--model", str(model)]
    done = subprocess.run(
        [*command, "--out", str(out), "--format", "flac"], cwd=TOP, capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {songs}/text.mp3: not an audio file")
    assert done.stdout.startswith("2 songs separated, 1 failed, ")
    assert len(written(out)) == 4
