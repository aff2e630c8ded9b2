"""What can be installed: software modules and their types, artifacts, distribution sets and their types."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
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

distribution_set_module = Table(
    "distribution_set_module",
    Base.metadata,
    Column("distribution_set_id", ForeignKey("distribution_set.id", ondelete="CASCADE"), primary_key=True),
    Column("software_module_id", ForeignKey("software_module.id", ondelete="CASCADE"), primary_key=True),
)

distribution_set_type_module_type = Table(
    "distribution_set_type_module_type",
    Base.metadata,
    Column(
        "distribution_set_type_id",
        ForeignKey("distribution_set_type.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("software_module_type_id", ForeignKey("software_module_type.id", ondelete="CASCADE"), primary_key=True),
    Column("mandatory", Boolean, nullable=False, default=True),
)


class SoftwareModuleType(TenantOwned, Audited, Base):
    """A kind of software module, such as `firmware`, `os` or `application`."""

    __tablename__ = "software_module_type"
    __table_args__ = (UniqueConstraint("tenant_id", "key"), UniqueConstraint("tenant_id", "name"))

    key: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str | None] = mapped_column(String(512))
    colour: Mapped[str | None] = mapped_column(String(16))
    max_assignments: Mapped[int] = mapped_column(Integer, default=1)
    deleted: Mapped[bool] = mapped_column(Boolean, default=False)


class DistributionSetType(TenantOwned, Audited, Base):
    """Which module types a distribution set is made of."""

    __tablename__ = "distribution_set_type"
    __table_args__ = (UniqueConstraint("tenant_id", "key"), UniqueConstraint("tenant_id", "name"))

    key: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str | None] = mapped_column(String(512))
    colour: Mapped[str | None] = mapped_column(String(16))
    deleted: Mapped[bool] = mapped_column(Boolean, default=False)
    mandatory: Mapped[list[SoftwareModuleType]] = relationship(
        secondary=distribution_set_type_module_type,
        secondaryjoin=(SoftwareModuleType.id == distribution_set_type_module_type.c.software_module_type_id)
        & distribution_set_type_module_type.c.mandatory,
        order_by=SoftwareModuleType.id,
        viewonly=True,
        lazy="raise",
    )
    optional: Mapped[list[SoftwareModuleType]] = relationship(
        secondary=distribution_set_type_module_type,
        secondaryjoin=(SoftwareModuleType.id == distribution_set_type_module_type.c.software_module_type_id)
        & ~distribution_set_type_module_type.c.mandatory,
        order_by=SoftwareModuleType.id,
        viewonly=True,
        lazy="raise",
    )


class SoftwareModule(TenantOwned, Audited, Base):
    """One installable part in one version."""

    __tablename__ = "software_module"
    __table_args__ = (UniqueConstraint("tenant_id", "type_id", "name", "version"),)

    type_id: Mapped[int] = mapped_column(ForeignKey("software_module_type.id"))
    name: Mapped[str] = mapped_column(String(128))
    version: Mapped[str] = mapped_column(String(64))
    description: Mapped[str | None] = mapped_column(String(512))
    vendor: Mapped[str | None] = mapped_column(String(256))
    locked: Mapped[bool] = mapped_column(Boolean, default=False)
    deleted: Mapped[bool] = mapped_column(Boolean, default=False)
    type: Mapped[SoftwareModuleType] = relationship(lazy="raise")
    artifacts: Mapped[list["Artifact"]] = relationship(
        lazy="raise", back_populates="module", order_by="Artifact.id", passive_deletes=True
    )


class Artifact(TenantOwned, Audited, Base):
    """A file of a software module; the bytes lie once in the artifact store under their SHA-256."""

    __tablename__ = "artifact"
    __table_args__ = (UniqueConstraint("software_module_id", "filename"),)

    software_module_id: Mapped[int] = mapped_column(ForeignKey("software_module.id", ondelete="CASCADE"), index=True)
    filename: Mapped[str] = mapped_column(String(512))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    sha1: Mapped[str] = mapped_column(String(40))
    md5: Mapped[str] = mapped_column(String(32))
    # What the image inspector read (version, security counter, hashes, TLVs); null for files that are no image.
    image_facts: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    # SHA-256 of an image without its padding: what a device that runs it reports. Null for files that are no image.
    image_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    module: Mapped[SoftwareModule] = relationship(lazy="raise", back_populates="artifacts")


class DistributionSet(TenantOwned, Audited, Base):
    """A set of software modules that is assigned to targets as one; Updraft's screens call it a release."""

    __tablename__ = "distribution_set"
    __table_args__ = (
        UniqueConstraint("tenant_id", "name", "version"),
        Index("ix_distribution_set_live", "tenant_id", "id", postgresql_where=text("NOT deleted")),
    )

    type_id: Mapped[int] = mapped_column(ForeignKey("distribution_set_type.id"))
    name: Mapped[str] = mapped_column(String(128))
    version: Mapped[str] = mapped_column(String(64))
    description: Mapped[str | None] = mapped_column(Text)
    required_migration_step: Mapped[bool] = mapped_column(Boolean, default=False)
    locked: Mapped[bool] = mapped_column(Boolean, default=False)
    deleted: Mapped[bool] = mapped_column(Boolean, default=False)
    valid: Mapped[bool] = mapped_column(Boolean, default=True)
    # The product whose signing keys vouch for this set; null for sets made by plain hawkBit scripts.
    target_type_id: Mapped[int | None] = mapped_column(ForeignKey("target_type.id"))
    type: Mapped[DistributionSetType] = relationship(lazy="raise")
    modules: Mapped[list[SoftwareModule]] = relationship(
        secondary=distribution_set_module, lazy="raise", order_by=SoftwareModule.id
    )

    @property
    def complete(self) -> bool:
        """It has a module of every mandatory type; `type.mandatory` and `modules` must be loaded."""
        present = {module.type_id for module in self.modules}
        return bool(present) and all(kind.id in present for kind in self.type.mandatory)
