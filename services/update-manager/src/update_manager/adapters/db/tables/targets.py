"""Devices as the update manager sees them: targets, their types (products), signing keys, attributes, tags, filters."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from update_manager.adapters.db.tables.base import Audited, Base, TenantOwned

target_tag_assignment = Table(
    "target_tag_assignment",
    Base.metadata,
    Column("target_id", ForeignKey("target.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", ForeignKey("target_tag.id", ondelete="CASCADE"), primary_key=True, index=True),
)

target_type_distribution_set_type = Table(
    "target_type_distribution_set_type",
    Base.metadata,
    Column("target_type_id", ForeignKey("target_type.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "distribution_set_type_id",
        ForeignKey("distribution_set_type.id", ondelete="CASCADE"),
        primary_key=True,
    ),
)


class TargetType(TenantOwned, Audited, Base):
    """A product: one kind of device, with the public keys that sign its images."""

    __tablename__ = "target_type"
    __table_args__ = (UniqueConstraint("tenant_id", "key"), UniqueConstraint("tenant_id", "name"))

    key: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str | None] = mapped_column(String(512))
    colour: Mapped[str | None] = mapped_column(String(16))
    max_image_bytes: Mapped[int | None] = mapped_column(BigInteger)


class SigningKey(TenantOwned, Audited, Base):
    """A public key a product's images may be signed with; the private key never comes here."""

    __tablename__ = "signing_key"
    __table_args__ = (UniqueConstraint("target_type_id", "fingerprint"),)

    target_type_id: Mapped[int] = mapped_column(ForeignKey("target_type.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(128))
    algorithm: Mapped[str] = mapped_column(String(32))
    public_key_pem: Mapped[str] = mapped_column(Text)
    # SHA-256 of the DER public key: what MCUboot's KEYHASH TLV carries.
    fingerprint: Mapped[str] = mapped_column(String(64))


class Target(TenantOwned, Audited, Base):
    """One device."""

    __tablename__ = "target"
    __table_args__ = (
        UniqueConstraint("tenant_id", "controller_id"),
        Index("ix_target_tenant_status", "tenant_id", "update_status"),
        Index("ix_target_assigned", "assigned_distribution_set_id"),
        Index("ix_target_installed", "installed_distribution_set_id"),
        Index(
            "ix_target_image",
            "tenant_id",
            "image_sha256",
            "delta_formats",
            postgresql_where=text("image_sha256 IS NOT NULL"),
        ),
    )

    controller_id: Mapped[str] = mapped_column(String(256))
    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str | None] = mapped_column(String(512))
    group_name: Mapped[str | None] = mapped_column(String(256))
    address: Mapped[str | None] = mapped_column(String(512))
    security_token: Mapped[str] = mapped_column(String(128))
    update_status: Mapped[str] = mapped_column(String(16), default="unknown")
    request_attributes: Mapped[bool] = mapped_column(Boolean, default=True)
    last_controller_request_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    installed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    target_type_id: Mapped[int | None] = mapped_column(ForeignKey("target_type.id"))
    assigned_distribution_set_id: Mapped[int | None] = mapped_column(ForeignKey("distribution_set.id"))
    installed_distribution_set_id: Mapped[int | None] = mapped_column(ForeignKey("distribution_set.id"))
    # Presence as the gateway tells it: online or offline; `late` and `never` follow from the times.
    presence_state: Mapped[str | None] = mapped_column(String(16))
    last_seen_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    expected_by: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    queue_mode: Mapped[bool] = mapped_column(Boolean, default=False)
    lwm2m_version: Mapped[str | None] = mapped_column(String(16))
    telemetry: Mapped[dict[str, str]] = mapped_column(JSONB, default=dict, server_default="{}")
    # The image it says it runs (/26250/0/0, hex), the deltas it takes (/26250/0/3, mask of firmware_delta.Compression).
    image_sha256: Mapped[str | None] = mapped_column(String(64))
    delta_formats: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    target_type: Mapped[TargetType | None] = relationship(lazy="raise")
    tags: Mapped[list["TargetTag"]] = relationship(secondary=target_tag_assignment, lazy="raise")


class TargetAttribute(Base):
    """One key and value the device said of itself (DDI configData, LwM2M registration)."""

    __tablename__ = "target_attribute"
    __table_args__ = (Index("ix_target_attribute_key_value", "key", "value"),)

    target_id: Mapped[int] = mapped_column(ForeignKey("target.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    value: Mapped[str] = mapped_column(String(128))


class TargetMetadata(Base):
    """One key and value the operator keeps with a target."""

    __tablename__ = "target_metadata"

    target_id: Mapped[int] = mapped_column(ForeignKey("target.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    value: Mapped[str] = mapped_column(String(4000))


class TargetTag(TenantOwned, Audited, Base):
    """A label operators put on targets."""

    __tablename__ = "target_tag"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str | None] = mapped_column(String(512))
    colour: Mapped[str | None] = mapped_column(String(16))


class TargetFilter(TenantOwned, Audited, Base):
    """A stored RSQL query over targets."""

    __tablename__ = "target_filter"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    name: Mapped[str] = mapped_column(String(128))
    query: Mapped[str] = mapped_column(Text)
    auto_assign_distribution_set_id: Mapped[int | None] = mapped_column(ForeignKey("distribution_set.id"))
    auto_assign_action_type: Mapped[str | None] = mapped_column(String(16))
    auto_assign_weight: Mapped[int | None] = mapped_column(Integer)


class TargetEvent(Base):
    """A line of a device's history: registered, telemetry changed, phase reached, protocol trace (`kind` says which).

    `id` is the producer's own event id, so an event that arrives twice is stored once.
    """

    __tablename__ = "target_event"
    __table_args__ = (Index("ix_target_event_target_at", "target_id", "at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    target_id: Mapped[int] = mapped_column(ForeignKey("target.id", ondelete="CASCADE"))
    action_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    kind: Mapped[str] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, object]] = mapped_column(JSONB, default=dict, server_default="{}")
