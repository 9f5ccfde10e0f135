"""A model folder: weights (safetensors) and what is needed to build the networks again (JSON)."""

import hashlib
import json
from collections.abc import Mapping
from math import inf
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline import network_settings
from pipeline.errors import UserError, in_one_line
from pipeline.files import write_text
from pipeline.network_settings import (
    CriticSettings,
    OwnSettings,
    SeparatorSettings,
    source_fault,
)
from pipeline.networks import own
from pipeline.networks.builders import UNNAMED, build_critic, build_separator
from pipeline.networks.interfaces import CriticNetwork, SeparatorNetwork
from pipeline.params import OF_SEED, Level, Params, Precision, Signal, check_sources, of_seed
from pipeline.sections import Name
from pipeline.text_files import read_json, shown

FORMAT = 1
WEIGHTS, CONFIG, OWN = "model.safetensors", "config.json", "config_sha256"


def _named(kind: str) -> BeforeValidator:
    """Settings that name no network are from before there was a choice."""
    return BeforeValidator(
        lambda found: {"network": UNNAMED[kind], **found} if isinstance(found, dict) else found
    )


class Epoch(BaseModel):
    """The epoch that was kept."""

    epoch: Annotated[int, Field(ge=0)]
    steps: Annotated[int, Field(ge=0)]
    """Updates of the separator."""
    loss: float | None = None
    """Validation L_s; a folder that does not say is from before it was kept."""


class Description(BaseModel):
    """The part of config.json that the program reads, within the bounds of params.yaml; it holds
    more, for people."""

    model_config = ConfigDict(frozen=True)

    format: int
    sources: Annotated[list[Name], Field(min_length=1, max_length=16)]
    """They become names of files."""
    signal: Signal
    separator: Annotated[SeparatorSettings, _named("separators")]
    precision: Precision = "float32"
    """A folder that does not say is from before there was a choice."""
    level: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """`Separator.level`; a folder that does not say is from before there was a choice."""
    sha256: dict[str, str] = {}
    """Of the files of weights, by name; a folder from before has none."""
    config_sha256: str | None = None
    """Of all that config.json says but this; a folder from before has none."""
    model: str | None = None
    """Its name in params.yaml, where it was trained."""
    critics: list[Name] = []
    """The sources that have one."""
    critic: Annotated[CriticSettings, _named("critics")] | None = None
    excerpt: Annotated[int, Field(ge=16)] = 66
    """Frames that critics were given; a folder that does not say is from before there was a choice."""
    best: Epoch | None = None
    seed: int | None = None
    code: dict[str, str] = {}
    """Of a user's own networks, by name: SHA-256 of the source (`networks.own`) that was trained."""
    fingerprint: str | None = None
    """Of the run that made it (`training.fingerprint`)."""

    @property
    def applied_at(self) -> Level:
        """`params.level` of the model."""
        return "recorded" if self.level is None else "training"

    @model_validator(mode="before")
    @classmethod
    def _of_this_format(cls, config: Any) -> Any:
        if isinstance(config, dict) and config.get("format") != FORMAT:
            found = shown(config.get("format"))
            raise ValueError(f"model format {found}, this version reads {FORMAT}")
        return config

    @model_validator(mode="wrap")
    @classmethod
    def _as_written(cls, config: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        """Swapped sources or another rate would be a model that says one thing and does another."""
        found = read(config)
        if found.config_sha256 not in (None, _own_digest(config)):
            raise ValueError("not what was written (its SHA-256 differs)")
        return found

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_sources(self.sources)
        if not set(self.critics) <= set(self.sources):
            raise ValueError("critics: expected names from sources")
        return self


def chosen(folder: Path) -> Path:
    """A model folder: `folder` itself, or the one of its seeds with the lowest validation loss.

    Of equals the first by name. Raises UserError when a folder of a seed is damaged.
    """
    seeds = sorted(folder.glob(f"{OF_SEED}*/{CONFIG}"))
    if (folder / CONFIG).exists() or not seeds:
        return folder

    def loss(path: Path) -> float:
        best = read_config(path.parent).best
        return inf if best is None or best.loss is None else best.loss

    return min(seeds, key=loss).parent


def finished(folder: Path, fingerprint: str) -> bool:
    """Whether the folder holds what the run of this fingerprint has written, every file as it was."""
    try:
        found = read_config(folder)
        files = [folder / WEIGHTS, *(_critic(folder, source) for source in found.critics)]
        return (
            found.fingerprint == fingerprint
            and found.config_sha256 is not None
            and found.sha256 == {path.name: digest(path) for path in files}
        )
    except (UserError, OSError):
        return False


def save_separator(
    folder: Path, network: SeparatorNetwork, settings: Mapping[str, Any], details: Mapping[str, Any]
) -> None:
    """Write weights and config.json: `settings` as `Description` has them, `details` beside them.

    config.json has the digests of these weights, of the critics that `save_critic` wrote before, and
    of itself. The file of a user's own network is copied into the folder, to be read; it is never run
    from there.
    Raises UserError when a weight is not finite.
    """
    if not isinstance(network, nn.Module) or not isinstance(network.settings, dict):
        raise TypeError(f"{type(network).__name__} has no weights that could be saved")
    folder.mkdir(parents=True, exist_ok=True)
    _save(network, folder / WEIGHTS)
    digests = {path.name: digest(path) for path in sorted(folder.glob("*.safetensors"))}
    config = {"format": FORMAT, **settings, "separator": network.settings, **details}
    used = [config["separator"], config.get("critic", {}) if config.get("critics") else {}]
    sources = [source for one in used if (source := own.in_use(one))]
    for source in sources:
        if source.content:
            (folder / source.network).parent.mkdir(exist_ok=True)
            (folder / source.network).write_bytes(source.content)
    code = {source.network: source.digest for source in sources}
    _write_config(folder, config | {"code": code, "sha256": digests})


def save_level(folder: Path, level: float | None) -> None:
    """Have the model of a folder applied at another level (`Separator.level`); its weights stay.

    Raises UserError when config.json is missing, damaged or of another format.
    """
    read_config(folder)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    _write_config(folder, config | {"level": level})


def load_separator(folder: Path) -> tuple[nn.Module, Description]:
    """The network of a model folder, and what is known of it.

    Raises UserError when the folder is missing, damaged or of another format.
    """
    if not (folder / CONFIG).exists():
        raise UserError(f"{folder}: not a model folder: no {CONFIG}")
    found = read_config(folder)
    if not (folder / WEIGHTS).exists():
        raise UserError(f"{folder}: not a model folder: no {WEIGHTS}")
    _require_source(folder, found, found.separator)
    settings = found.separator.model_dump()
    network = build_separator(settings, found.signal, len(found.sources))
    try:
        _load(network, folder / WEIGHTS, found.sha256)
    except (ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
        raise UserError(f"{folder}: damaged model folder: {in_one_line(error)}") from None
    return network, found


def save_critic(folder: Path, source: str, critic: nn.Module) -> None:
    """Write the weights of one source's critic; config.json has its settings as `critic`.

    Raises UserError when a weight is not finite.
    """
    _save(critic, _critic(folder, source))


def load_critics(folder: Path) -> dict[str, CriticNetwork]:
    """The critics of a model folder by source; none for a purely supervised model.

    Raises UserError when a critic that config.json names is missing or damaged.
    """
    config = read_config(folder)
    critics: dict[str, CriticNetwork] = {}
    for source in config.critics:
        path = _critic(folder, source)
        if config.critic is None:
            raise UserError(f"{folder / CONFIG}: critic: expected settings; {_again(path)}")
        _require_source(folder, config, config.critic)
        try:
            network = build_critic(config.critic.model_dump(), config.signal, config.excerpt)
            _load(network, path, config.sha256)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"{path}: critic cannot be read ({in_one_line(error)}); run"
                f" `dvc repro -f {_stage(folder)}`"
            ) from None
        critics[source] = network.eval()  # type: ignore[assignment]
    return critics


def read_config(folder: Path) -> Description:
    """What config.json says. Raises UserError when it is missing, damaged or of another format."""
    run = f"run `dvc repro {_stage(folder)}`"
    trained = f"if the model was trained here, delete {folder} and {run}, else get the folder again"
    return read_json(folder / CONFIG, Description, trained, run)


def read_trained(model: Path, seed: int, params: Params) -> Description:
    """The same of the model that `params` has under the name of its folder, with this seed.

    Raises UserError also when it is another one: copied from elsewhere, it would be a row of the table
    under a name that is not its own.
    """
    folder, name = of_seed(model, seed), model.name
    found = read_config(folder)
    for key, trained, expected in (
        ("model", found.model, name), ("seed", found.seed, seed),
        ("sources", found.sources, params.sources), ("signal", found.signal, params.signal),
        ("level", found.applied_at, params.level),
        ("separator", found.separator, params.separator_of(name)),
        ("critics", found.critics, params.models[name].critics),
    ):  # fmt: skip
        if trained != expected:
            raise UserError(
                f"{folder / CONFIG}: another model than {name} of params.yaml: its {key} is"
                f" another; run `dvc repro {_stage(folder)}`"
            )
    _require_source(folder, found, found.separator)  # here, not in each of the workers
    return found


def _require_source(
    folder: Path, found: Description, settings: SeparatorSettings | CriticSettings
) -> None:
    """Raise UserError unless a user's own network is here as it was trained; nothing of it is run."""
    if not isinstance(settings, OwnSettings):
        return
    name = settings.network
    wrong = source_fault(name, settings.version)
    if wrong is None:
        trained, here = found.code.get(name, "unknown"), own.digest(name)
        if trained == here:
            return
        wrong = (
            f"its source here (SHA-256 {here[:12]}…) is another version than the weights were"
            f" trained with ({trained[:12]}…)"
        )
    copy, place = folder / name, network_settings.OWN_NETWORKS
    if ":" in name:
        remedy = "install that version"
    elif copy.is_file():
        remedy = f"read {copy}, which is run then, and `cp {quote(str(copy))} {quote(str(place))}`"
    else:
        remedy = f"put that version into {place}"
    raise UserError(
        f"{folder}: needs {name}: {wrong}; {remedy}; or, where it was trained, train again:"
        f" `dvc repro {_stage(folder)}`"
    )


def digest(path: Path) -> str:
    """SHA-256 of a file of weights, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """With the digest of all that it says, in the place of another."""
    said = {key: value for key, value in config.items() if key != OWN} | {OWN: _own_digest(config)}
    write_text(folder / CONFIG, json.dumps(said, indent=1) + "\n")


def _own_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of all that config.json says but this."""
    said = {key: value for key, value in config.items() if key != OWN}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _save(network: nn.Module, path: Path) -> None:
    # contiguous: safetensors stores no channels_last strides
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    if name := _not_finite(weights):
        raise UserError(f"{path}: not written: {name} would hold values that are not finite")
    # As bytes: when the disk is full safetensors raises an error of its own, the system an OSError.
    path.write_bytes(save(weights))


def _load(network: nn.Module, path: Path, digests: Mapping[str, str]) -> None:
    """Raises UserError when the weights are not those that were written, or not finite."""
    content = path.read_bytes()
    expected = digests.get(path.name)
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise UserError(
            f"{path}: not the weights that were written with {CONFIG} (its SHA-256 differs);"
            f" {_again(path)}"
        )
    weights = load(content)
    if name := _not_finite(weights):
        raise UserError(f"{path}: {name} holds values that are not finite; {_again(path)}")
    network.load_state_dict(weights)


def _not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor with a value that is no number or infinite."""
    return next((name for name, value in weights.items() if not value.isfinite().all()), None)


def _again(path: Path) -> str:
    # Not `dvc checkout`: it calls a file up to date when DVC's own copy has the same damage.
    return (
        f"where it was trained, run `dvc repro -f {_stage(path.parent)}`; otherwise copy the"
        " folder again"
    )


def _stage(folder: Path) -> str:
    """The stage that trains a model, as one types it: anybody may have named the folder."""
    model = folder.parent if folder.name.startswith(OF_SEED) else folder
    return quote(f"train@{model.name}")


def _critic(folder: Path, source: str) -> Path:
    return folder / f"critic-{source}.safetensors"
