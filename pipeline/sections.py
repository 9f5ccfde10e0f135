"""What the sections of params.yaml are made of: strict mappings, names, numbers within bounds."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_HERE = Path(__file__).parent

NAME = "^[A-Za-z][A-Za-z0-9_-]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=64)]
"""It becomes part of the names of files."""

# Bounds are far from what anybody wants, and near enough to stop a slip of the keyboard: what they let
# through works, as far as the machine has the memory.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator of random numbers takes."""
Minutes = Annotated[float, Field(ge=0.1, le=1e6)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
"""Of a term of a loss: float32 holds its square."""


def _place(text: str) -> str:
    """A path or an address that the system takes: no control characters, names of at most 255 bytes."""
    names = text.encode().split(b"/")
    if any(ord(one) < 32 or ord(one) == 127 for one in text):
        raise ValueError("holds a control character")
    if len(text.encode()) > 4000 or max(map(len, names)) > 255:
        raise ValueError("longer than a path can be")
    return text


Place = Annotated[str, Field(min_length=1), AfterValidator(_place)]


def one_of(folder: str) -> AfterValidator:
    """What is found by its name: the files of a folder below pipeline/, which is only listed here."""
    names = sorted(path.stem for path in (_HERE / folder).glob("[!_]*.py"))

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"expected {' or '.join(names)}, found {name!r}")
        return name

    return AfterValidator(check)


class Section(BaseModel):
    """A mapping in the file: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)
