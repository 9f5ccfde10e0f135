"""Results shared with others: the commands of docs/sharing.md, with real servers on loopback."""

import getpass
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from dvc.repo import Repo

from pipeline import files
from pipeline.errors import UserError
from pipeline.features.store import FeatureFile
from tests.helpers import object_store, ssh_server
from tests.helpers.experiment import small_params, write_params
from tests.helpers.places import TOP, fingerprints, inside
from tests.helpers.revision_control import git

SHARING = (TOP / "docs/sharing.md").read_text(encoding="utf-8")
NOT_SHARED = {f"{stage}@{name}" for stage in ("download", "preprocess")
              for name in ("DSD100", "MedleyDB", "CCMixter", "iKala")} | {"report"}  # fmt: skip
"""Stages that a clone without recordings cannot call up to date."""


@pytest.fixture(scope="module", autouse=True)
def environment(quiet_git: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """This interpreter as `python`, and nobody's credentials."""
    nothing = tmp_path_factory.mktemp("aws") / "config"
    nothing.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        for name, value in object_store.CREDENTIALS.items():
            patch.setenv(name, value)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, str(nothing))
        for name in ("DATA_ROOT", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def published(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture experiment as somebody's repository, all results committed to git and DVC."""
    folder = tmp_path_factory.mktemp("published") / "experiment"
    shutil.copytree(experiment, folder, ignore=shutil.ignore_patterns("synthetic", "work"))
    for name in ("pipeline", "stages", "networks", "scripts"):
        shutil.copytree(TOP / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(TOP / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    with inside(folder), Repo() as repo:
        repo.commit(force=True)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "The experiment")
    return folder


@pytest.fixture
def author(published: Path, tmp_path: Path) -> Path:
    """A copy of it, to give a remote."""
    return shutil.copytree(published, tmp_path / "author", symlinks=True)


def documented(section: str, instead: Mapping[str, str]) -> str:
    """The commands under a heading of docs/sharing.md, with the test's places for the example's."""
    _, _, rest = SHARING.partition(f"\n## {section}\n")
    commands = "\n".join(re.findall(r"^ {4}(.*)", rest.partition("\n## ")[0], re.MULTILINE))
    for example, place in instead.items():
        assert example in commands, f"docs/sharing.md: {section}: {example}"
        commands = commands.replace(example, place)
    return commands


def run(folder: Path, commands: str, status: int = 0) -> str:
    """Run shell commands; what they say."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    return done.stdout


def clone(author: Path, name: str = "clone") -> Path:
    folder = author.with_name(name)
    git(author.parent, "clone", "--quiet", str(author), name)
    return folder


def check(folder: Path, author: Path) -> None:
    """A clone has the author's features, models and results, and has run nothing."""
    for part in ("models", "data/features", "results/tracks"):
        assert fingerprints(folder / part) == fingerprints(author / part), part
    assert git(folder, "status", "--porcelain") == ""
    assert not any((folder / name).exists() for name in ("data/synthetic", "data/ready", "work"))
    assert set(json.loads(run(folder, "dvc status --json"))) == NOT_SHARED


# ------------------------------------------------------------------------------------------ servers


@pytest.mark.slow
def test_a_clone_has_everything_from_an_s3_server(author: Path, tmp_path: Path) -> None:
    with object_store.serve(tmp_path / "log", "bucket") as address:
        places = {"s3://lab-separation/dvc": "s3://bucket/dvc", "https://s3.example.org": address}
        said = run(author, documented("An S3-compatible server", places))
        assert "Cache and remote 'lab' are in sync" in said
        colleague = clone(author)
        assert not (colleague / "models").exists()
        said = run(colleague, documented("In a colleague's clone", {}).partition("dvc push")[0])
        assert "Cache and remote 'lab' are in sync" in said
        assert "dvc.lock is current" in said
        check(colleague, author)


@pytest.mark.slow
def test_models_can_be_public_without_features(author: Path, tmp_path: Path) -> None:
    features = {files.md5(path) for path in (author / "data/features").iterdir()}
    models = {files.md5(path) for path in (author / "models").rglob("*") if path.is_file()}
    with object_store.serve(tmp_path / "log", "lab-models") as address:
        add, push = documented("Whose music is it", {}).splitlines()
        run(author, f"{add}\ndvc remote modify public endpointurl {address}\n{push}")
        stored = {name.rpartition("md5/")[2].replace("/", "") for name in objects(address)}
        assert models <= stored
        assert not features & stored
        git(author, "commit", "--quiet", "--all", "--message", "A remote for models")
        visitor = clone(author)
        run(visitor, "dvc pull --remote public train")
        assert fingerprints(visitor / "models") == fingerprints(author / "models")
        assert not (visitor / "data/features").exists()


def objects(address: str) -> list[str]:
    return object_store.objects(address, "lab-models")


@pytest.mark.slow
@pytest.mark.skipif(not ssh_server.SSHD, reason="needs OpenSSH's server")
def test_a_clone_has_everything_from_an_ssh_server(author: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    with ssh_server.serve(tmp_path / "keys") as (port, key):
        instead = {
            "ssh://storage.example.org/srv/separation": f"ssh://127.0.0.1{tmp_path}/stored",
            "user anna": f"user {getpass.getuser()}",
            "~/.ssh/id_ed25519": str(key),
            "git commit": f"dvc remote modify --local lab port {port}\ngit commit",
        }
        run(author, documented("A server with SSH", instead))
        assert "127.0.0.1" in git(author, "show", "HEAD:.dvc/config")
        assert "keyfile" not in git(author, "show", "HEAD:.dvc/config")
        colleague = clone(author)
        shutil.copy(author / ".dvc/config.local", colleague / ".dvc")
        run(colleague, "dvc pull\ndvc status --cloud")
        check(colleague, author)


# ----------------------------------------------------------------------------- folders of one machine


def folder_of(tmp_path: Path) -> dict[str, str]:
    return {"/srv/separation": str(tmp_path), "chgrp lab": f"chgrp {os.getgid()}"}


@pytest.mark.slow
def test_a_shared_folder_belongs_to_the_group(author: Path, tmp_path: Path) -> None:
    run(author, "umask 077\n" + documented("A shared folder", folder_of(tmp_path)))
    folders = [path for path in (tmp_path / "remote").rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o070 for path in folders} == {0o070}
    colleague = clone(author)
    run(colleague, "dvc pull")
    check(colleague, author)


@pytest.fixture(params=["symlink", pytest.param("hardlink", marks=pytest.mark.slow)])
def linked(request: pytest.FixtureRequest, author: Path, tmp_path: Path) -> Path:
    """A clone whose features and models are links into a shared cache."""
    instead = folder_of(tmp_path) | {"reflink,hardlink,symlink,copy": request.param}
    commands = documented("One cache for a lab", instead)
    run(author, commands.replace("dvc checkout", "dvc commit --force --quiet"))
    folder = clone(author)
    assert "is not a" not in run(folder, commands)
    check(folder, author)
    features = folder / "data/features/iKala.h5"
    assert features.is_symlink() == (request.param == "symlink")
    assert features.stat().st_nlink > 1 or features.is_symlink()
    assert not features.stat().st_mode & 0o222
    return folder


def test_what_stages_replace_leaves_a_shared_cache_whole(
    linked: Path, tmp_path: Path, one_process: None
) -> None:
    """Without DVC, which would have put a copy in the place of a link before the stage began."""
    from stages import preprocess

    before = fingerprints(tmp_path / "cache/files")
    inventory = linked / "data/inventory/iKala.json"
    shorter = json.loads(inventory.read_text(encoding="utf-8"))
    shorter["recordings"].pop()
    inventory.write_text(json.dumps(shorter), encoding="utf-8")
    with inside(linked):
        preprocess.preprocess("iKala")
        with files.atomic_path(Path("models/V")) as model:
            model.mkdir()
            (model / "config.json").write_text("{}")
    features = FeatureFile.open(linked / "data/features/iKala.h5")
    assert len(features.index) == len(shorter["recordings"])
    assert (linked / "data/features/iKala.h5").stat().st_mode & 0o200
    assert fingerprints(tmp_path / "cache/files") == before
    run(linked, "git checkout --quiet .\ndvc checkout --force")
    shutil.rmtree(linked / "work", ignore_errors=True)
    check(linked, tmp_path / "author")


@pytest.mark.slow
def test_what_is_damaged_in_the_cache_is_not_brought_back(linked: Path) -> None:
    """DVC trusts its cache. The commands that the errors name, as they are printed, help all the same."""
    path = linked / "data/features/iKala.h5"
    whole, status = path.read_bytes(), path.stat()
    store = FeatureFile.open(path)
    path.chmod(0o644)
    with path.open("r+b") as file:  # a link: the cache's own file
        file.seek(store.samples_of(1, "vocals").offset + 3)
        file.write(b"\x7f")
    path.chmod(0o444)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    run(linked, "rm data/features/iKala.h5\ndvc checkout --quiet data/features/iKala.h5")
    with pytest.raises(UserError) as caught:
        store.waveforms(1)
    (command,) = re.findall(r"run `([^`]*)`", str(caught.value))
    assert command == "python -m stages.preprocess iKala"
    # a clone has no recordings; then it has
    (recordings,) = re.findall(r"run `([^`]*)`", run(linked, command, status=1))
    assert recordings == "python -m stages.download iKala"
    run(linked, recordings)
    assert "1 recordings read" in run(linked, command)
    assert path.read_bytes() == whole
    assert ran(run(linked, "dvc repro --allow-missing preprocess@iKala")) == []
    assert path.read_bytes() == whole


# --------------------------------------------------------------------------------- work in a clone


@pytest.fixture
def pulled(author: Path, tmp_path: Path) -> Path:
    """A clone after `dvc pull`."""
    run(author, documented("A shared folder", folder_of(tmp_path)))
    folder = clone(author)
    run(folder, "dvc pull")
    return folder


def ran(said: str) -> list[str]:
    return re.findall(r"^Running stage '(.*)'", said, re.MULTILINE)


@pytest.mark.slow
def test_a_new_model_needs_no_recordings(pulled: Path) -> None:
    assert ran(run(pulled, "dvc repro --allow-missing")) == []
    data = small_params()
    data["models"]["V2"] = {"critics": ["vocals"], "alpha": 0.0003, "beta": 0.0}
    write_params(data, pulled)
    stages = ran(run(pulled, "dvc repro --allow-missing"))
    assert stages == ["train@V2", "evaluate@V2", "compare", "report"]
    assert not (pulled / "data/synthetic").exists()


@pytest.mark.slow
def test_only_recordings_and_report_are_made_anew(pulled: Path) -> None:
    stages = ran(run(pulled, "dvc repro"))
    assert set(stages) == {name for name in NOT_SHARED if not name.startswith("preprocess")}
    assert git(pulled, "status", "--porcelain") == ""
    assert json.loads(run(pulled, "dvc status --json")) == {}


@pytest.mark.slow
def test_a_training_that_somebody_has_done_is_not_repeated(linked: Path, tmp_path: Path) -> None:
    """And a model that DVC replaces leaves the others' model in the shared cache as it was."""
    before = fingerprints(tmp_path / "cache/files")
    other = clone(tmp_path / "author", "other")
    shutil.copy(linked / ".dvc/config.local", other / ".dvc")
    run(other, "dvc checkout")
    data = small_params()
    data["models"]["V"]["alpha"] = 0.5
    for folder in (linked, other):
        write_params(data, folder)
    command = "dvc repro --allow-missing train@V"
    assert ran(run(linked, command)) == ["train@V"]
    assert "Stage 'train@V' is cached - skipping run" in run(other, command)
    assert fingerprints(other / "models") == fingerprints(linked / "models")
    assert fingerprints(other / "models") != fingerprints(tmp_path / "author/models")
    assert before.items() <= fingerprints(tmp_path / "cache/files").items()
