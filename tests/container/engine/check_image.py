"""What is in the image, and what is not."""

import json
import os
import re
import shutil
import time
from pathlib import Path, PurePath

import av
import numpy as np
import pytest
import soundfile

from tests.container.engine.clones import removed
from tests.container.engine.docker import BASE, CLIENT, IMAGE, STRANGER, as_root, docker, run
from tests.helpers.places import TOP
from tests.helpers.small_recordings import music
from tests.helpers.small_separators import small_separator

TOOLS = {
    "gcc", "g++", "cc", "c++", "clang", "make", "cmake", "ninja", "ld", "as", "nvcc", "uv", "uvx",
    "cargo", "rustc", "go",
}  # fmt: skip
SECRETS = {
    ".netrc", "_netrc", ".git-credentials", ".pypirc", "pip.conf", "uv.toml", ".npmrc", ".git", ".env",
    "id_rsa", "id_ed25519", "credentials", "authorized_keys", "config.local", "package-index",
}  # fmt: skip
LIST = "find / -xdev -not -path '/proc/*' -not -type l -printf '%m %y %s %p\\n'"
Entry = tuple[int, str, int, str]
"""Mode, kind (f, d), size in bytes, path."""


def listing(image: str) -> list[Entry]:
    lines = [line.split(" ", 3) for line in as_root(LIST, image=image).splitlines()]
    return [(int(mode, 8), kind, int(size), path) for mode, kind, size, path in lines]


@pytest.fixture(scope="module")
def added() -> list[Entry]:
    """The files and folders that the image has and its base has not, or not so."""
    known = {(mode, path) for mode, _, _, path in listing(BASE)}
    return [entry for entry in listing(IMAGE) if (entry[0], entry[3]) not in known]


def test_no_build_tools_are_left(added: list[Entry]) -> None:
    programs = [path for mode, kind, _, path in added if kind == "f" and mode & 0o111]
    assert [path for path in programs if PurePath(path).name in TOOLS] == []
    # pip is the base's business; the environment has none
    assert [path for path in programs if re.search(r"/opt/.*/pip[\d.]*$", path)] == []
    # headers come with the wheels, which use them for kernels compiled at run time, not with Debian
    headers = r"/usr/(local/)?include/.*\.h(pp)?$"
    assert [path for *_, path in added if re.match(headers, path)] == []


def test_no_caches_are_left(added: list[Entry]) -> None:
    places = r"/(var/cache|var/lib/apt/lists|root|tmp|run|home/[^/]+/\.cache)/"
    left = [(path, size) for _, kind, size, path in added if kind == "f" and re.match(places, path)]
    # debconf and fontconfig keep what they know of installed packages there
    assert sum(size for _, size in left) < 5_000_000, left
    assert not [path for path, _ in left if re.search(r"\.(deb|whl|tar\.gz)$|/uv-|pip", path)]


def test_no_secrets(added: list[Entry]) -> None:
    files = [path for _, kind, _, path in added if kind == "f" or path.endswith("/.git")]
    assert [path for path in files if PurePath(path).name in SECRETS] == []
    ours = "/opt/adversarial-separation /etc /home /root /run /tmp /experiment"
    pattern = (
        "-----BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|://[^/ ]+:[^/ ]+@"
    )
    found = as_root(f"grep -rIlE -- '{pattern}' {ours} || true")
    assert found == ""


def test_the_history_names_no_secret_and_no_address() -> None:
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE).stdout
    assert not re.search(r"://|password|token|_KEY", history, re.IGNORECASE), history
    base = json.loads(docker("image", "inspect", BASE).stdout)[0]["Config"]["Env"]
    environment = json.loads(docker("image", "inspect", IMAGE).stdout)[0]["Config"]["Env"]
    names = {entry.partition("=")[0] for entry in set(environment) - set(base)}
    assert names <= {
        "PATH", "LANG", "PYTHONUNBUFFERED", "DVC_NO_ANALYTICS", "NVIDIA_DRIVER_CAPABILITIES",
    }  # fmt: skip


def test_nobody_may_become_another_or_change_the_image(added: list[Entry]) -> None:
    assert [path for mode, kind, _, path in added if kind == "f" and mode & 0o6000] == []
    writable = [path for mode, _, _, path in added if mode & 0o002 and not mode & 0o1000]
    assert writable == []
    assert run("id", "-u", user="").stdout.strip() == "1000"
    done = run("sh", "-c", "touch /opt/adversarial-separation/x /opt/venv/x /usr/x")
    assert done.stderr.count("Permission denied") == 3


def test_the_packages_are_stored_once() -> None:
    sizes = docker("history", "--format", "{{.Size}}", "--human=false", IMAGE).stdout.split()
    large = [int(size) for size in sizes if int(size) > 2_000_000_000]
    assert len(large) == 1


def test_the_engine_reports_its_health(tmp_path: Path) -> None:
    config = json.loads(docker("image", "inspect", IMAGE).stdout)[0]["Config"]
    assert config["Healthcheck"]["Test"][-1] == "health"
    assert run("health").returncode == 0
    (tmp_path / "dvc.yaml").touch()
    done = run("health", options=("-v", f"{tmp_path}:/experiment:ro"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: /experiment: ")


def test_songs_are_separated_without_ffmpeg_a_checkout_or_a_root_to_write_to(
    tmp_path: Path,
) -> None:
    """The MP3 and the MP4 need FFmpeg's libraries, which are in a package; no program is."""
    assert run("sh", "-c", "command -v ffmpeg ffprobe").stdout == ""
    song = music(2, 44100, 44100)
    small_separator().save(tmp_path / "models/VA", {})
    soundfile.write(tmp_path / "one.mp3", song.T, 44100)
    with av.open(tmp_path / "two.mp4", "w") as file:
        stream = file.add_stream("aac", rate=44100, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(song), "fltp", "stereo")
        frame.rate, frame.pts = 44100, 0
        file.mux([*stream.encode(frame), *stream.encode(None)])
    with removed(tmp_path):
        as_root(f"chown -R {STRANGER} /experiment", tmp_path)
        words = "python -m pipeline separate one.mp3 two.mp4 --model models/VA --out separated"
        done = run(*words.split(), mount=tmp_path, options=("--read-only", "--tmpfs", "/tmp"))
        assert done.returncode == 0, done.stderr
        for name in ("one", "two"):
            for source in ("accompaniment", "vocals"):
                estimate, rate = soundfile.read(tmp_path / "separated" / name / f"{source}.wav")
                assert (estimate.shape, rate) == ((8000,), 8000)
                assert np.abs(estimate).max() > 0.001


def test_a_change_of_code_rebuilds_the_last_layers_only(tmp_path: Path) -> None:
    for name in (
        "Dockerfile",
        ".dockerignore",
        "requirements",
        "pipeline",
        "stages",
        "networks",
        "container",
    ):
        source = TOP / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    with (tmp_path / "pipeline" / "__init__.py").open("a") as file:
        file.write("# a change\n")
    before = layers(IMAGE)
    options = [*os.environ.get("DOCKER_BUILD_OPTIONS", "").split(), "--build-arg", f"BASE={BASE}"]
    began = time.monotonic()
    done = docker("build", *options, "-t", f"{IMAGE}:changed", str(tmp_path))
    print(f"rebuilt with {CLIENT} in {time.monotonic() - began:.1f} s")
    assert done.returncode == 0, done.stderr
    after = layers(f"{IMAGE}:changed")
    docker("rmi", f"{IMAGE}:changed")
    # stages and container come after pipeline; all before, with the packages, are the same
    changed = [number for number, layer in enumerate(before) if after[number] != layer]
    assert changed
    assert len(before) - min(changed) <= 6


def layers(image: str) -> list[str]:
    found = json.loads(docker("image", "inspect", image).stdout)[0]["RootFS"]["Layers"]
    assert isinstance(found, list)
    return found
