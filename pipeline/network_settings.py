"""The networks' sections of params.yaml: a class for each network, with what it takes and the bounds.

What these settings build is in `networks.separators` and `networks.critics`, in the file of the same
name. They are apart from it because every stage reads params.yaml, and most need no torch.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from pipeline.sections import Section
from pipeline.text_files import CASE, shown

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


def _known(*names: str) -> BeforeValidator:
    """Says which networks there are, where the one that settings name is not among them."""

    def check(settings: Any) -> Any:
        if not isinstance(settings, dict | Section):
            raise ValueError(f"expected a mapping, found {shown(settings)}")
        named = settings.get("network", names[0]) if isinstance(settings, dict) else names[0]
        if named not in names:
            raise ValueError(f"network: expected {' or '.join(names)}, found {shown(named)}")
        return settings

    return BeforeValidator(check)


def _class_of(first: str) -> Discriminator:
    """Finds the tag of the class that settings are of; that of `first` says that the name is missing."""

    def tag(settings: Any) -> str | None:
        if isinstance(settings, dict):
            return f"{CASE}{settings.get('network', first)}"
        known = isinstance(settings, EverySeparator | EveryCritic)
        return f"{CASE}{settings.network}" if known else None

    return Discriminator(tag)


SeparatorSettings = Annotated[
    Annotated[UNetSettings, Tag(f"{CASE}unet")]
    | Annotated[WaveUNetSettings, Tag(f"{CASE}wave_unet")]
    | Annotated[BandSplitSettings, Tag(f"{CASE}band_split")],
    _class_of("unet"),
    _known("unet", "wave_unet", "band_split"),
]
CriticSettings = Annotated[
    Annotated[DCGANSettings, Tag(f"{CASE}dcgan")]
    | Annotated[MultiResolutionSettings, Tag(f"{CASE}multi_resolution")]
    | Annotated[WaveformSettings, Tag(f"{CASE}waveform")],
    _class_of("dcgan"),
    _known("dcgan", "multi_resolution", "waveform"),
]
