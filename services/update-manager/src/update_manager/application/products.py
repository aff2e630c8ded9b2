"""Which product a device, and a set of images, is of.

A device says so itself; its words are compared with the keys of the products. Either may come first: a device that
reports is given its product at once (DDI configData), a product that is created adopts the devices that were there.
An image says so by the key that signed it.
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Select, any_, case, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.tables import (
    Artifact,
    DistributionSet,
    SigningKey,
    Target,
    TargetAttribute,
    TargetType,
    distribution_set_module,
)

# The first of these that a device reports names its product.
NAMING_ATTRIBUTES: Final = ("product", "target_type", "model")


async def adopt(session: AsyncSession, product: TargetType) -> None:
    """Give the product to every device of the tenant that names its key and has none yet; one statement."""
    rank = case({name: place for place, name in enumerate(NAMING_ATTRIBUTES)}, value=TargetAttribute.key)
    named = (
        select(TargetAttribute.value)
        .where(TargetAttribute.target_id == Target.id, TargetAttribute.key.in_(NAMING_ATTRIBUTES))
        .order_by(rank)
        .limit(1)
        .correlate(Target)
        .scalar_subquery()
    )
    await session.execute(
        update(Target)
        .where(Target.tenant_id == product.tenant_id, Target.target_type_id.is_(None), named == product.key)
        .values(target_type_id=product.id)
        .execution_options(synchronize_session=False)
    )


async def settle(session: AsyncSession, sets: "Select[Any]") -> None:
    """Give sets of images the product whose key signed them; one statement.

    A key that several products trust says nothing: such a set keeps its product when that is one of them, or has none.
    `sets` selects ids; sets without images stay as they are.
    """
    products = func.array_agg(SigningKey.target_type_id.distinct(), type_=ARRAY(BigInteger)).label("products")
    signed = (
        select(distribution_set_module.c.distribution_set_id.label("set_id"), products)
        .join(Artifact, Artifact.software_module_id == distribution_set_module.c.software_module_id)
        .join(
            SigningKey,
            (SigningKey.tenant_id == Artifact.tenant_id)
            & (SigningKey.fingerprint == Artifact.image_facts["facts"]["keyHash"].astext),
        )
        .where(distribution_set_module.c.distribution_set_id.in_(sets))
        .group_by(distribution_set_module.c.distribution_set_id)
        .subquery()
    )
    settled = case(
        (DistributionSet.target_type_id == any_(signed.c.products), DistributionSet.target_type_id),
        (func.cardinality(signed.c.products) == 1, signed.c.products[1]),
        else_=None,
    )
    await session.execute(
        update(DistributionSet)
        .where(DistributionSet.id == signed.c.set_id)
        .values(target_type_id=settled)
        .execution_options(synchronize_session=False)
    )
