"""What the container was asked to run, as far as the entry point must know."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

SHELLS = {"sh", "bash", "dash"}
SEVERAL = "train-models"
"""The script that trains several models at a time, each by way of DVC."""
EXPERIMENT = re.compile(r"\bexperiments/[^/\s'\";&|()]+")
"""The folder of an experiment in a command's words, those of a shell's line too."""
READERS = {
    "config", "dag", "diff", "doctor", "list", "ls", "metrics", "params", "plots", "status", "version",
}  # fmt: skip
"""Subcommands of DVC that change neither outputs nor locks of outputs."""


@dataclass(frozen=True)
class Command:
    """The container's command, word by word, and where it runs."""

    words: tuple[str, ...]
    folder: str = ""
    """Below the checkout: empty, or the folder of an experiment."""

    @property
    def folders(self) -> list[str]:
        """The folders of the experiments that it runs, below the checkout; empty is the top's."""
        named = EXPERIMENT.findall(" ".join(self.words))
        return [*dict.fromkeys(named)] or [self.folder]

    @property
    def program(self) -> str:
        """The program's name, or the module's after -m: dvc, stages.train, pipeline, bash."""
        name = PurePath(self.words[0]).name
        starts_modules = name == "torchrun" or re.fullmatch(r"python[\d.]*", name)
        if starts_modules and "-m" in self.words[:-1]:
            return self.words[self.words.index("-m") + 1]
        return name

    @property
    def subcommand(self) -> str:
        """The first argument of DVC that is no option; empty if there is none."""
        after = self.words[self.words.index("dvc") + 1 :] if "dvc" in self.words else self.words[1:]
        return next((word for word in after if not word.startswith("-")), "")

    @property
    def stage(self) -> bool:
        """Whether it runs one stage without DVC."""
        return self.program.startswith("stages.")

    @property
    def dvc(self) -> bool:
        return self.program == "dvc"

    @property
    def ours(self) -> bool:
        """Whether a fault that the checks find would make it fail, or do what was not asked for."""
        return self.dvc or self.stage or self.program == "pipeline"

    @property
    def writes_with_dvc(self) -> bool:
        """Whether DVC may run stages or write outputs in it, directly or from a shell."""
        if self.dvc:
            return self.subcommand not in {*READERS, ""}
        mentions = re.search(r"\bdvc\b|train-models", " ".join(self.words))
        return self.program == SEVERAL or bool(self.program in SHELLS and mentions)

    @property
    def batch(self) -> bool:
        """Whether it asks nothing, so that Ctrl-C at its terminal can be taken as a wish to stop."""
        return (
            self.stage
            or self.program == SEVERAL
            or (self.dvc and self.subcommand in {"repro", "exp", "queue"})
        )


def waits_for_children(words: Sequence[str]) -> bool:
    """Whether a process that runs this ends when its children have: DVC, a shell."""
    return is_dvc(words) or is_shell(words)


def is_shell(words: Sequence[str]) -> bool:
    return bool(words) and PurePath(words[0]).name.lstrip("-") in SHELLS


def is_dvc(words: Sequence[str]) -> bool:
    """Whether a process's command line is DVC's: the program itself, a script of Python, or -m dvc."""
    return any(PurePath(word).name == "dvc" for word in words[:2]) or list(words[1:3]) == [
        "-m",
        "dvc",
    ]
