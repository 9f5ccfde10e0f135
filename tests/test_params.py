"""params.yaml: one schema for both files, one line for each mistake."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import params
from pipeline.datasets.readers import READERS
from pipeline.errors import UserError
from pipeline.network_settings import DCGANSettings, UNetSettings

TOP = Path(__file__).parents[1]
EMBEDDED = TOP / "params.yaml"
PAPER, OPEN = (TOP / f"experiments/{name}/params.yaml" for name in ("paper", "open"))
ALL = sorted(TOP.glob("experiments/*/params.yaml"))


def raw(path: Path = PAPER) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text())


def keys(value: Any, prefix: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {prefix}
    return {key for name, inner in value.items() for key in keys(inner, f"{prefix}.{name}")}


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.parent.name)
def test_all_files_have_the_same_keys(path: Path) -> None:
    """But for the datasets and models: which there are is what the files differ in."""
    one, other = raw(EMBEDDED), raw(path)
    for name in ("datasets", "models"):
        del one[name], other[name]
    assert keys(one) == keys(other)
    params.load(path)


def test_the_open_experiment_is_the_papers_on_other_recordings() -> None:
    """MUSDB18 holds DSD100's songs and some of MedleyDB's; nobody needs to be asked."""
    paper, opened = params.load(PAPER), params.load(OPEN)
    assert opened.model_copy(update={"datasets": paper.datasets}) == paper
    origins = {name: (one.origin, one.collection) for name, one in opened.datasets.items()}
    assert origins == {
        "DSD100": ("download", "MUSDB18"),
        "MedleyDB": ("download", "MUSDB18"),
        "CCMixter": ("download", None),
        "MIR-1K": ("download", None),
    }


def test_every_known_dataset_has_a_reader() -> None:
    assert set(params.KNOWN) == set(READERS)


def test_one_collection_gives_several_datasets() -> None:
    data = raw(EMBEDDED)
    for name, sex in (("men", "m"), ("women", "f")):
        data["datasets"][name] = {
            "origin": "local", "collection": "MIR-1K", "select": {"sex": [sex]},
            "roles": {"test": {"singer": ["Ani"]}}, "voice_level": -5.0,
        }  # fmt: skip
    found = params.parse(data, "params.yaml")
    assert found.with_named_roles == ["men", "women"]
    assert found.datasets["men"].songs_of("men") == "MIR-1K"


def test_unpaired_recordings_are_two_lines() -> None:
    data = raw(EMBEDDED)
    text = """
    radio: {origin: folder, path: ~/music, holds: mixture, weight: 1}
    DAMP: {origin: folder, path: /corpora/DAMP, holds: vocals}
    """
    data["datasets"] |= YAML(typ="safe", pure=True).load(textwrap.dedent(text))
    found = params.parse(data, "params.yaml").datasets
    assert (found["DAMP"].holds, found["radio"].holds) == ("vocals", "mixture")
    assert (found["DAMP"].weight, found["radio"].weight) == (None, 1.0)


def test_the_papers_numbers() -> None:
    """Section 4 of the paper; where it is silent, its authors' program."""
    paper = params.load(PAPER)
    assert (paper.signal.sample_rate, paper.signal.fft_size, paper.signal.hop_size) == (
        8000,
        512,
        256,
    )
    assert isinstance(paper.separator, UNetSettings)
    assert isinstance(paper.critic, DCGANSettings)
    assert (paper.separator.filters, paper.separator.depth, paper.critic.filters) == (16, 4, 32)
    assert paper.separator.output == "magnitude"
    assert paper.training.excerpt == 66
    training = paper.training
    assert (training.batch_size, training.steps_per_epoch, training.patience) == (64, 1000, 6)
    assert (training.learning_rate, training.critic_steps, training.gain) == (5e-5, 5, [0.2, 1.2])
    assert training.penalty_weight == 10
    weights = {name: (m.critics, m.alpha, m.beta) for name, m in paper.models.items()}
    assert weights == {
        "baseline": ([], 0, 0),
        "V": (["vocals"], 0.01, 0.01),
        "VA": (["vocals", "accompaniment"], 0.001, 0.001),
    }
    assert paper.evaluation.filter_length == 512


def test_an_exponent_without_a_dot_is_a_number(tmp_path: Path) -> None:
    """PyYAML reads 1e-4 as text, DVC as a number: so must we."""
    path = tmp_path / "params.yaml"
    path.write_text(PAPER.read_text().replace("5.0e-5", "5e-5"))
    assert params.load(path).training.learning_rate == 5e-5


CASES: list[tuple[str, Any, str]] = [
    ("training.batch_size", "many", "training.batch_size: expected a valid integer, found 'many'"),
    ("training.batch_size", 0, "training.batch_size: expected greater than 0, found 0"),
    ("training.batch_size", 1.5, "training.batch_size: expected a valid integer"),
    ("training.learning_rate", float("nan"), "training.learning_rate: expected"),
    ("models.VA.divergence", "chi2", "models.VA.divergence: expected js or js_non_saturating or kl or"),
    ("training.gain", [1.2, 0.2], "gain must be"),
    ("training.gpu", "yes", "training.gpu: unknown key"),
    ("training.patience", None, "training.patience: expected a valid integer, found None"),
    ("models.V.critics", ["drums"], "models.V.critics: expected names from sources"),
    (
        "models.oracle",
        {"critics": [], "alpha": 0.0, "beta": 0.0},
        "models.oracle: the name is taken",
    ),
    ("models.unseen", {"critics": [], "alpha": 0.0, "beta": 0.0}, "models.unseen: the name is taken"),
    ("models.irm", {"critics": [], "alpha": 0.0, "beta": 0.0}, "models.irm: the name is taken"),
    ("models.V.critics", [], "models.V: alpha: 0.01 is for critics, and there are none; name them, or"),
    ("separator.network", "x", "separator: network: expected unet or wave_unet or band_split, netw"),
    ("critic.network", "../dcgan", "critic.network: expected networks/<name>.py, a name of letters"),
    ("critic", {"network": "multi_resolution", "filters": 8, "resolutions": [[256, 512]]},
     "critic: resolutions: expected hops up to their windows, else samples between two are not heard,"
     " found [256, 512]"),
    ("critic", {"network": "multi_resolution", "filters": 8, "resolutions": [[8, 4]]},
     "critic: resolutions: expected windows of 16 samples or more, found [8, 4]"),
    ("critic", {"network": "multi_resolution", "filters": 8, "resolutions": [[256, 64]] * 2},
     "critic: resolutions: [256, 64] is there twice"),
    ("critic", {"network": "multi_resolution", "filters": 8, "resolutions": [[16384, 256]]},
     "critic: models.V: multi_resolution needs excerpts of 18176 samples; training.excerpt: 66 has"),
    ("models.V.critic", {"network": "waveform", "filters": 8, "resolutions": []},
     "models.V.critic.resolutions: unknown key, found an empty list; remove it or"),
    ("models.a.b", {"critics": [], "alpha": 0.0, "beta": 0.0}, "models.a"),
    ("datasets.MUSDB", {"origin": "local"}, "datasets.MUSDB: expected one of DSD100, MedleyDB,"),
    ("datasets.iKala.origin", "web", "datasets.iKala.origin: expected 'synthetic', 'local', "),
    ("datasets.iKala.url", "x", "datasets.iKala: url: not a key of origin local, which takes"),
    ("datasets.DSD100.checksum", "md5:zz", "datasets.DSD100.checksum: expected String should match"),
    ("datasets.iKala.collection", "MUSDB18", "datasets.iKala.collection: MUSDB18 has no songs of"),
    ("datasets.iKala.roles", [], "datasets.iKala.roles: expected List should have at least 1"),
    ("datasets.iKala.roles", ["train"], "datasets.iKala.roles.0: expected 'supervised', "),
    ("datasets.iKala.roles", {"train": {}}, "datasets.iKala.roles.train: expected 'supervised', "),
    ("datasets.iKala.roles", {"test": {"singer": "Ani"}},
     "datasets.iKala.roles.test.singer: expected a valid list, found 'Ani'"),
    ("datasets.iKala.roles", {"test": {}}, "datasets.iKala.roles.test: expected "),
    ("datasets.iKala.roles", "test", "datasets.iKala.roles: expected a valid list, found 'test'"),
    ("datasets.iKala.select", {"singer": [1]},
     "datasets.iKala.select.singer.0: expected a valid string, found 1"),
    ("datasets.iKala.select", {"singer": []}, "datasets.iKala.select.singer: expected "),
    ("datasets.iKala.voice_level", 99.0, "datasets.iKala.voice_level: expected less than or"),
    ("models.V.supervised_minutes", 0.0, "models.V.supervised_minutes: expected greater than or"),
    ("models.baseline.unlabelled_minutes", 5.0,
     "models.baseline: unlabelled_minutes: the model learns from no unlabelled recordings; leave it out"),
    ("datasets.men", {"origin": "local"}, "datasets.men: expected one of DSD100, "),
    ("datasets.men", {"origin": "local", "collection": "men"},
     "datasets.men.collection: expected one of DSD100, "),
    ("datasets.unseen", {"origin": "local", "collection": "MIR-1K"},
     "datasets.unseen: the name is taken"),
    ("datasets.men", {"origin": "local", "collection": "iKala", "select": {"track": ["a"]}},
     "datasets: iKala and men hold the same songs"),
    ("datasets.MUSDB18", {"origin": "local"}, "DSD100 and MUSDB18 hold the same songs"),
    ("datasets.a/b", {"origin": "local"}, "datasets.a/b: expected String should match pattern"),
    ("datasets.a", {"origin": "folder", "path": "x"}, "datasets.a: holds: expected a value"),
    ("datasets.a", {"origin": "folder", "holds": "vocals"}, "datasets.a: path: expected a value"),
    ("datasets.a", {"origin": "folder", "path": "x", "holds": "drums"},
     "datasets.a.holds: expected mixture or one of sources"),
    ("datasets.iKala", {"origin": "folder", "path": "x", "holds": "vocals"},
     "datasets.iKala: the name is taken"),
    ("datasets.a", {"origin": "folder", "path": "x", "holds": "vocals", "weight": 0.0},
     "datasets.a.weight: expected greater than or equal to"),
    ("datasets.iKala.weight", 1.0, "datasets.iKala: weight: not a key of origin local, which takes"),
    ("sources", ["vocals", "mixture"], "sources: mixture is their sum"),
    ("signal.hop_size", 100, "hop_size: expected fft_size 512 divided by 2 (50 % overlap), 4"),
    ("sources", ["vocals", "vocals"], "sources: a name is repeated"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "said"), CASES)
def test_one_line_names_file_key_expected_and_found(key: str, value: Any, said: str) -> None:
    data = raw()
    *path, last = key.split(".")
    place = data
    for part in path:
        place = place.setdefault(part, {})
    place[last] = value
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        params.parse(data, "params.yaml")
    assert str(caught.value).startswith("params.yaml: ")
    assert "\n" not in str(caught.value)


HOSTILE: list[tuple[str, Any, str]] = [
    ("voice_level", float("nan"), "expected a finite number, found nan"),
    ("voice_level", float("-inf"), "expected a finite number, found -inf"),
    ("voice_level", 1e300, "expected less than or equal to 60, found 1e+300"),
    ("voice_level", -61, "expected greater than or equal to -60, found -61"),
    ("voice_level", 10**400, "expected a valid number, found a number of more than 60 digits"),
    ("voice_level", "5", "expected a valid number, found '5'"),
    ("voice_level", True, "expected a valid number, found True"),
    ("voice_level", [5], "expected a valid number, found a list"),
    ("select", ["Ani"], "expected a valid dictionary, found a list"),
    ("select", "Ani", "expected a valid dictionary, found 'Ani'"),
    ("select", {}, "expected Dictionary should have at least 1 item"),
    ("select.singer", "Ani", "expected a valid list, found 'Ani'"),
    ("select.singer", None, "expected a valid list, found None"),
    ("select.singer", {"Ani": None}, "expected a valid list, found a mapping"),
    ("select.singer.0", ["Ani"], "expected a valid string, found a list"),
    ("select.1", ["Ani"], "expected a valid string, found 1"),
    ("roles", 5, "expected a valid list, found 5"),
    ("roles", {}, "expected Dictionary should have at least 1 item"),
    ("roles.0", {"test": {"singer": ["Ani"]}}, "expected 'supervised', 'unlabelled', 'validation' or"),
    ("roles.test", None, "expected a valid dictionary, found None"),
    ("roles.test", ["Ani"], "expected a valid dictionary, found a list"),
    ("roles.test.singer.0", 7, "expected a valid string, found 7"),
]  # fmt: skip


def test_some_of_a_collection_of_other_types_is_one_line() -> None:
    """Each value in a dataset that is sound without it, at the place that its key names."""
    data = raw(EMBEDDED)
    for key, value, said in HOSTILE:
        name, *path = key.split(".")
        for part in reversed(path):
            value = [value] if part == "0" else {int(part) if part.isdecimal() else part: value}
        data["datasets"]["part"] = {"origin": "local", "collection": "MIR-1K", name: value}
        with pytest.raises(UserError) as caught:
            params.parse(data, "params.yaml")
        assert str(caught.value).startswith(f"params.yaml: datasets.part.{key}: {said}")
    del data["datasets"]["part"][name]
    params.parse(data, "params.yaml")


BOUNDS: list[tuple[str, Any, Any]] = [
    ("seeds.0", 0, 2**32 - 1),
    ("split.seed", 0, 2**32 - 1),
    ("synthetic.seed", 0, 2**32 - 1),
    ("synthetic.seconds", 1.0, 600.0),
    ("synthetic.tracks.iKala", 1, 1000),
    ("signal.sample_rate", 1000, 192_000),
    ("separator.filters", 1, 256),
    ("separator.depth", 1, 6),
    ("critic.filters", 1, 256),
    ("training.batch_size", 1, 4096),
    ("training.excerpt", 16, 10_000),
    ("training.steps_per_epoch", 1, 100_000),
    ("training.max_epochs", 1, 10_000),
    ("training.patience", 1, 10_000),
    ("training.critic_steps", 1, 100),
    ("training.learning_rate", 1e-9, 1.0),
    ("training.penalty_weight", 0.0, 1e6),
    ("training.gain.0", 0.001, None),
    ("training.gain.1", None, 100.0),
    ("models.V.alpha", 0.0, 1e6),
    ("models.V.beta", 0.0, 1e6),
    ("evaluation.filter_length", 1, 2048),
    ("evaluation.confidence", 0.01, 0.9999),
]


def changed(key: str, value: Any) -> Any:
    """The paper's parameters with another value."""
    data = raw()
    *path, last = key.split(".")
    place = data
    for part in path:
        place = place[part]
    place[int(last) if last.isdecimal() else last] = value
    return data


@pytest.mark.parametrize(("key", "least", "most"), BOUNDS)
def test_every_number_has_bounds(key: str, least: Any, most: Any) -> None:
    """What lies within is taken, what lies beyond is one line; a slip of the keyboard lies beyond."""
    for value in (least, most):
        if value is not None:
            params.parse(changed(key, value), "params.yaml")
    below = [] if least is None else [least - 1, -1, -(10**30)]
    above = [] if most is None else [most * 2, most * 10**9, 10**30, 10**400]
    for value in (*below, *above, float("nan"), float("inf"), 2**20_000, "1", [1], None, True):
        with pytest.raises(UserError, match=rf"^params\.yaml: {re.escape(key)}: ") as caught:
            params.parse(changed(key, value), "params.yaml")
        assert len(str(caught.value)) < 300


def test_every_number_is_in_that_list() -> None:
    numbers: set[str] = set()

    def visit(value: Any, key: str) -> None:
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for name, inner in items:
                visit(inner, f"{key}.{name}" if key else str(name))
        elif isinstance(value, int | float):
            numbers.add(key)

    visit(raw(), "")
    one_of_many = {"models.baseline", "models.VA", "synthetic.tracks", "seeds"}
    fixed = {"signal.fft_size", "signal.hop_size"}  # of each other: below
    listed = {key for key, *_ in BOUNDS} | fixed
    assert {key for key in numbers - listed if key.rpartition(".")[0] not in one_of_many} == set()


@pytest.mark.parametrize(
    ("fft_size", "said"),
    [(0, "expected greater"), (64, "expected greater"), (192, "multiple of 128"), (2**16, "less")],
)
def test_sizes_of_the_fft(fft_size: int, said: str) -> None:
    for good in (128, 2**15):
        data = changed("signal.fft_size", good)
        data["signal"]["hop_size"] = good // 2
        params.parse(data, "params.yaml")
    data = changed("signal.fft_size", fft_size)
    data["signal"]["hop_size"] = fft_size // 2
    with pytest.raises(UserError, match=rf"params\.yaml: signal.*fft_size: .*{said}"):
        params.parse(data, "params.yaml")


def test_a_network_has_a_largest_size() -> None:
    data = changed("separator.depth", 6)
    data["separator"]["filters"] = 64
    params.parse(data, "params.yaml")
    data["separator"]["filters"] = 65
    with pytest.raises(UserError, match=r"separator: filters: expected at most 64 with depth 6"):
        params.parse(data, "params.yaml")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("sources", ["vocals", "Vocals"], "sources: vocals and Vocals differ in capitals alone"),
        ("sources", ["vocals", "Mixture"], "sources: mixture is their sum"),
        ("sources", ["s" * 65], "sources.0: expected String should have at most 64"),
        ("sources", ["vocals\n"], "sources.0: expected String should match pattern"),
        (
            "sources",
            [f"s{number}" for number in range(17)],
            "sources: expected List should have at",
        ),
        ("sources", [], "sources: expected List should have at least 1 item"),
        (
            "models.v",
            {"critics": [], "alpha": 0.0, "beta": 0.0},
            "models: V and v differ in capitals",
        ),
        ("models.Oracle", {"critics": [], "alpha": 0.0, "beta": 0.0}, "the name is taken"),
        (
            "datasets.ikala",
            {"origin": "folder", "path": "x", "holds": "vocals"},
            "differ in capitals",
        ),
        ("datasets.iKala.path", "a\0b", "path: holds a control character"),
        ("datasets.iKala.path", "a\nb", "path: holds a control character"),
        ("datasets.iKala.path", "\ud800", "path: expected a valid string"),
        ("datasets.iKala.path", "a/" + "b" * 256, "path: longer than a path can be"),
        ("datasets.iKala.path", "a/" * 3000, "path: longer than a path can be"),
        ("datasets.DSD100.url", "http://a/\x1b[2J", "url: holds a control character"),
        ("a\x1b[2J\nb", 1, r"a\x1b[2J\nb: unknown key, found 1"),
    ],
)
def test_names_and_places_that_would_not_work_later(key: str, value: Any, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        params.parse(changed(key, value), "params.yaml")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("data", [None, [], {}, "x", 1, [1, 2], {1: 2}, {None: 1}, {("a",): 1}])
def test_another_type_than_a_mapping_is_one_line(data: Any) -> None:
    with pytest.raises(UserError, match=r"^params\.yaml: ") as caught:
        params.parse(data, "params.yaml")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("key", sorted(keys(raw())))
def test_every_key_is_required(key: str) -> None:
    """But for the members of the three open mappings (datasets, models, synthetic.tracks), and ways."""
    *path, last = key.lstrip(".").split(".")
    if path[:1] in (["datasets"], ["models"]) or path == ["synthetic", "tracks"]:
        return
    data = raw()
    place = data
    for part in path:
        place = place[part]
    del place[last]
    with pytest.raises(UserError, match=rf"{re.escape(key.lstrip('.'))}: .*missing"):
        params.parse(data, "params.yaml")


@pytest.mark.parametrize("text", ["a: [", "seed: 1\nseed: 2\n"])
def test_broken_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="not valid YAML") as caught:
        params.load(path)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: no such file"):
        params.load(tmp_path / "params.yaml")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("")
    with pytest.raises(UserError, match=r"params\.yaml: "):
        params.load(tmp_path / "params.yaml")
