"""Deltas between released images: what was asked for, what came of it, how often it was used."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Index, Integer, String, Text, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from update_manager.adapters.db.tables.base import Base, TenantOwned


class Delta(TenantOwned, Base):
    """One pair of images with the formats it may be packed in; the row is the job, and the truth about its outcome.

    Images are named by hash and not by artifact: the same bytes may have been uploaded more than once. The bytes of a
    ready delta lie in the artifact store under `sha256`.
    """

    __tablename__ = "delta"
    __table_args__ = (
        UniqueConstraint("tenant_id", "to_sha256", "from_sha256", "formats"),
        Index("ix_delta_wanted", "id", postgresql_where=text("status = 'wanted'")),
    )

    from_sha256: Mapped[str] = mapped_column(String(64))
    to_sha256: Mapped[str] = mapped_column(String(64))
    # A mask of firmware_delta.Compression: what the devices that ask for it can take.
    formats: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String(16))
    # Of a refusal its code, of a failure what went wrong.
    reason: Mapped[str | None] = mapped_column(Text)
    # Of a ready delta, and of one over the threshold.
    size: Mapped[int | None] = mapped_column(BigInteger)
    full_size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    # The one of `formats` that gave the smallest.
    format: Mapped[int | None] = mapped_column(Integer)
    creation_milliseconds: Mapped[int | None] = mapped_column(Integer)
    uses: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    judged_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    last_used_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
