"""The runs of one model, one for each seed, as processes side by side under one progress bar."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from tqdm import tqdm

from pipeline.errors import Stopped, UserError, listing
from pipeline.networks.devices import resolve_device
from pipeline.parallel import machine
from pipeline.training.progress import AS_LINES, parse

ERROR = "error: "
"""How a stage's last line begins when it ends with a UserError."""


def places(device: str, jobs: int, runs: int) -> list[str | None]:
    """A place for each run that goes at the same time, at most `runs`: a GPU's name, or None, the CPU.

    device: auto, cpu or cuda; jobs: runs on each GPU, or on the CPU; 0: one on each GPU, or one on each
    core, where two threads of one run mostly wait for each other.
    """
    if resolve_device(device) == "cpu":
        # whoever trains several models at the same time has shared out the cores
        cores = max(1, len(os.sched_getaffinity(0)) // machine.side_by_side())
        return [None] * min(runs, jobs or cores)
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    cards: list[str | None] = [*(named or map(str, range(count)))][:count]
    return (cards * (jobs or 1))[:runs]


class SeedRuns:
    """The runs under way, and those that wait for a place."""

    def __init__(self, model: str, steps: int, places: Sequence[str | None]) -> None:
        """steps: updates of one run; places: as the function gives them."""
        self.model, self.steps, self.places = model, steps, places
        self.free: asyncio.Queue[str | None] = asyncio.Queue()
        for place in places:
            self.free.put_nowait(place)
        self.running: dict[int, asyncio.subprocess.Process] = {}
        self.done: dict[int, int] = {}
        """Updates by seed."""
        self.losses: dict[int, float] = {}
        """The last L_s that each run under way has told."""
        self.errors: dict[int, str] = {}
        """Why a run has failed."""
        self.ended_by: signal.Signals | None = None

    def seeds(self, commands: Mapping[int, Sequence[str]]) -> None:
        """Run all commands, by seed. The other runs go on when one fails.

        Raises UserError, which says why, when one has failed, and Stopped after SIGINT or SIGTERM,
        which all of them get and end by with a checkpoint; a second signal kills them.
        """
        self.total = self.steps * len(commands)
        with tqdm(desc=self.model, total=self.total, unit="update") as self.bar:
            asyncio.run(self.all(commands))
        if self.ended_by:
            raise Stopped("stopped; the same command goes on where it was", self.ended_by)
        if self.errors:
            seeds: dict[str, list[str]] = {}
            for seed, why in sorted(self.errors.items()):
                seeds.setdefault(why, []).append(str(seed))
            reasons = listing((f"seed {', '.join(own)}: {why}" for why, own in seeds.items()), 3)
            trained = len(commands) - len(self.errors)
            kept = f"; {trained} of {len(commands)} runs are done and kept" if trained else ""
            raise UserError(f"{self.model}: {reasons}{kept}")

    async def all(self, commands: Mapping[int, Sequence[str]]) -> None:
        """Start each as soon as there is a place."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop, number)
        async with asyncio.TaskGroup() as group:
            for seed, command in commands.items():
                group.create_task(self.one(seed, command))

    async def one(self, seed: int, command: Sequence[str]) -> None:
        """Train one seed as soon as there is a place."""
        place = await self.free.get()
        try:
            if not self.ended_by:
                await self.process(seed, command, place)
        finally:
            self.free.put_nowait(place)

    async def process(self, seed: int, command: Sequence[str], place: str | None) -> None:
        """One run from its start to its end."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, env=self.environment(place), stdin=asyncio.subprocess.DEVNULL, stdout=pipe,
            stderr=pipe, limit=2**20,
            start_new_session=True,  # Ctrl-C comes to this process alone
            # with a checkpoint, also when this process is killed
            preexec_fn=partial(machine.end_with_parent, signal.SIGTERM),
        )  # fmt: skip
        self.running[seed] = process
        if self.ended_by:
            process.terminate()  # the signal came before the process was known
        assert process.stdout is not None
        assert process.stderr is not None
        told, complaints = await asyncio.gather(
            self.follow(seed, process.stdout), self.follow(seed, process.stderr)
        )
        status = await process.wait()
        del self.running[seed]
        self.losses.pop(seed, None)
        if status and not self.ended_by:
            last = complaints or told
            known = last.startswith(ERROR)
            self.errors[seed] = last.removeprefix(ERROR) if known else _how(status)
            if not known and last:
                self.say(f"{self.model}, seed {seed}: {_how(status)}")
        elif not status:
            # it may have ended before all updates were done
            self.total -= self.steps - self.done.get(seed, self.steps)
            self.bar.total = self.total
            self.bar.refresh()

    async def follow(self, seed: int, stream: asyncio.StreamReader) -> str:
        """Show what a run says; returns its last line."""
        last = ""
        while raw := await stream.readline():
            text = raw.decode(errors="replace").rstrip()
            if told := parse(text):
                self.advance(seed, *told)
            elif text:
                last = text
                if not text.startswith(ERROR):  # is said at the end
                    self.say(f"{self.model}, seed {seed}: {text}")
        return last

    def advance(self, seed: int, steps: int, loss: float) -> None:
        """A run has come so far."""
        before = self.done.get(seed)
        self.done[seed], self.losses[seed] = steps, loss
        shown = ", ".join(f"{s}: {value:.3f}" for s, value in sorted(self.losses.items()))
        self.bar.set_postfix_str(f"L_s of seed {shown}", refresh=False)
        if before is None and steps > 1:
            # what a run has resumed is done, but not in this time
            self.bar.initial += steps
            self.bar.n += steps
        else:
            self.bar.update(steps - (before or 0))

    def say(self, text: str) -> None:
        """A line above the bar."""
        self.bar.write(text, file=sys.stderr)

    def environment(self, place: str | None) -> dict[str, str]:
        """What a run sees of the machine: its GPU, its share of cores and memory."""
        beside_it = str(len(self.places) * machine.side_by_side())
        environment = dict(os.environ) | {AS_LINES: "lines", machine.SIDE_BY_SIDE: beside_it}
        if place is not None:
            environment["CUDA_VISIBLE_DEVICES"] = place
        if len(self.places) > 1:
            # Processes that each use all cores mostly wait for each other.
            share = max(1, len(os.sched_getaffinity(0)) // len(self.places))
            environment.setdefault("OMP_NUM_THREADS", str(share))
        return environment

    def stop(self, number: signal.Signals) -> None:
        """Let all runs end with a checkpoint; at the second signal, end them at once."""
        again, self.ended_by = self.ended_by is not None, number
        for process in self.running.values():
            with suppress(ProcessLookupError):
                process.kill() if again else process.terminate()


def _how(status: int) -> str:
    """How a process has ended that gave no reason of its own."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}; the same command goes on where it was"
    return f"ended with status {status}; the reason is above"
