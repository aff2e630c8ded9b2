"""Which product a device is of: what it says about itself, compared with the keys of the products.

Either may come first. A device that reports is given its product at once (DDI configData); a product that is created
adopts the devices that were there before it.
"""

from typing import Final

from sqlalchemy import case, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from update_manager.adapters.db.tables import Target, TargetAttribute, TargetType

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
