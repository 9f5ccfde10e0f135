"""From feature files to pools of excerpts: on the training's device, in memory, or left on the disk.

Where the frames are is the machine's affair: the excerpts are the same to the bit.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import pandas as pd
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import UserError
from pipeline.features.store import FeatureFile, Rows, reading
from pipeline.parallel.machine import side_by_side
from pipeline.params import Signal
from pipeline.tracks import MIXTURE, Role
from pipeline.training.pools import Pool, layout, silence, width

PLACES = ("auto", "device", "memory", "disk")
"""Where the frames of a pool can be."""
SHARE = 0.5
"""Of the memory that is free, what one pool may take before it goes one place further out."""
OPEN_FILES = 256
READERS = 8
"""Threads that read excerpts: on a cold or distant disk they wait for each other's blocks."""
CGROUP = Path("/sys/fs/cgroup")


class RandomPart(NamedTuple):
    """So many minutes of a pool's tracks, others with each seed.

    The tracks in an order that is random by the seed, the last one up to where the minutes end: a larger
    part with the same seed holds the smaller one, and pools of the same tracks take the same.
    """

    minutes: float
    seed: int
    frames_per_minute: float
    key: str
    """Names the number in params.yaml."""

    def of(self, tracks: pd.DataFrame, lengths: Tensor) -> tuple[list[int], Tensor]:
        """Numbers of the tracks that are used, ascending, and how many frames of each (n,).

        tracks: rows of data/split.csv; lengths: their frames (tracks,). Raises UserError when there is
        less.
        """
        frames = round(self.minutes * self.frames_per_minute)
        names = (f"{self.seed}/{row.dataset}/{row.track}" for row in tracks.itertuples())
        chances = [hashlib.sha256(name.encode()).digest() for name in names]
        used: dict[int, int] = {}
        for number in sorted(range(len(chances)), key=chances.__getitem__):
            if frames <= 0:
                break
            used[number] = min(int(lengths[number]), frames)
            frames -= used[number]
        if frames > 0:
            there = int(lengths.sum()) / self.frames_per_minute
            raise UserError(
                f"params.yaml: {self.key}: {self.minutes:g} minutes, and the recordings have"
                f" {there:.1f}; lower it, or leave it out to use all"
            )
        kept = sorted(used)
        return kept, torch.tensor([used[number] for number in kept])


class Blocks(NamedTuple):
    """A track's waveform as blocks of a hop: of them, a window's worth from block f on makes frame f.

    Silence stands for the half window before its first sample, and for what follows its last one. A
    mixture is the sum of its sources.
    """

    waveforms: tuple[Rows, ...]
    """What is summed."""
    signal: Signal
    frames: int

    @property
    def path(self) -> Path:
        return self.waveforms[0].path

    @property
    def shape(self) -> tuple[int, int]:
        """(blocks, hop)"""
        return self.frames + self.signal.overlap - 1, self.signal.hop_size

    def read(self, handle: int, target: NDArray[np.float32], begin: int) -> None:
        """Fill `target` (blocks, hop) with the blocks from number `begin` on."""
        target[:] = 0
        samples = target.reshape(-1)
        # of the waveform, where `target` begins
        first = begin * self.signal.hop_size - self.signal.fft_size // 2
        low, high = max(first, 0), min(first + len(samples), self.waveforms[0].shape[0])
        if low < high:
            part = np.empty(high - low, np.float32)
            for rows in self.waveforms:
                rows.read(handle, part, low)
                samples[low - first : high - first] += part

    def pieces(self, handle: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """All blocks; raises UserError unless all waveforms are what was stored."""
        whole = np.zeros(self.shape, np.float32)
        heard = whole.reshape(-1)[self.signal.fft_size // 2 :]
        for rows in self.waveforms:
            for begin, piece in rows.pieces(handle):
                heard[begin : begin + len(piece)] += piece
        yield 0, whole


def load_pool(
    split: pd.DataFrame,
    roles: Sequence[Role],
    folder: Path,
    kinds: Sequence[str],
    length: int,
    context: int,
    device: torch.device,
    place: str = "auto",
    part: RandomPart | None = None,
    waveform: bool = False,
) -> Pool:
    """The tracks of some roles that have all of `kinds`, from the feature files under `folder`.

    kinds: which to keep, by name; `Pool.gather` counts within these. waveform: their samples, and no
    log magnitudes. device: where excerpts are wanted. place: one of PLACES; auto takes the first that
    has room. part: what is used of all these tracks, None for all. Raises UserError when no track has
    the kinds, when there is less than the part asks for, and when the frames of a track are not what
    was stored; those that stay on the disk are compared when they are first asked for.
    """
    chosen = split[split["role"].isin(list(roles))]
    rows: list[list[Rows | Blocks]] = [[] for _ in kinds]
    taken = []
    for name in chosen["dataset"].unique():
        features = FeatureFile.open(folder / f"{name}.h5")
        if set(kinds) <= set(features.kinds):
            taken.append(chosen[chosen["dataset"] == name])
            for row in features.rows(taken[-1]["track"].tolist()):
                for found, wanted in zip(rows, kinds, strict=True):
                    find = blocks_of if waveform else FeatureFile.frames_of
                    found.append(find(features, row, wanted))
    if not rows[0]:
        raise UserError(
            f"{folder}: no track with the role {' or '.join(roles)} has {' and '.join(kinds)}; add a"
            " dataset or a folder of unpaired recordings that has"
        )
    bins = rows[0][0].shape[1]
    tracks = pd.concat(taken)
    more = features.signal.overlap - 1 if waveform else 0
    lengths = torch.tensor([one.shape[0] for one in rows[0]])
    if part is not None:
        kept, lengths = part.of(tracks, lengths - more)
        lengths = lengths + more
        tracks, rows = tracks.iloc[kept], [[row[number] for number in kept] for row in rows]
    length += more
    first, total = layout(lengths, length, context)
    pool = partial(
        Pool, first=first, lengths=lengths, length=length, context=context, device=device,
        shares=shares(tracks), more=more,
    )  # fmt: skip
    on_disk = FramesOnDisk(rows, first, lengths, bins, device)
    place = choose(place, 4 * len(kinds) * total * width(bins), device)
    if place == "disk":
        return pool(on_disk)
    frames = silence(len(kinds), total, bins, device if place == "device" else None)
    for kind in range(len(kinds)):
        for start, count in zip(first, lengths, strict=True):
            block = on_disk.read(kind, start[None], 0, int(count))[0]
            frames[kind, start : start + count] = block.to(frames.device)
    return pool(frames)


def blocks_of(features: FeatureFile, row: int, kind: str) -> Blocks:
    """The waveform of a track's source, or of its mixture, as blocks."""
    summed = features.sounds if kind == MIXTURE and kind not in features.sounds else (kind,)
    waveforms = tuple(features.samples_of(row, one) for one in summed)
    return Blocks(waveforms, features.signal, int(features.index["frames"].to_numpy()[row]))


def shares(tracks: pd.DataFrame) -> Tensor | None:
    """How large a share of a pool's draws each of its tracks has (tracks,); None: all the same.

    tracks: rows of data/split.csv. The tracks of a dataset with a weight are drawn, all together, so
    many times as often as all tracks of datasets without one; within both, each as often as another.
    """
    weighted = tracks["weight"].notna()
    if not weighted.any():
        return None
    group = tracks["dataset"].where(weighted, "")
    share = tracks["weight"].fillna(1.0) / group.groupby(group).transform("size")
    return torch.from_numpy((share / share.sum()).to_numpy(np.float64, copy=True))


def choose(place: str, size: int, device: torch.device) -> str:
    """The place for `size` bytes of frames. Raises UserError for an unknown place."""
    if place not in PLACES:
        raise UserError(f"--features-in {place}: expected one of {', '.join(PLACES)}")
    if place != "auto":
        return place
    share = SHARE / side_by_side()
    if device.type == "cuda" and size <= share * torch.cuda.mem_get_info(device)[0]:
        return "device"
    return "memory" if size <= share * free_memory() else "disk"


def free_memory() -> int:
    """Bytes of memory that this process may still take: the machine's, or its container's."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((CGROUP / name).read_text() for name in ("memory.max", "memory.current"))
        free = min(free, int(limit) - int(used))
    except (OSError, ValueError):
        pass  # no such control group, or no limit
    return max(free, 0)


@dataclass
class FramesOnDisk:
    """The frames of a pool, left in their feature files: reads only the excerpts asked for."""

    rows: Sequence[Sequence[Rows | Blocks]]
    """Of each kind, those of each track."""
    first: Tensor
    """First frame of each track, counted as in `Pool`."""
    lengths: Tensor
    bins: int
    device: torch.device
    _sound: NDArray[np.bool_] = field(init=False, repr=False)
    """Whether the frames of a kind and track were found to be what was stored."""
    _files: "OrderedDict[Path, int]" = field(default_factory=OrderedDict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)
    _readers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(READERS, "features"), repr=False
    )

    def __post_init__(self) -> None:
        self._sound = np.zeros((len(self.rows), len(self.rows[0])), np.bool_)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, kind: int, starts: Tensor, extra: int, length: int) -> Tensor:
        """Excerpts (n, length + 2 * extra, bins) of one kind; beyond a track's ends there is silence.

        starts: their first frames without the `extra` before them (n,). Raises UserError when a track
        that is read for the first time is not what was stored, or cannot be read.
        """
        # of a short track an excerpt may begin before it, and ends behind its first frame
        tracks = torch.searchsorted(self.first, starts + length - 1, right=True) - 1
        begins = starts - self.first[tracks] - extra
        out = torch.zeros(len(starts), length + 2 * extra, self.bins)
        target = out.numpy()

        def one(number: int) -> None:
            track, begin = int(tracks[number]), int(begins[number])
            low, high = max(begin, 0), min(begin + target.shape[1], int(self.lengths[track]))
            if low < high:
                self._fill(target[number, low - begin : high - begin], track, kind, low, handles)

        with self._lock:
            handles = self._open({self.rows[kind][int(track)].path for track in tracks})
            list(self._readers.map(one, range(len(starts))))
        return out.to(self.device)

    def _fill(
        self,
        target: NDArray[np.float32],
        track: int,
        kind: int,
        low: int,
        handles: dict[Path, int],
    ) -> None:
        """Read a track's frames from number `low` on; the first time, all of them are looked at."""
        rows = self.rows[kind][track]
        handle = handles[rows.path]
        if self._sound[kind, track]:
            rows.read(handle, target, low)
            return
        for begin, piece in rows.pieces(handle):
            part = piece[max(low - begin, 0) : max(low + len(target) - begin, 0)]
            start = max(begin - low, 0)
            target[start : start + len(part)] = part
        self._sound[kind, track] = True

    def _open(self, wanted: set[Path]) -> dict[Path, int]:
        """Descriptors of files; those that were not used for longest are closed for them."""
        for path in wanted:
            if path not in self._files:
                with reading(path):
                    self._files[path] = os.open(path, os.O_RDONLY)
            self._files.move_to_end(path)
        while len(self._files) > max(OPEN_FILES, len(wanted)):
            os.close(self._files.popitem(last=False)[1])
        return {path: self._files[path] for path in wanted}
