"""What is being done: rollouts, their groups, actions, and the status log of each action."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from update_manager.adapters.db.tables.base import Audited, Base, TenantOwned
from update_manager.adapters.db.tables.software import DistributionSet
from update_manager.adapters.db.tables.targets import Target


class Rollout(TenantOwned, Audited, Base):
    """One distribution set for all targets of a filter, group after group. The row is the truth; tasks only ring."""

    __tablename__ = "rollout"
    __table_args__ = (Index("ix_rollout_due", "next_step_at", postgresql_where=text("next_step_at IS NOT NULL")),)

    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str | None] = mapped_column(String(512))
    status: Mapped[str] = mapped_column(String(24))
    target_filter_query: Mapped[str] = mapped_column(Text)
    distribution_set_id: Mapped[int] = mapped_column(ForeignKey("distribution_set.id"))
    action_type: Mapped[str] = mapped_column(String(16), default="forced")
    forced_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    start_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    weight: Mapped[int | None] = mapped_column(Integer)
    total_targets: Mapped[int] = mapped_column(Integer, default=0)
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # When a worker should next look; null means there is nothing to do until somebody asks.
    next_step_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Set when a step failed for a reason nobody foresaw: until then the others go first.
    rests_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Keyset position of target collection, so that a killed worker goes on where it was.
    collected_up_to: Mapped[int] = mapped_column(BigInteger, default=0)
    pause_reason: Mapped[str | None] = mapped_column(Text)
    plan: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    deleted: Mapped[bool] = mapped_column(Boolean, default=False)
    distribution_set: Mapped[DistributionSet] = relationship(lazy="raise")


class RolloutGroup(TenantOwned, Audited, Base):
    """A step of a rollout: its share of the targets and the thresholds that let the next one start."""

    __tablename__ = "rollout_group"
    __table_args__ = (UniqueConstraint("rollout_id", "position"),)

    rollout_id: Mapped[int] = mapped_column(ForeignKey("rollout.id", ondelete="CASCADE"), index=True)
    position: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str | None] = mapped_column(String(512))
    status: Mapped[str] = mapped_column(String(24))
    target_filter_query: Mapped[str | None] = mapped_column(Text)
    target_percentage: Mapped[float | None] = mapped_column()
    success_threshold: Mapped[int] = mapped_column(Integer, default=50)
    success_action: Mapped[str] = mapped_column(String(16), default="NEXTGROUP")
    # No default here: SQLAlchemy would put it in the place of None, which means "never pauses".
    error_threshold: Mapped[int | None] = mapped_column(Integer)
    error_action: Mapped[str] = mapped_column(String(16), default="PAUSE")
    # The success action was carried out once, so a rollout that pauses after this group can be resumed.
    passed: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    # Keyset position of the group's start: the last target that got its action.
    started_up_to: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    # Targets and their actions, counted as of the last step; what changed since lies in rollout_tally.
    total_targets: Mapped[int] = mapped_column(Integer, default=0)
    started: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    finished: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    error: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    cancelled: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    already_installed: Mapped[int] = mapped_column(Integer, default=0, server_default="0")


class RolloutTally(Base):
    """What one statement changed in a group's counts, as differences; written by triggers on action and rollout_target.

    Slips are only ever added, so a thousand devices that report at once wait for nobody; the next step of the rollout
    adds them to the group and throws them away. No foreign keys: checking one would wait for the worker's lock.
    """

    __tablename__ = "rollout_tally"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    rollout_id: Mapped[int] = mapped_column(BigInteger, index=True)
    group_id: Mapped[int] = mapped_column(BigInteger)
    total_targets: Mapped[int] = mapped_column(Integer)
    started: Mapped[int] = mapped_column(Integer)
    finished: Mapped[int] = mapped_column(Integer)
    error: Mapped[int] = mapped_column(Integer)
    cancelled: Mapped[int] = mapped_column(Integer)
    already_installed: Mapped[int] = mapped_column(Integer)


class RolloutTarget(Base):
    """Membership of a target in a rollout group, fixed when the rollout is created."""

    __tablename__ = "rollout_target"
    __table_args__ = (Index("ix_rollout_target_group_id_target_id", "group_id", "target_id"),)

    rollout_id: Mapped[int] = mapped_column(ForeignKey("rollout.id", ondelete="CASCADE"), primary_key=True)
    target_id: Mapped[int] = mapped_column(ForeignKey("target.id", ondelete="CASCADE"), primary_key=True, index=True)
    group_id: Mapped[int] = mapped_column(ForeignKey("rollout_group.id", ondelete="CASCADE"))


class Action(TenantOwned, Audited, Base):
    """One distribution set for one target; at most one of a target's actions is active (the index holds it)."""

    __tablename__ = "action"
    __table_args__ = (
        Index(
            "uq_action_one_active",
            "target_id",
            unique=True,
            postgresql_where=text("active AND status <> 'scheduled'"),
        ),
        UniqueConstraint("rollout_id", "target_id"),
        Index("ix_action_group_status", "rollout_group_id", "status"),
        Index("ix_action_rollout_status", "rollout_id", "status"),
        Index("ix_action_target", "target_id", "id"),
        Index("ix_action_active", "id", postgresql_where=text("active")),
    )

    target_id: Mapped[int] = mapped_column(ForeignKey("target.id", ondelete="CASCADE"))
    distribution_set_id: Mapped[int] = mapped_column(ForeignKey("distribution_set.id"))
    rollout_id: Mapped[int | None] = mapped_column(ForeignKey("rollout.id", ondelete="SET NULL"))
    rollout_group_id: Mapped[int | None] = mapped_column(ForeignKey("rollout_group.id", ondelete="SET NULL"))
    # hawkBit's ActionStatus in lower case: scheduled, running, retrieved, download, downloaded, warning,
    # canceling, canceled, finished, error.
    status: Mapped[str] = mapped_column(String(24))
    active: Mapped[bool] = mapped_column(Boolean)
    action_type: Mapped[str] = mapped_column(String(16), default="forced")
    forced_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    weight: Mapped[int | None] = mapped_column(Integer)
    external_ref: Mapped[str | None] = mapped_column(String(512))
    last_status_code: Mapped[int | None] = mapped_column(Integer)
    # The target already ran the set when the group started: finished without a download.
    already_installed: Mapped[bool] = mapped_column(Boolean, default=False)
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # What the gateway and the proxy tell of the journey (docs/contracts.md, uplink events).
    phase: Mapped[str | None] = mapped_column(String(24))
    cause: Mapped[str | None] = mapped_column(String(64))
    cause_text: Mapped[str | None] = mapped_column(Text)
    download: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    # How the image was offered last, and the delta that was tried (docs/contracts.md, `delivery`).
    delivery: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    target: Mapped[Target] = relationship(lazy="raise")
    distribution_set: Mapped[DistributionSet] = relationship(lazy="raise")
    rollout: Mapped[Rollout | None] = relationship(lazy="raise")


class ActionStatus(Base):
    """One line of an action's log: what the device or the server said."""

    __tablename__ = "action_status"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    action_id: Mapped[int] = mapped_column(ForeignKey("action.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    status: Mapped[str] = mapped_column(String(24))
    code: Mapped[int | None] = mapped_column(Integer)
    cause: Mapped[str | None] = mapped_column(String(64))
    # Whether the device said it; the server's own lines are not sent back to devices as history.
    by_device: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    messages: Mapped[list[str]] = mapped_column(JSONB, default=list, server_default="[]")
