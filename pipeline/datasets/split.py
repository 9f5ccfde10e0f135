"""Which track is used for what: the paper's cut, or one in which no artist has two roles."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import pandas as pd

from pipeline.datasets import catalogue, duplicates
from pipeline.datasets.inventory import Inventory
from pipeline.datasets.readers.base import VOCALS
from pipeline.datasets.selection import Selection, chosen
from pipeline.errors import UserError, listing, printable
from pipeline.params import FOLDER, KNOWN, Params, RoleSelections
from pipeline.roles import COLUMNS
from pipeline.tracks import MIXTURE, Recording, Role, Track
from pipeline.ways import Model

STRATEGIES = ("paper", "by_artist")

DRAWS = 100
"""Random assignments of artists, of which `by_artist` takes the best."""

_TRAINING_PARTITIONS = ("Dev", "train")


def assign(
    inventories: Sequence[Inventory],
    strategy: str,
    seed: int,
    asked: Mapping[str, Sequence[str] | RoleSelections] | None = None,
    weights: Mapping[str, float] | None = None,
    selections: Mapping[str, Selection] | None = None,
) -> pd.DataFrame:
    """Give every recording a role: a row of COLUMNS each, by dataset as given, then by track.

    `paper`: by the position in the authors' whole list, whatever part of it is present; tracks that
    are not in it are cut by the same rule in the order of their ids; MUSDB18 alone, which the paper
    does not use, as its users cut it (86 supervised, 14 validation, 50 test), and MIR-1K by singers.
    `by_artist`: at random by `seed`, in nearly the same proportions, no artist of a dataset in two
    roles. A dataset with partitions (DSD100) gives the supervised role, the others the unlabelled one
    (section 4.2). A folder of unpaired recordings is unlabelled as a whole. `asked` has, by the name of
    a dataset, the roles that are used of it, if not all, or which of its tracks have which role,
    whatever the strategy: the other tracks are left out. `weights` has those of the folders that have
    one, `selections` which tracks a dataset has if not all of its collection. Raises UserError when a
    track is asked to have two roles, and when a role is asked for tracks that the dataset cannot have.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy: expected one of {STRATEGIES}, found {strategy!r}")
    frames = []
    for inventory in inventories:
        recordings = sorted(inventory.recordings, key=lambda recording: recording.track.id)
        tracks = [recording.track for recording in recordings]
        used: Sequence[str] = tuple(Role)
        wanted = (asked or {}).get(inventory.dataset, used)
        if isinstance(wanted, dict):
            within = (selections or {}).get(inventory.dataset)
            roles = _named(tracks, inventory, wanted, within)
        elif inventory.origin == FOLDER:
            roles, used = dict.fromkeys((track.id for track in tracks), Role.UNLABELLED), wanted
        elif strategy == "paper":
            roles, used = _paper(tracks, _published_as(inventory)), wanted
        else:
            roles, used = _by_artist(recordings, seed), wanted
        weight = (weights or {}).get(inventory.dataset, math.nan)
        rows = [(*_row(r, roles[r.track.id]), weight) for r in recordings if r.track.id in roles]
        frame = pd.DataFrame(rows, columns=COLUMNS)
        frames.append(frame[frame["role"].isin(used)])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)


def of_params(inventories: Sequence[Inventory], settings: Params) -> pd.DataFrame:
    """`assign` as params.yaml asks for it."""
    return assign(
        inventories,
        settings.split.strategy,
        settings.split.seed,
        {name: one.roles for name, one in settings.datasets.items() if one.roles},
        {name: one.weight for name, one in settings.datasets.items() if one.weight},
        {name: one.select for name, one in settings.datasets.items() if one.select},
    )


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
        needed = ([MIXTURE] if model.unlabelled else []) + model.solo_sources
        lacking = [kind for kind in needed if kind not in held]
        if lacking:
            raise UserError(
                f"models.{name}: no unlabelled track has a recording of {lacking[0]}; add a dataset or"
                f" a folder that holds {lacking[0]}, or leave out the model"
            )


def notices(
    frame: pd.DataFrame,
    inventories: Sequence[Inventory],
    strategy: str,
    name: Callable[[str], str] = printable,
    limit: int = 5,
    named: Collection[str] = (),
    assigned: pd.DataFrame | None = None,
) -> list[str]:
    """What a reader of the results should know of the roles in `frame`: a line for each thing.

    Tracks that are left out because they are test or validation tracks once more; with the strategy
    `by_artist`, artists that have more tracks than their role should; test and validation tracks that
    share an artist with tracks from which the model was learned or chosen; weights of folders. name:
    how a dataset's, track's or artist's name is written; limit: how many tracks a line names; named:
    the datasets whose tracks have the roles that params.yaml names, not the strategy; assigned: the roles
    before duplicates were left out: a track without one is not said to be left out.
    """
    meant = (
        None if assigned is None else set(zip(assigned["dataset"], assigned["track"], strict=True))
    )
    lines = [
        f"{name(found.track.dataset)}: {name(found.track.track)} is the {found.role} track"
        f" {name(str(found.original))} once more; left out."
        for found in duplicates.find(frame, inventories)
        if meant is None or found.track in meant
    ]
    for inventory in inventories:
        mine = frame[frame["dataset"] == inventory.dataset]
        if inventory.origin != FOLDER:
            if strategy == "by_artist" and inventory.dataset not in named:
                lines += _too_large(mine, inventory, name)
            lines += _shared_artists(mine, frame, name, limit)
        elif len(mine) and not math.isnan(weight := mine["weight"].iloc[0]):
            lines.append(
                f"{name(inventory.dataset)}: weight {weight:g}: its recordings are drawn, all"
                f" together, {weight:g} times as often as all tracks without a weight."
            )
    return lines


def _too_large(
    frame: pd.DataFrame, inventory: Inventory, name: Callable[[str], str]
) -> Iterable[str]:
    """A line for every artist with more tracks than its role should have."""
    partitioned = any(one.track.partition is not None for one in inventory.recordings)
    quota = _quota(len(inventory.recordings), partitioned)
    counts = frame["role"].value_counts()
    for artist, tracks in frame.groupby(frame["artist"].map(_folded), sort=False):
        roles = tracks["role"].unique()
        if artist and len(roles) == 1 and len(tracks) > max(1, quota[Role(roles[0])]):
            has = ", ".join(f"{counts.get(str(role), 0)} {role}" for role in quota)
            wanted = ", ".join(f"{count} {role}" for role, count in quota.items())
            yield (
                f"{name(inventory.dataset)}: {len(tracks)} of {len(inventory.recordings)} tracks are by"
                f" {name(tracks['artist'].iloc[0])}, and all of them {roles[0]}: the roles have {has}"
                f" tracks instead of {wanted}."
            )


def _shared_artists(
    frame: pd.DataFrame, everything: pd.DataFrame, name: Callable[[str], str], limit: int
) -> list[str]:
    """One line about the test and validation tracks whose artist has tracks in a role before theirs."""
    artists = {
        role: set(tracks.map(_folded)) - {""}
        for role, tracks in everything.groupby("role")["artist"]
    }
    said = []
    for role in (Role.TEST, Role.VALIDATION):
        mine = frame[frame["role"] == role]
        for before in (Role.SUPERVISED, Role.UNLABELLED, Role.VALIDATION):
            if before != role:
                shared = mine[mine["artist"].map(_folded).isin(artists.get(before, set()))]
                if len(shared):
                    tracks = listing(map(name, shared["track"]), limit)
                    said.append(
                        f"{len(shared)} of {len(mine)} {role} tracks share an artist with"
                        f" {before} tracks ({tracks})"
                    )
    return [f"{name(str(frame['dataset'].iloc[0]))}: {'; '.join(said)}."] if said else []


def _row(recording: Recording, role: Role) -> tuple[str, str, str, str, bool]:
    """A row of COLUMNS but for the weight."""
    track = recording.track
    return track.dataset, track.id, track.artist, str(role), _sings(recording)


def _sings(recording: Recording) -> bool:
    return bool(recording.track.sources.get(VOCALS)) and VOCALS not in recording.silent


def _folded(artist: str) -> str:
    """An artist's name whatever its spelling."""
    return artist.strip().casefold()


def _named(
    tracks: Sequence[Track],
    inventory: Inventory,
    wanted: RoleSelections,
    within: Selection | None,
) -> dict[str, Role]:
    """The roles that params.yaml gives to tracks by what is known of them."""
    roles: dict[str, Role] = {}
    for role, select in wanted.items():
        key = f"datasets.{inventory.dataset}.roles.{role}"
        for track in chosen(tracks, _published_as(inventory), select, key, within):
            before = roles.setdefault(track.id, Role(role))
            if before != role:
                raise UserError(
                    f"params.yaml: {key}: {printable(track.id)} is {before} already; a track has one role"
                )
    return roles


def _published_as(inventory: Inventory) -> str:
    """The dataset whose published list has the tracks: the collection's where the name is a user's."""
    return inventory.dataset if inventory.dataset in KNOWN else inventory.collection


def _paper(tracks: Sequence[Track], dataset: str) -> dict[str, Role]:
    """Roles by the list of a dataset; unknown tracks, sorted by id, are a list of their own."""
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


def _by_artist(recordings: Sequence[Recording], seed: int) -> dict[str, Role]:
    """The best of DRAWS random assignments, in all of which the largest artist has the same role.

    Best are as few roles without tracks as can be, then shares of each role that are near to the
    quota: of all tracks, of those with vocals, and of those without (the sum of (count - share)^2 /
    share). The largest artist's role is drawn once, since the best one for it is always the same.
    """
    groups: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        groups[_folded(recording.track.artist)].append(recording)
    partitioned = any(recording.track.partition is not None for recording in recordings)
    quota = _quota(len(recordings), partitioned)
    quota = {role: count for role, count in quota.items() if count}
    dataset = recordings[0].track.dataset if recordings else ""
    order = sorted(groups, key=lambda one: (-len(groups[one]), _chance(seed, dataset, one)))
    sizes = {artist: len(groups[artist]) for artist in order}
    vocals = {artist: sum(map(_sings, groups[artist])) for artist in order}
    draws = (_draw(sizes, quota, f"{seed}/{dataset}", number) for number in range(DRAWS))
    best = min(draws, key=lambda roles: _cost(roles, sizes, vocals, quota))
    return {one.track.id: role for artist, role in best.items() for one in groups[artist]}


def _draw(
    sizes: Mapping[str, int], quota: Mapping[Role, int], stream: str, number: int
) -> dict[str, Role]:
    """Artists in the order of `sizes`, each into a role at random, by the room that is left in it.

    A role that has no room for all tracks of an artist gets it only where none has.
    """
    room = dict(quota)
    roles: dict[str, Role] = {}
    for artist, size in sizes.items():
        # the first one's role does not depend on the number
        chance = _uniform(stream, str(number if roles else 0), artist)
        open_ = {role: left for role, left in room.items() if left >= size}
        open_ = open_ or {role: left for role, left in room.items() if left > 0}
        point = chance * sum(open_.values())
        for role, left in open_.items():
            roles[artist] = role
            point -= left
            if point < 0:
                break
        room[roles[artist]] -= size
    return roles


def _cost(
    roles: Mapping[str, Role],
    sizes: Mapping[str, int],
    vocals: Mapping[str, int],
    quota: Mapping[Role, int],
) -> tuple[int, float]:
    """What is wrong with the roles of artists: as few as possible of the first, then of the second."""
    cost = 0.0
    without = {artist: sizes[artist] - vocals[artist] for artist in sizes}
    for counts in (sizes, vocals, without):
        found: Counter[Role] = Counter()
        for artist, role in roles.items():
            found[role] += counts[artist]
        for role, tracks in quota.items():
            share = sum(counts.values()) * tracks / sum(quota.values())
            cost += (found[role] - share) ** 2 / share if share else 0.0
    return len(quota) - len(set(roles.values())), cost


def _quota(tracks: int, partitioned: bool) -> dict[Role, int]:
    """The paper's proportions: halves and quarters of DSD100, thirds of the others."""
    if partitioned:
        half = tracks // 2
        first = {Role.SUPERVISED: half, Role.VALIDATION: (tracks - half) // 2}
    else:
        first = {Role.UNLABELLED: tracks // 3, Role.VALIDATION: tracks // 3}
    return first | {Role.TEST: tracks - sum(first.values())}


def _chance(*key: object) -> bytes:
    """A random order that depends on nothing but these: no library's generator, no other artist."""
    return hashlib.sha256("/".join(map(str, key)).encode()).digest()


def _uniform(*key: object) -> float:
    """A number from 0 to below 1, random like `_chance`."""
    return int.from_bytes(_chance(*key)[:6]) / 2**48
