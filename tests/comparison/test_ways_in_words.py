"""Rows in words: how each learns, and what tells it from others that learn the same way."""

from pipeline.comparison.ways_in_words import in_words
from pipeline.ways import Model


def critic(**own: object) -> Model:
    return Model.model_validate({"critics": ["vocals"], "alpha": 0.01, "beta": 0.01, **own})


def test_ways_are_told_apart_by_what_differs() -> None:
    models = {
        "baseline": Model(),
        "V": critic(),
        "V_few": critic(supervised_minutes=2.0),
        "VA": critic(critics=["vocals", "accompaniment"]),
        "L_add": Model(beta=0.01),
        "more": Model(beta=0.1),
    }
    assert in_words(models) == {
        "baseline": "supervised",
        "V": "critic of vocals",
        "V_few": "critic of vocals",
        "VA": "critics of vocals and accompaniment",
        "L_add": "L_add alone, beta 0.01",
        "more": "L_add alone, beta 0.1",
    }


def test_a_weight_that_is_found_in_training_is_told_from_fixed_ones() -> None:
    models = {
        "V": critic(),
        "low": critic(alpha=0.00001),
        "auto": critic(alpha="auto", fraction=0.3),
    }
    assert in_words(models) == {
        "V": "critic of vocals, alpha 0.01",
        "low": "critic of vocals, alpha 1e-05",
        "auto": "critic of vocals, alpha auto, fraction 0.3",
    }


def test_every_key_can_tell_rows_apart() -> None:
    models = {
        "V": critic(),
        "spectral": critic(penalty="spectral", divergence="js"),
        "slow": Model.model_validate({"teacher": {"kind": "average", "weight": 1, "decay": 0.99}}),
        "fast": Model.model_validate({"teacher": {"kind": "average", "weight": 1, "decay": 0.9}}),
        "wide": Model.model_validate({"augmentation": {"mix": 1.0, "gain": [0.1, 2.0]}}),
        "narrow": Model.model_validate({"augmentation": {"mix": 1.0}}),
    }
    assert in_words(models) == {
        "V": "critic of vocals, divergence wasserstein, penalty one_sided",
        "spectral": "critic of vocals, divergence js, penalty spectral",
        "slow": "teacher (average), teacher.decay 0.99",
        "fast": "teacher (average), teacher.decay 0.9",
        "wide": "random mixing, augmentation.gain 0.1 and 2",
        "narrow": "random mixing",
    }
