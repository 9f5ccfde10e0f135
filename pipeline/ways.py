"""How a row of the table learns: a model of params.yaml, every way off unless it is asked for.

docs/methods.md says when to use which.
"""

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from pipeline.network_settings import CriticSettings, SeparatorSettings
from pipeline.sections import Minutes, Place, Section, Weight, one_of
from pipeline.text_files import CASE

RoleName = Literal["supervised", "unlabelled", "validation", "test"]
Share = Annotated[float, Field(ge=0, le=1)]
Gain = Annotated[float, Field(ge=0.001, le=100)]
Penalty = Literal["one_sided", "two_sided", "spectral", "none"]
Alpha = Annotated[
    Annotated[Literal["auto"], Tag(f"{CASE}word")] | Annotated[Weight, Tag(f"{CASE}number")],
    Discriminator(lambda value: f"{CASE}{'word' if isinstance(value, str) else 'number'}"),
]


class Augmentation(Section):
    """What is changed in supervised excerpts as they are drawn (`training.mixing`)."""

    mix: Share = 0.0
    """Of the excerpts, those whose sources come from places of their own, as a rule of other tracks."""
    gain: Annotated[list[Gain], Field(min_length=2, max_length=2)] | None = None
    """[lowest, highest] random level of each source by itself; None: as recorded."""
    speed: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """By how much of itself an excerpt is at most faster or slower, and with it higher or lower, all
    its sources alike."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.gain and self.gain[0] > self.gain[1]:
            raise ValueError("gain must be [lowest, highest]")
        if not (self.mix or self.gain or self.speed):
            raise ValueError("expected mix, gain or speed; leave it out to change nothing")
        return self


class SoloMixing(Section):
    """Supervised excerpts that are mixed from unpaired solo recordings (`training.mixing`)."""

    sources: Annotated[list[str], Field(min_length=1)]
    """Those that come from the unlabelled recordings of them; the others from supervised tracks."""
    share: Annotated[float, Field(gt=0, le=1)]
    """Of the supervised excerpts, those that are mixed so."""


class Teacher(Section):
    """An average of the separator's weights labels unlabelled mixtures (`training.teachers`)."""

    kind: Annotated[str, one_of("training/teachers")]
    weight: Annotated[float, Field(gt=0, le=1e6)]
    """Of its loss, beside L_s."""
    decay: Annotated[float, Field(ge=0, lt=1)]
    """What the average keeps of itself at each update."""


class Model(Section):
    """A row of the table: what it learns from, and the weight of each term beside L_s."""

    critics: list[str] = Field(default_factory=list)
    """The sources that have one."""
    alpha: Alpha = 0.0
    """Of L_u, what the critics say; auto: such that its gradient is `fraction` of L_s's."""
    fraction: Annotated[float, Field(gt=0, le=100)] | None = None
    divergence: Annotated[str, one_of("training/divergences")] = "wasserstein"
    """What critics measure."""
    penalty: Penalty = "one_sided"
    """What keeps critics from being too steep: a penalty on their gradient's norm beyond 1 (the paper),
    or wherever it is not 1, the norm of each layer's weights, or nothing."""
    beta: Weight = 0.0
    """Of L_add, on unlabelled mixtures."""
    supervised: list[RoleName] = Field(default=["supervised"], min_length=1)
    """The roles whose tracks give pairs."""
    supervised_minutes: Minutes | None = None
    """Of the paired recordings, those that are used, other ones with each seed; None: all."""
    unlabelled_minutes: Minutes | None = None
    """Of the unlabelled mixtures, and of the recordings of each source alone, those that are used."""
    augmentation: Augmentation | None = None
    solo_mixing: SoloMixing | None = None
    teacher: Teacher | None = None
    mixit: Weight = 0.0
    """Of mixture invariant training on pairs of unlabelled mixtures (`training.mixit`)."""
    start_from: Place | None = None
    """A model folder, of one seed or of several, whose separator the training starts from."""
    freeze: list[str] = Field(default_factory=list)
    """How the names of those weights of the separator begin that stay as they are."""
    separator: SeparatorSettings | None = None
    critic: CriticSettings | None = None
    """The row's own networks; None: those of all rows."""

    @property
    def unlabelled(self) -> bool:
        """Whether training uses unlabelled mixtures at all."""
        return bool(self.as_they_are or self.teacher or self.mixit)

    @property
    def as_they_are(self) -> bool:
        """Whether the separator estimates unlabelled mixtures as they are, not remixed or summed."""
        labelled = self.teacher is not None and self.teacher.kind != "remix"
        return bool(self.beta or self.critics or labelled)

    @property
    def needs_unlabelled(self) -> bool:
        """Whether it cannot be trained without tracks that have the role unlabelled."""
        return bool(self.unlabelled or self.solo_mixing or "unlabelled" in self.supervised)

    @property
    def solo_sources(self) -> list[str]:
        """The sources of which training needs unlabelled recordings of them alone."""
        mixed = self.solo_mixing.sources if self.solo_mixing else []
        return list(dict.fromkeys([*self.critics, *mixed]))

    @property
    def only_supervised(self) -> bool:
        """Whether it learns from pairs as they are, and from nothing else."""
        return not (
            self.unlabelled or self.solo_mixing or self.augmentation or self.start_from
        ) and (self.supervised == ["supervised"])

    @property
    def way(self) -> str:
        """How it learns, in words."""
        own, solo = self.augmentation, self.solo_mixing
        several = "s" * (len(self.critics) > 1)
        parts = {
            f"critic{several} of {' and '.join(self.critics)}": self.critics,
            "L_add alone": self.beta and not self.critics,
            "random mixing": own and own.mix,
            "gain": own and own.gain and not own.mix,
            "speed": own and own.speed,
            f"solo mixing of {' and '.join(solo.sources) if solo else ''}": solo,
            f"teacher ({self.teacher.kind if self.teacher else ''})": self.teacher,
            "MixIT": self.mixit,
            f"pairs of {' and '.join(self.supervised)} tracks": self.supervised != ["supervised"],
            f"start from {self.start_from}": self.start_from,
        }
        way = " + ".join(text for text, used in parts.items() if used) or "supervised"
        networks = [one.network for one in (self.separator, self.critic) if one]
        return ", ".join([way, *networks])

    @model_validator(mode="after")
    def _combined(self) -> Self:
        """Every combination is trained as it says, or refused."""
        if not self.critics:
            for key, plain in (
                ("alpha", 0.0),
                ("divergence", "wasserstein"),
                ("penalty", "one_sided"),
                ("critic", None),
            ):
                if (given := getattr(self, key)) != plain:
                    said = getattr(given, "network", given)
                    raise ValueError(
                        f"{key}: {said} is for critics, and there are none; name them, or leave it out"
                    )
        if (self.alpha == "auto") != (self.fraction is not None):
            raise ValueError(
                "fraction: goes with alpha: auto, which needs it: the length of L_u's gradient relative"
                " to that of L_s's"
            )
        refused = [role for role in self.supervised if role not in ("supervised", "unlabelled")]
        if refused:
            raise ValueError(
                f"supervised: {refused[0]} tracks are kept from training; expected supervised or"
                " unlabelled"
            )
        for key, names in (
            ("critics", self.critics),
            ("supervised", self.supervised),
            ("solo_mixing.sources", self.solo_mixing.sources if self.solo_mixing else []),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{key}: a name is repeated")
        if self.unlabelled_minutes is not None and not (self.unlabelled or self.solo_mixing):
            raise ValueError(
                "unlabelled_minutes: the model learns from no unlabelled recordings; leave it out, or"
                " name a way that does (critics, beta, teacher, mixit, solo_mixing)"
            )
        if self.freeze and self.start_from is None:
            raise ValueError("freeze: weights that are random would stay so; name start_from")
        return self
