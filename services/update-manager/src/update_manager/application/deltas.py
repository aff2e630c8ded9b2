"""Deltas as rows: who asks for one writes `wanted`, a worker makes it (delta_builds), a device gets what is ready.

Who asks never waits for a builder: rows are added without touching those that are there. A base that nobody uploaded is
never written down: its hash comes from a device, which could name a new one each time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.artifact_store import ArtifactStore
from update_manager.adapters.db.tables import (
    Artifact,
    Delta,
    DistributionSet,
    SoftwareModule,
    Target,
    distribution_set_module,
)
from update_manager.application.actions import artifacts_of
from update_manager.application.rollout_engine import compatible
from update_manager.domain.deltas import (
    KNOWN_FORMATS,
    REFUSAL_TEXTS,
    DeltaStatus,
    Forecast,
    Image,
    Limits,
    Refusal,
    Share,
    due_again,
    forecast,
    refusal,
)
from update_manager.settings import UpdateManagerSettings

# What failed is tried again when somebody asks so much later: its reason may have gone.
JUDGED_ANEW_AFTER: Final = timedelta(minutes=10)
# Devices name what they run, and each could name something else: so many are looked at, the most frequent first.
MAX_BASES: Final = 500


def limits_of(settings: UpdateManagerSettings) -> Limits:
    """The settings of deltas, as the rules want them."""
    return Limits(settings.delta_threshold_percent, settings.max_deltas_per_release, settings.max_delta_image_bytes)


async def image_of_set(session: AsyncSession, set_id: int) -> Artifact | None:
    """The MCUboot image of a distribution set; None when it has none."""
    return next((one for one in await artifacts_of(session, set_id) if one.image_sha256 is not None), None)


async def images(session: AsyncSession, tenant_id: int, hashes: Iterable[str]) -> dict[str, Image]:
    """The uploaded images among these, by their hash without padding."""
    facts = Artifact.image_facts["facts"]
    rows = await session.execute(
        select(
            Artifact.image_sha256,
            Artifact.size,
            facts["keyHash"].astext,
            facts["flags"].as_integer(),
            DistributionSet.target_type_id,
        )
        .outerjoin(distribution_set_module, distribution_set_module.c.software_module_id == Artifact.software_module_id)
        .outerjoin(DistributionSet, DistributionSet.id == distribution_set_module.c.distribution_set_id)
        .where(Artifact.tenant_id == tenant_id, Artifact.image_sha256.in_(sorted(set(hashes))))
        .order_by(Artifact.id)
    )
    found: dict[str, Image] = {}
    for sha256, size, key_hash, flags, product in rows:
        known = found.get(sha256, Image(sha256, size, key_hash or "", flags or 0))
        products = known.products if product is None else known.products | {product}
        found[sha256] = Image(known.image_sha256, known.size, known.key_hash, known.flags, products)
    return found


async def shares(session: AsyncSession, *conditions: ColumnElement[bool]) -> list[Share]:
    """What the targets under these conditions report to run and to take, the most frequent first."""
    formats = Target.delta_formats.bitwise_and(KNOWN_FORMATS)
    rows = await session.execute(
        select(Target.image_sha256, formats, func.count().label("targets"))
        .where(*conditions)
        .group_by(Target.image_sha256, formats)
        .order_by(func.count().desc(), Target.image_sha256, formats)
    )
    return [Share(*row) for row in rows]


async def want_for(session: AsyncSession, wanted: Artifact | None, population: Sequence[Share], limits: Limits) -> None:
    """Ask for the deltas a population can use; what it runs most comes first."""
    if wanted is not None and limits.on:
        await _want(session, wanted, _usable_by(population), limits)


def _usable_by(population: Sequence[Share]) -> list[tuple[str, int]]:
    asked = [(share.image_sha256, share.formats) for share in population if share.image_sha256 and share.formats]
    return asked[:MAX_BASES]


async def _want(session: AsyncSession, wanted: Artifact, pairs: list[tuple[str, int]], limits: Limits) -> None:
    standing = await _standing(session, wanted)
    due = await _due(session, wanted, pairs, standing, limits)
    # A pair that came to nothing takes no delta's place.
    held = sum(row.status in (DeltaStatus.WANTED, DeltaStatus.READY) for row in standing.values())
    # In one order, so that two who ask at once cannot wait for each other.
    chosen = sorted(due[: max(0, limits.max_per_release - held)])
    if not chosen:
        return
    common = {"tenant_id": wanted.tenant_id, "to_sha256": wanted.image_sha256, "full_size": wanted.size}
    rows = [
        {**common, "from_sha256": base, "formats": formats, "status": DeltaStatus.WANTED} for base, formats in chosen
    ]
    await session.execute(insert(Delta).values(rows).on_conflict_do_nothing())
    again = select(Delta.id).where(
        Delta.tenant_id == wanted.tenant_id,
        Delta.to_sha256 == wanted.image_sha256,
        tuple_(Delta.from_sha256, Delta.formats).in_(chosen),
        Delta.status.in_((DeltaStatus.REFUSED, DeltaStatus.FAILED)),
    )
    await session.execute(
        update(Delta)
        .where(Delta.id.in_(again.with_for_update(skip_locked=True)))
        .values(status=DeltaStatus.WANTED)
        .execution_options(synchronize_session=False)
    )


async def _standing(session: AsyncSession, wanted: Artifact) -> dict[tuple[str, int], Any]:
    """What became of each pair asked for so far: its status and sizes, and whether it was judged long ago."""
    rested = Delta.judged_at < func.now() - JUDGED_ANEW_AFTER
    rows = await session.execute(
        select(
            Delta.from_sha256, Delta.formats, Delta.status, Delta.size, Delta.full_size, rested.label("rested")
        ).where(Delta.tenant_id == wanted.tenant_id, Delta.to_sha256 == wanted.image_sha256)
    )
    return {(row.from_sha256, row.formats): row for row in rows}


async def _due(
    session: AsyncSession,
    wanted: Artifact,
    pairs: list[tuple[str, int]],
    standing: Mapping[tuple[str, int], Any],
    limits: Limits,
) -> list[tuple[str, int]]:
    """Those of the pairs that are made when somebody asks: no rule forbids it, and nothing that came of it before."""
    assert wanted.image_sha256 is not None
    known = await images(session, wanted.tenant_id, {base for base, _ in pairs} | {wanted.image_sha256})
    return [
        pair
        for pair in pairs
        if refusal(known.get(pair[0]), known[wanted.image_sha256], limits) is None
        and ((row := standing.get(pair)) is None or due_again(row.status, row.size, row.full_size, row.rested, limits))
    ]


async def ask(
    session: AsyncSession, store: ArtifactStore, wanted: Artifact, base: str, formats: int, limits: Limits
) -> Delta | None:
    """The delta a device with `base` can use, ready or still wanted; None when there is none worth it."""
    formats &= KNOWN_FORMATS
    if wanted.image_sha256 is None or not limits.on or not formats:
        return None
    found = await _usable(session, wanted, base, formats)
    if found is None:
        await _want(session, wanted, [(base, formats)], limits)
        return await _usable(session, wanted, base, formats)
    if found.status == DeltaStatus.WANTED:
        return found
    if found.size is None or not limits.worth(found.size, found.full_size):
        return None  # the threshold was lowered since
    if found.sha256 is None or not store.path(found.sha256).is_file():
        found.status = DeltaStatus.WANTED  # its bytes were lost: it is made once more
        return found
    await session.execute(
        update(Delta)
        .where(Delta.id == found.id)
        .values(uses=Delta.uses + 1, last_used_at=func.now())
        .execution_options(synchronize_session=False)
    )
    return found


async def _usable(session: AsyncSession, wanted: Artifact, base: str, formats: int) -> Delta | None:
    found: Delta | None = await session.scalar(
        select(Delta).where(
            Delta.tenant_id == wanted.tenant_id,
            Delta.to_sha256 == wanted.image_sha256,
            Delta.from_sha256 == base,
            Delta.formats == formats,
            Delta.status.in_((DeltaStatus.WANTED, DeltaStatus.READY)),
        )
    )
    return found


async def forecast_of(
    session: AsyncSession, set_id: int, full_size: int, limits: Limits, *conditions: ColumnElement[bool]
) -> Forecast:
    """What the targets under these conditions will be sent of a set; `full_size` in bytes is all of it."""
    image = await image_of_set(session, set_id)
    population = await shares(session, *conditions)
    if image is None:
        return forecast(population, {}, full_size, None)
    sizes = await _sizes(session, image, _usable_by(population), limits) if limits.on else {}
    return forecast(population, sizes, full_size, image.image_sha256)


async def _sizes(
    session: AsyncSession, wanted: Artifact, pairs: list[tuple[str, int]], limits: Limits
) -> dict[tuple[str, int], int | None]:
    standing = await _standing(session, wanted)
    sizes: dict[tuple[str, int], int | None] = dict.fromkeys(await _due(session, wanted, pairs, standing, limits))
    for pair, row in standing.items():
        if row.status == DeltaStatus.WANTED:
            sizes[pair] = None
        elif row.status == DeltaStatus.READY and limits.worth(row.size or 0, row.full_size):
            sizes[pair] = row.size
    return sizes


def forecast_shape(planned: Forecast) -> dict[str, int]:
    """A forecast as the API shows it."""
    return {
        "byDelta": planned.by_delta,
        "byFull": planned.by_full,
        "unknown": planned.unknown,
        "bytesFull": planned.bytes_full,
        "bytesPlanned": planned.bytes_planned,
    }


@dataclass(frozen=True, slots=True)
class Pair:
    """An image some targets run, and what became of a delta from it; `row` None: nobody has asked for one."""

    image_sha256: str
    versions: tuple[str, ...]
    formats: int
    targets: int
    status: str
    reason: str | None
    full_size: int
    row: Delta | None


async def pairs(session: AsyncSession, release: DistributionSet, limits: Limits) -> list[Pair]:
    """What the targets a release is for run now, and every delta there is to it, most targets first (bounded)."""
    wanted = await image_of_set(session, release.id)
    if wanted is None or wanted.image_sha256 is None:
        return []
    rows = await session.scalars(
        select(Delta)
        .where(Delta.tenant_id == release.tenant_id, Delta.to_sha256 == wanted.image_sha256)
        .order_by(Delta.id)
        .limit(MAX_BASES)
    )
    made = {(row.from_sha256, row.formats): row for row in rows}
    fits = (Target.tenant_id == release.tenant_id, compatible(release.target_type_id))
    others = (Target.image_sha256.is_not(None), Target.image_sha256 != wanted.image_sha256)
    running = {(one.image_sha256 or "", one.formats): one.targets for one in await shares(session, *fits, *others)}
    keys = [*list(running)[:MAX_BASES], *(key for key in made if key not in running)]
    known = await images(session, release.tenant_id, {base for base, _ in keys} | {wanted.image_sha256})
    names = await _versions(session, release.tenant_id, known)
    found = []
    for base, formats in keys:
        row = made.get((base, formats))
        why = refusal(known.get(base), known[wanted.image_sha256], limits) if formats else None
        status, reason = ("none", None) if why is None else (str(DeltaStatus.REFUSED), str(why))
        if row is not None:
            status, reason = row.status, row.reason
        told = (status, reason, wanted.size, row)
        found.append(Pair(base, names.get(base, ()), formats, running.get((base, formats), 0), *told))
    return found


async def _versions(session: AsyncSession, tenant_id: int, hashes: Iterable[str]) -> dict[str, tuple[str, ...]]:
    rows = await session.execute(
        select(Artifact.image_sha256, SoftwareModule.version)
        .join(SoftwareModule, SoftwareModule.id == Artifact.software_module_id)
        .where(Artifact.tenant_id == tenant_id, Artifact.image_sha256.in_(sorted(hashes)))
        .order_by(Artifact.id)
    )
    found: dict[str, tuple[str, ...]] = {}
    for sha256, version in rows:
        there = found.get(sha256 or "", ())
        if version not in there:
            found[sha256 or ""] = (*there, version)
    return found


def reason_text(reason: str | None) -> str | None:
    """A reason in words; of a failure it is words already."""
    return REFUSAL_TEXTS[Refusal(reason)] if reason in set(Refusal) else reason
