"""params.yaml as typed, validated values; an unknown or missing key is an error.

All parameter files (params*.yaml) have exactly these keys. The machine (device, processes) is no
parameter: dvc.lock records none, so it must not decide what is rerun.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from pipeline.errors import UserError
from pipeline.network_settings import CriticSettings, OwnSettings, SeparatorSettings, source_fault
from pipeline.sections import Name, Place, Section, Seed, Weight
from pipeline.text_files import CASE, first_fault, read_toml, read_yaml
from pipeline.tracks import MIXTURE
from pipeline.ways import Model, RoleName

DATASETS = ("DSD100", "MedleyDB", "CCMixter", "iKala")
"""The paper's, in its order."""
_HERE = Path(__file__).parent
_COLLECTIONS = _HERE / "datasets/catalogue/collections.toml"
_CATALOGUE = read_toml(
    _COLLECTIONS,
    dict[str, dict[str, Any]],
    f"bring it back with `git checkout -- {quote(str(_COLLECTIONS))}`",
)
KNOWN = tuple(dict.fromkeys((*DATASETS, *_CATALOGUE)))
"""All datasets that have a reader: those of the catalogue."""
FOLDER = "folder"
"""The origin of unpaired recordings."""
IDEAL_ROWS = {
    "irm": "an ideal ratio mask: of each cell of the mixture the source's share of all magnitudes",
    "magnitude": "the true magnitudes with the mixture's phase",
    "oracle": "the magnitudes that come closest to the source with the mixture's phase",
}
REFERENCE_ROWS = {MIXTURE: "the mixture as the estimate", **IDEAL_ROWS}
"""The rows of the table that need no model, and what their estimates are."""
RESERVED = (*REFERENCE_ROWS, "all", "unseen", *DATASETS)
OF_SEED = "seed-"
MIXED = 2
"""Mixtures whose sum mixture invariant training takes apart: each source has an output for each."""

Embedded = Literal["DSD100", "MedleyDB", "CCMixter", "iKala"]
Origin = Literal["synthetic", "local", "download", "folder"]
Arithmetic = Literal["portable", "native"]
Precision = Literal["float32", "bfloat16"]
Level = Literal["training", "recorded"]

Selection = Annotated[dict[str, Annotated[list[str], Field(min_length=1)]], Field(min_length=1)]
"""Tracks by what is known of them: for each column (artist, track, or one of the collection's list in
pipeline/datasets/catalogue), the values of which a track has one."""
RoleNames = Annotated[list[RoleName], Field(min_length=1)]
RoleSelections = Annotated[dict[RoleName, Selection], Field(min_length=1)]
Roles = Annotated[
    Annotated[RoleNames, Tag(f"{CASE}list")] | Annotated[RoleSelections, Tag(f"{CASE}mapping")],
    Discriminator(lambda value: f"{CASE}{'mapping' if isinstance(value, dict) else 'list'}"),
]


class Dataset(Section):
    """Where a dataset's recordings come from, and what is used of them."""

    origin: Origin
    """synthetic: rendered by us; local: the user's copy; download: fetched unless there is a copy;
    folder: any folder of audio, used as unpaired recordings."""
    collection: Name | None = None
    """The collection that the songs are taken from when it is not the dataset itself."""
    path: Place | None = None
    """Where the recordings are, when not at DATA_ROOT/<collection>."""
    url: Place | None = None
    """Another address of the archive: a mirror, file:// or a path."""
    checksum: Annotated[str, Field(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")] | None = (
        None
    )
    """The archive's checksum when it is not the published one."""
    holds: str | None = None
    """What a folder holds: mixture, or the source that sounds alone in its files."""
    weight: Annotated[float, Field(ge=1e-6, le=1e6)] | None = None
    """How often a folder's recordings are drawn in training, all together, relative to all tracks of
    datasets without a weight; None: each one as often as one of these tracks."""
    select: Selection | None = None
    """Which of the collection's tracks the dataset has; None: all."""
    voice_level: Annotated[float, Field(ge=-60, le=60)] | None = None
    """dB that are added to the vocals, and so to what is sung in the mixture; None: as recorded."""
    roles: Roles | None = None
    """The roles that the dataset gives tracks to, of those that `split.strategy` assigns, or which tracks
    have which role, whatever the strategy (the others have none); None: all, as the strategy says."""

    def songs_of(self, name: str) -> str:
        """The published dataset whose songs the dataset `name` has: this one, or its collection."""
        return name if name in KNOWN else self.collection or name

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        allowed = {
            "synthetic": {"roles", "voice_level"},
            "local": {"collection", "path", "roles", "select", "voice_level"},
            "download": {"collection", "url", "checksum", "roles", "select", "voice_level"},
            "folder": {"path", "holds", "weight"},
        }[self.origin]
        given = {name for name, value in self if name != "origin" and value is not None}
        if given - allowed:
            raise ValueError(
                f"{min(given - allowed)}: not a key of origin {self.origin}, which takes"
                f" {', '.join(sorted(allowed))}"
            )
        lacking = {"path", "holds"} - given if self.origin == "folder" else set()
        if lacking:
            raise ValueError(f"{min(lacking)}: expected a value, origin folder needs it")
        return self


class Synthetic(Section):
    """The embedded recordings (pipeline/datasets/synthetic)."""

    seed: Seed
    seconds: Annotated[float, Field(ge=1, le=600)]
    tracks: dict[Embedded, Annotated[int, Field(gt=0, le=1000)]]
    """The largest of the real datasets, MedleyDB, has 122."""


class Split(Section):
    """How tracks get their roles (pipeline/split.py)."""

    strategy: Literal["paper", "by_artist"]
    seed: Seed


class Signal(Section):
    """STFT of the mono signal (paper, section 4.3.1: 8 kHz, windows of 512 that overlap by 50 %)."""

    sample_rate: Annotated[int, Field(ge=1000, le=192_000)]
    """Hz; the highest is that of the highest recordings."""
    fft_size: Annotated[int, Field(ge=128, le=2**15)]
    hop_size: Annotated[int, Field(gt=0)]
    window: Literal["hann", "hamming", "blackman", "sine"] = "hann"
    """The windows' shape, at analysis and synthesis alike."""

    @property
    def bins(self) -> int:
        """Frequency bins of one frame."""
        return self.fft_size // 2 + 1

    @property
    def overlap(self) -> int:
        """How many windows cover a sample."""
        return self.fft_size // self.hop_size

    @property
    def reach(self) -> int:
        """Hops from a frame's centre to the end of its window, rounded up."""
        return -(-self.overlap // 2)

    def samples(self, frames: int) -> int:
        """Samples that the windows of `frames` frames cover."""
        return (frames - 1) * self.hop_size + self.fft_size

    def covered(self, frames: int) -> int:
        """Of these samples those in the middle that all the windows over them cover."""
        return max(frames + 1 - 2 * self.reach, 0) * self.hop_size

    @model_validator(mode="after")
    def _overlap(self) -> Self:
        if self.fft_size % self.hop_size or self.overlap < 2:
            raise ValueError(
                f"hop_size: expected fft_size {self.fft_size} divided by 2 (50 % overlap), 4 (75 %) or"
                f" another whole number, found {self.hop_size}"
            )
        if self.fft_size % 128:
            raise ValueError(
                f"fft_size: expected a multiple of 128 (the critic halves 6 times), found {self.fft_size}"
            )
        return self


class Training(Section):
    """Optimisation, shared by all models (paper, section 4.3)."""

    batch_size: Annotated[int, Field(gt=0, le=4096)]
    excerpt: Annotated[int, Field(ge=16, le=10_000)]
    """Frames of the sources in an excerpt; a network takes the next number that it can."""
    steps_per_epoch: Annotated[int, Field(gt=0, le=100_000)]
    max_epochs: Annotated[int, Field(gt=0, le=10_000)]
    patience: Annotated[int, Field(gt=0, le=10_000)]
    learning_rate: Annotated[float, Field(ge=1e-9, le=1)]
    schedule: Literal["constant", "cosine"]
    """Of the learning rate: it stays, or falls to zero at the last update of `max_epochs`."""
    critic_steps: Annotated[int, Field(gt=0, le=100)]
    gain: Annotated[
        list[Annotated[float, Field(ge=0.001, le=100)]], Field(min_length=2, max_length=2)
    ]
    penalty_weight: Weight
    additivity_domain: Literal["linear", "log"]
    validation: Literal["supervised", "all"]
    """The datasets whose validation tracks choose the epoch: those with supervised tracks, or all."""
    precision: Precision
    """Of the convolutions: of separator and critics in training, of the separator where the model is
    applied; all else is float32 either way."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.gain[0] > self.gain[1]:
            raise ValueError("gain must be [lowest, highest]")
        return self


class Evaluation(Section):
    """BSS Eval and the statistics of the table."""

    filter_length: Annotated[int, Field(gt=0, le=2048)]
    """The equations of a track are a matrix of (sources * filter_length) squared."""
    confidence: Annotated[float, Field(ge=0.01, le=0.9999)]


class Params(Section):
    """The whole file."""

    seeds: Annotated[list[Seed], Field(min_length=1, max_length=100)]
    """Of batches and initial weights: every model is trained and scored with each."""
    arithmetic: Arithmetic
    """portable: the same bits on every x86-64 processor with AVX2 (`machine.compute_portably`)."""
    sources: Annotated[list[Name], Field(min_length=1, max_length=16)]
    datasets: Annotated[dict[Name, Dataset], Field(min_length=1)]
    synthetic: Synthetic
    split: Split
    signal: Signal
    level: Level
    """How a model is applied: training: recordings are brought to the level of its supervised mixtures
    and estimates back; recorded: they stay as they are. It decides nothing in training."""
    separator: SeparatorSettings
    critic: CriticSettings
    training: Training
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    evaluation: Evaluation

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        twice = [seed for seed, count in Counter(self.seeds).items() if count > 1]
        if twice:
            raise ValueError(f"seeds: {twice[0]} is there twice; leave one of them out")
        check_sources(self.sources)
        _distinct("datasets", self.datasets)
        _distinct("models", self.models)
        for name, model in self.models.items():
            self._check_model(name, model)
            if model.critics:
                self._check_critic(name)
        for name, dataset in self.datasets.items():
            self._check_dataset(name, dataset)
        for one, other in combinations(self.datasets, 2):
            if self._same_songs(one, other):
                raise ValueError(
                    f"datasets: {one} and {other} hold the same songs, which would get two"
                    " roles; leave one of them out"
                )
        return self

    def separator_of(self, model: str) -> SeparatorSettings:
        """The separator of a row, its own or that of all, with the slots that its way to learn takes."""
        own = self.models[model].separator or self.separator
        fewest = MIXED if self.models[model].mixit else 1
        return own.model_copy(update={"slots": max(own.slots, fewest)})

    def critic_of(self, model: str) -> CriticSettings:
        """The critics of a row."""
        return self.models[model].critic or self.critic

    @property
    def with_named_roles(self) -> list[str]:
        """The datasets whose tracks have the roles that the file names, whatever the strategy."""
        return [name for name, one in self.datasets.items() if isinstance(one.roles, dict)]

    def _same_songs(self, one: str, other: str) -> bool:
        """Whether two datasets share songs, as far as that is known without looking at them."""
        first, second = self.datasets[one].songs_of(one), self.datasets[other].songs_of(other)
        related = first in _related(second, "same_songs_as")
        if related or second in _related(first, "same_songs_as"):
            return True
        whole = not (self.datasets[one].select and self.datasets[other].select)
        return whole and first == second in KNOWN

    def _check_model(self, name: str, model: Model) -> None:
        if name.casefold() in _folded((*RESERVED, *self.datasets)):
            raise ValueError(f"models.{name}: the name is taken by a row or test set of the table")
        for key, sources in (
            ("critics", model.critics),
            ("solo_mixing.sources", model.solo_mixing.sources if model.solo_mixing else []),
        ):
            unknown = [source for source in sources if source not in self.sources]
            if unknown:
                raise ValueError(
                    f"models.{name}.{key}: expected names from sources {self.sources},"
                    f" found {unknown[0]!r}"
                )

    def _check_critic(self, model: str) -> None:
        critic, frames = self.critic_of(model), self.training.excerpt
        heard = self.signal.covered(frames)
        if heard < critic.samples:
            raise ValueError(
                f"critic: models.{model}: {critic.network} needs excerpts of {critic.samples} samples;"
                f" training.excerpt: {frames} has {heard}; raise it, or lower what the critic needs"
            )

    def _check_dataset(self, name: str, dataset: Dataset) -> None:
        key = f"datasets.{name}"
        if dataset.origin == "folder":
            if name.casefold() in _folded((*KNOWN, *REFERENCE_ROWS, "all", "unseen")):
                raise ValueError(f"{key}: the name is taken; give the folder another one")
            if dataset.holds not in (MIXTURE, *self.sources):
                raise ValueError(
                    f"{key}.holds: expected {MIXTURE} or one of sources {self.sources},"
                    f" found {dataset.holds!r}"
                )
        elif name not in KNOWN:
            self._check_own_name(name, dataset)
        elif dataset.collection and name not in _related(dataset.collection, "songs_of"):
            raise ValueError(f"{key}.collection: {dataset.collection} has no songs of {name}")
        if dataset.origin == "synthetic" and name not in self.synthetic.tracks:
            raise ValueError(f"synthetic.tracks.{name}: expected a number of tracks, found nothing")

    def _check_own_name(self, name: str, dataset: Dataset) -> None:
        """A dataset whose name is the user's has songs of a collection that has a reader."""
        key, known = f"datasets.{name}", ", ".join(KNOWN)
        if dataset.collection is None:
            raise ValueError(
                f"{key}: expected one of {known}, a collection of these, or origin: folder with path and"
                " holds"
            )
        if dataset.collection not in KNOWN:
            raise ValueError(
                f"{key}.collection: expected one of {known}, found {dataset.collection}"
            )
        if name.casefold() in _folded((*KNOWN, *REFERENCE_ROWS, "all", "unseen")):
            raise ValueError(f"{key}: the name is taken; give the dataset another one")


def of_seed(model: Path, seed: int) -> Path:
    """The folder of what a model has learned with one of its seeds: models/VA/seed-1."""
    return model / f"{OF_SEED}{seed}"


def check_sources(names: Sequence[str]) -> None:
    """Raise ValueError when names of sources cannot stand side by side, as files and in tables."""
    if len(set(names)) != len(names):
        raise ValueError("sources: a name is repeated")
    _distinct("sources", names)
    if MIXTURE in _folded(names):
        raise ValueError(f"sources: {MIXTURE} is their sum, not one of them")


def _distinct(key: str, names: Iterable[str]) -> None:
    """Names become names of files, and some disks do not tell capitals from small letters."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise ValueError(
                f"{key}: {other} and {name} differ in capitals alone; rename one of them"
            )


def _folded(names: Iterable[str]) -> set[str]:
    return {name.casefold() for name in names}


def _related(dataset: str, how: str) -> Sequence[str]:
    """The datasets that the catalogue relates with another one, by `songs_of` or `same_songs_as`."""
    related: Sequence[str] = _CATALOGUE.get(dataset, {}).get(how, ())
    return related


def table_rows(models: Iterable[str]) -> list[str]:
    """All rows of the table in its order: the models between the mixture and the ideal rows."""
    return [MIXTURE, *models, *IDEAL_ROWS]


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check a parameter file.

    Raises UserError: one line naming the file, the key, what was expected and what was found.
    """
    again = f"correct it, or bring back the committed one with `git checkout -- {quote(str(path))}`"
    found = parse(read_yaml(path, again, "run from the top of the repository"), str(path))
    sections: dict[str, object] = {"separator": found.separator, "critic": found.critic}
    for name, model in found.models.items():
        sections[f"models.{name}.separator"] = model.separator
        sections[f"models.{name}.critic"] = model.critic
    for key, settings in sections.items():
        if isinstance(settings, OwnSettings) and (
            fault := source_fault(settings.network, settings.version)
        ):
            raise UserError(
                f"{path}: {key}: network: {settings.network}: {fault}; docs/networks.md says where it"
                " belongs"
            )
    return found


def parse(data: Any, origin: str) -> Params:
    """Check already loaded values; `origin` names them in the error."""
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{origin}: {first_fault(error)}") from None
