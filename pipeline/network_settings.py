"""The networks' sections of params.yaml: a class for each network, with what it takes and the bounds.

What these settings build is in `networks.separators` and `networks.critics`, in the file of the same
name. They are apart from it because every stage reads params.yaml, and most need no torch. A network of
the user's own is in the folder `networks/` of the checkout, or an entry point of an installed package.
"""

import json
import math
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from pipeline.sections import Section
from pipeline.text_files import CASE, shown

OWN_NETWORKS = Path(__file__).resolve().parents[1] / "networks"
"""The folder of the checkout for users' own networks; no other file of theirs is ever run."""
ENTRY_POINTS = "adversarial_separation.networks"
"""The group of entry points by which a package offers networks; none but these is ever run."""
LARGEST_SOURCE = 2**20
"""Bytes of a user's file."""
GIVEN = ("signal", "sources", "frames")
"""What a network's `build` gets from the program."""

WIDEST = 4096
"""Filters of a U-Net's lowest level: 250 million weights."""


class EverySeparator(Section):
    """What all separators take."""

    network: str
    slots: Annotated[int, Field(ge=1, le=4)] = 1
    """Outputs of each source, which are summed to its estimate (`networks.slots`)."""


class UNetSettings(EverySeparator):
    """`separators.unet`; the paper's has 16 filters at the top and 4 levels."""

    network: Literal["unet"]
    filters: Annotated[int, Field(gt=0, le=256)]
    depth: Annotated[int, Field(ge=1, le=6)]
    output: Literal["magnitude", "mask"] = "magnitude"
    """What it puts out: log magnitudes (the paper), or shares of the mixture's magnitudes."""

    @model_validator(mode="after")
    def _of_a_size(self) -> Self:
        if self.filters * 2**self.depth > WIDEST:
            raise ValueError(
                f"filters: expected at most {WIDEST // 2**self.depth} with depth {self.depth} (every"
                f" level doubles them), found {self.filters}"
            )
        return self


class WaveUNetSettings(EverySeparator):
    """`separators.wave_unet`; the published one has 24 filters at the top and 12 levels."""

    network: Literal["wave_unet"]
    filters: Annotated[int, Field(gt=0, le=128)]
    depth: Annotated[int, Field(ge=1, le=12)]


class BandSplitSettings(EverySeparator):
    """`separators.band_split`: a band-split recurrent network; the published ones have 128 features."""

    network: Literal["band_split"]
    features: Annotated[int, Field(gt=0, le=256)]
    """Of a band; its recurrent layers have twice as many units."""
    layers: Annotated[int, Field(ge=1, le=16)]
    """Pairs of recurrent layers, along the frames and along the bands."""
    bands: Annotated[int, Field(ge=2, le=128)]
    """Spaced by the mel scale, at least two bins each."""


class EveryCritic(Section):
    """What all critics take."""

    network: str
    filters: Annotated[int, Field(gt=0, le=256)]
    """Of the first convolution."""

    @property
    def samples(self) -> int:
        """Samples that an excerpt must have, of those that all windows cover (`Signal.covered`)."""
        return 0


class DCGANSettings(EveryCritic):
    """`critics.dcgan`; the paper's has 32 filters."""

    network: Literal["dcgan"]


FEWEST_FRAMES = 8
"""Of an excerpt in each resolution: they are halved at least once."""
SHORTEST_WINDOW = 16


class MultiResolutionSettings(EveryCritic):
    """`critics.multi_resolution`; the published one has 32 filters and three resolutions."""

    network: Literal["multi_resolution"]
    resolutions: Annotated[
        list[
            Annotated[
                list[Annotated[int, Field(gt=0, le=2**15)]], Field(min_length=2, max_length=2)
            ]
        ],
        Field(min_length=1, max_length=16),
    ]
    """[window, hop] of each, in samples."""

    @property
    def samples(self) -> int:
        return samples_for(self.resolutions)

    @model_validator(mode="after")
    def _of_sizes(self) -> Self:
        for number, (window, hop) in enumerate(self.resolutions):
            found = f"found [{window}, {hop}]"
            if window < SHORTEST_WINDOW:
                raise ValueError(
                    f"resolutions: expected windows of {SHORTEST_WINDOW} samples or more, {found}"
                )
            if hop > window:
                raise ValueError(
                    f"resolutions: expected hops up to their windows, else samples between two are not"
                    f" heard, {found}"
                )
            if [window, hop] in self.resolutions[:number]:
                raise ValueError(f"resolutions: [{window}, {hop}] is there twice")
        return self


def samples_for(resolutions: Sequence[Sequence[int]]) -> int:
    """Samples in which each resolution has FEWEST_FRAMES."""
    return max(window + (FEWEST_FRAMES - 1) * hop for window, hop in resolutions)


SHORTEST_WAVEFORM = 64


class WaveformSettings(EveryCritic):
    """`critics.waveform`; the published one has 64 filters."""

    network: Literal["waveform"]
    filters: Annotated[int, Field(gt=0, le=128)]
    """A layer has up to 16 times as many: 50 million weights."""

    @property
    def samples(self) -> int:
        return SHORTEST_WAVEFORM


def is_own(network: object) -> bool:
    """Whether a network's name is that of a user's own: a file's or a package's, well-formed or not."""
    return isinstance(network, str) and (
        network.endswith(".py") or bool(set(network) & set("/\\:"))
    )


def _own_name(network: str) -> str:
    """networks/<name>.py or <package>:<entry point>."""
    if ":" in network and not network.endswith(".py"):
        if re.fullmatch(
            r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}:[A-Za-z0-9][A-Za-z0-9._-]{0,99}", network
        ):
            return network
        raise ValueError(f"expected <package>:<entry point>, found {shown(network)}")
    if re.fullmatch(r"networks/[A-Za-z][A-Za-z0-9_]{0,99}\.py", network):
        return network
    raise ValueError(
        f"expected networks/<name>.py, a name of letters, digits and _, found {shown(network)}; put the"
        " file into the folder networks/ at the top of the repository"
    )


def _plain(value: Any) -> Any:
    """What both YAML and JSON hold, and give back as it was."""
    for one in value if isinstance(value, list) else [value]:
        known = isinstance(one, bool) or one is None
        known |= isinstance(one, int) and abs(one) < 2**63
        known |= isinstance(one, float) and math.isfinite(one)
        known |= isinstance(one, str) and one.isprintable() and len(one) <= 1000
        if not known:
            raise ValueError(f"expected a number, true, false, a line of text or a list of these, found"
                             f" {shown(one)}")  # fmt: skip
    return value


class OwnSettings(Section):
    """A user's own network (docs/networks.md); all other keys are arguments of its `build`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")],
        Annotated[Any, AfterValidator(_plain)],
    ]

    network: Annotated[str, AfterValidator(_own_name)]
    version: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Of the package: DVC sees a change of it."""

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        packaged = ":" in self.network
        if packaged and self.version is None:
            raise ValueError(
                f"version: expected the one of {self.network.partition(':')[0]} that is installed, for"
                " example '1.2.0'; the key is missing"
            )
        if not packaged and self.version is not None:
            raise ValueError("version: only for a package; a file is known by its content")
        for name in set(GIVEN) & set(self.__pydantic_extra__):
            raise ValueError(
                f"{name}: is given to `build` by the program; give your key another name"
            )
        return self


class OwnSeparatorSettings(EverySeparator, OwnSettings):
    """A user's own separator."""

    network: Annotated[str, AfterValidator(_own_name)]


class OwnCriticSettings(OwnSettings):
    """A user's own critic."""

    @property
    def samples(self) -> int:
        """As `EveryCritic`; of this one `build` says it."""
        return 0


def source_fault(network: str, version: str | None) -> str | None:
    """What keeps the source of a user's own network from being used here, in words; None if nothing does.

    network: well-formed; version: the one that is expected of a package.
    """
    package, _, name = network.partition(":")
    if not name:
        return _file_fault(OWN_NETWORKS / network.removeprefix("networks/"))
    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return f"no package {package} is installed"
    if version != found.version:
        return f"version {found.version} is installed, expected {version}"
    if json.loads(found.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable"):
        return f"{package} is installed as editable, and its code can change; install it as it is"
    offered = sorted(one.name for one in found.entry_points.select(group=ENTRY_POINTS))
    if name not in offered:
        there = ", ".join(offered) or "none"
        return f"{package} has no entry point {name!r} in the group {ENTRY_POINTS}, only: {there}"
    return None


def _file_fault(path: Path) -> str | None:
    if path.is_symlink() or path.parent.is_symlink():
        return "a symbolic link, expected the file itself, of which DVC sees each change"
    if path.is_dir():
        return "a folder, expected a file"
    if not path.exists():
        return f"no such file in {path.parent}"
    if not path.is_file():
        return "no regular file"
    if path.stat().st_size > LARGEST_SOURCE:
        return f"{path.stat().st_size} bytes, expected at most {LARGEST_SOURCE}"
    return None


def _known(*names: str) -> BeforeValidator:
    """Says which networks there are, where the one that settings name is not among them."""

    def check(settings: Any) -> Any:
        if not isinstance(settings, dict | Section):
            raise ValueError(f"expected a mapping, found {shown(settings)}")
        named = settings.get("network", names[0]) if isinstance(settings, dict) else names[0]
        if named not in names and not is_own(named):
            raise ValueError(
                f"network: expected {' or '.join(names)}, networks/<name>.py or <package>:<entry point>,"
                f" found {shown(named)}"
            )
        return settings

    return BeforeValidator(check)


def _class_of(first: str) -> Discriminator:
    """The class that settings are of, by the tag; that of `first` says that the name is missing."""

    def tag(settings: Any) -> str | None:
        if isinstance(settings, dict):
            name = settings.get("network", first)
        else:
            name = getattr(settings, "network", None)
        return f"{CASE}{'own' if is_own(name) else name}"

    return Discriminator(tag)


SeparatorSettings = Annotated[
    Annotated[UNetSettings, Tag(f"{CASE}unet")]
    | Annotated[WaveUNetSettings, Tag(f"{CASE}wave_unet")]
    | Annotated[BandSplitSettings, Tag(f"{CASE}band_split")]
    | Annotated[OwnSeparatorSettings, Tag(f"{CASE}own")],
    _class_of("unet"),
    _known("unet", "wave_unet", "band_split"),
]
CriticSettings = Annotated[
    Annotated[DCGANSettings, Tag(f"{CASE}dcgan")]
    | Annotated[MultiResolutionSettings, Tag(f"{CASE}multi_resolution")]
    | Annotated[WaveformSettings, Tag(f"{CASE}waveform")]
    | Annotated[OwnCriticSettings, Tag(f"{CASE}own")],
    _class_of("dcgan"),
    _known("dcgan", "multi_resolution", "waveform"),
]
