"""Messages are one line of printable text, whatever the names in them."""

import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Jóga 1.wav", "Jóga 1.wav"),
        (os.fsdecode(b"a\nb\x1b[1m\xf6.wav"), r"a\nb\x1b[1m\xf6.wav"),
        ("\u202egpj.\u2028x\u200b\r\x85\x00", r"\u202egpj.\u2028x\u200b\r\x85\x00"),
        ("\ud800", r"\ud800"),
        ("東京 🎵", "東京 🎵"),
    ],
)
def test_names_in_messages_take_one_line(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(exclude_categories=[])))
def test_every_text_becomes_one_line_once(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.splitlines() == ([shown] if shown else [])
    assert printable(shown) == shown
    shown.encode()


def test_an_error_is_one_line_in_this_process_and_another() -> None:
    error = pickle.loads(pickle.dumps(UserError("a\nb\udcff: no such file")))
    assert isinstance(error, UserError)
    assert str(error) == r"a\nb\xff: no such file"
