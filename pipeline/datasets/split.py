"""Which track is used for what: the paper's cut, or one in which no artist has two roles."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import pandas as pd

from pipeline.datasets import catalogue
from pipeline.datasets.inventory import Inventory
from pipeline.datasets.readers.base import VOCALS
from pipeline.errors import UserError
from pipeline.params import FOLDER, Model
from pipeline.roles import COLUMNS
from pipeline.tracks import MIXTURE, Recording, Role, Track

STRATEGIES = ("paper", "by_artist")

_TRAINING_PARTITIONS = ("Dev", "train")


def assign(
    inventories: Sequence[Inventory],
    strategy: str,
    seed: int,
    kept: Mapping[str, Collection[str]] | None = None,
) -> pd.DataFrame:
    """Give every recording a role: a row of COLUMNS each, by dataset as given, then by track.

    `paper`: by the position in the authors' whole list, whatever part of it is present; tracks that
    are not in it are cut by the same rule in the order of their ids; MUSDB18 alone, which the paper
    does not use, as its users cut it (86 supervised, 14 validation, 50 test). `by_artist`: at random by
    `seed`, in nearly the same proportions, no artist of a dataset in two roles. A dataset with
    partitions (DSD100) gives the supervised role, the others the unlabelled one (section 4.2). A
    folder of unpaired recordings is unlabelled as a whole. `kept` names the roles that are used of a
    dataset, by its name, if not all: the tracks with another role are left out.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy: expected one of {STRATEGIES}, found {strategy!r}")
    frames = []
    for inventory in inventories:
        recordings = sorted(inventory.recordings, key=lambda recording: recording.track.id)
        tracks = [recording.track for recording in recordings]
        if inventory.origin == FOLDER:
            roles = dict.fromkeys((track.id for track in tracks), Role.UNLABELLED)
        else:
            roles = _paper(tracks) if strategy == "paper" else _by_artist(tracks, seed)
        used = (kept or {}).get(inventory.dataset, tuple(Role))
        rows = [_row(r, roles[r.track.id]) for r in recordings if roles[r.track.id] in used]
        frames.append(pd.DataFrame(rows, columns=COLUMNS))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)


def check_unlabelled(
    frame: pd.DataFrame, inventories: Iterable[Inventory], models: Mapping[str, Model]
) -> None:
    """Raise UserError when a model learns from unlabelled recordings of something that has none."""
    giving = set(frame.loc[frame["role"] == Role.UNLABELLED, "dataset"])
    held: set[str] = set()
    for inventory in inventories:
        if inventory.dataset in giving:
            held |= set(inventory.kinds)
            held |= {MIXTURE} if inventory.origin != FOLDER else set()
    for name, model in models.items():
        needed = ([MIXTURE] if model.unlabelled else []) + model.critics
        lacking = [kind for kind in needed if kind not in held]
        if lacking:
            raise UserError(
                f"models.{name}: no unlabelled track has a recording of {lacking[0]}; add a dataset or"
                f" a folder that holds {lacking[0]}, or leave out the model"
            )


def _row(recording: Recording, role: Role) -> tuple[str, str, str, str, bool]:
    """A row of COLUMNS."""
    track = recording.track
    sings = bool(track.sources.get(VOCALS)) and VOCALS not in recording.silent
    return track.dataset, track.id, track.artist, str(role), sings


def _paper(tracks: Sequence[Track]) -> dict[str, Role]:
    """Roles by the authors' list; unknown tracks, sorted by id, are a list of their own."""
    dataset = tracks[0].dataset if tracks else ""
    roles = {track: Role(role) for track, role in catalogue.roles(dataset).items()} or _cut(
        (entry.id, entry.partition) for entry in catalogue.tracks(dataset)
    )
    others = (track for track in tracks if track.id not in roles)
    return roles | _cut((track.id, track.partition) for track in others)


def _cut(entries: Iterable[tuple[str, str | None]]) -> dict[str, Role]:
    """Cut an ordered list of (track, partition) in the paper's proportions."""
    roles: dict[str, Role] = {}
    rest: dict[bool, list[str]] = {False: [], True: []}
    for track, partition in entries:
        if partition in _TRAINING_PARTITIONS:
            roles[track] = Role.SUPERVISED
        else:
            rest[partition is not None].append(track)
    half, third = len(rest[True]) // 2, len(rest[False]) // 3
    roles |= _fill(rest[True], {Role.VALIDATION: half})
    return roles | _fill(rest[False], {Role.UNLABELLED: third, Role.VALIDATION: third})


def _fill(tracks: Sequence[str], counts: dict[Role, int]) -> dict[str, Role]:
    """The first tracks get the roles in order, `counts` of each; the others are test tracks."""
    order = [role for role, count in counts.items() for _ in range(count)]
    order += [Role.TEST] * (len(tracks) - len(order))
    return dict(zip(tracks, order, strict=True))


def _by_artist(tracks: Sequence[Track], seed: int) -> dict[str, Role]:
    """Largest artist first, each into the role that lacks most of its share."""
    groups: dict[str, list[str]] = defaultdict(list)
    for track in tracks:
        groups[track.artist.strip().casefold()].append(track.id)
    quota = _quota(len(tracks), any(track.partition is not None for track in tracks))
    room = {role: float(count) for role, count in quota.items() if count}
    dataset = tracks[0].dataset if tracks else ""
    roles: dict[str, Role] = {}
    order = sorted(groups, key=lambda name: (-len(groups[name]), _chance(seed, dataset, name)))
    for artist in order:
        # max takes the first of equals: ties go by the order of the roles.
        role = max(room, key=lambda role: room[role] / quota[role])
        room[role] -= len(groups[artist])
        roles |= dict.fromkeys(groups[artist], role)
    return roles


def _quota(tracks: int, partitioned: bool) -> dict[Role, int]:
    """The paper's proportions: halves and quarters of DSD100, thirds of the others."""
    if partitioned:
        half = tracks // 2
        first = {Role.SUPERVISED: half, Role.VALIDATION: (tracks - half) // 2}
    else:
        first = {Role.UNLABELLED: tracks // 3, Role.VALIDATION: tracks // 3}
    return first | {Role.TEST: tracks - sum(first.values())}


def _chance(seed: int, dataset: str, artist: str) -> bytes:
    """A random order that depends on nothing but these: no library's generator, no other artist."""
    return hashlib.sha256(f"{seed}/{dataset}/{artist}".encode()).digest()
