"""People and programs that may ask: users, API tokens (sessions among them), the audit trail."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, DateTime, ForeignKey, String, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from update_manager.adapters.db.tables.base import Audited, Base, TenantOwned


class User(TenantOwned, Audited, Base):
    """An operator; the password is kept as a scrypt hash."""

    __tablename__ = "operator"
    __table_args__ = (UniqueConstraint("tenant_id", "username"),)

    username: Mapped[str] = mapped_column(String(64))
    password_hash: Mapped[str] = mapped_column(String(256))
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)


class ApiToken(TenantOwned, Audited, Base):
    """A bearer token of a user; only its SHA-256 is stored, so a leaked table opens nothing."""

    __tablename__ = "api_token"

    user_id: Mapped[int] = mapped_column(ForeignKey("operator.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(128), default="session")
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class AuditEntry(TenantOwned, Base):
    """Who did what to which thing, when; never changed, never deleted with its subject."""

    __tablename__ = "audit_entry"

    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now(), index=True)
    username: Mapped[str] = mapped_column(String(64))
    verb: Mapped[str] = mapped_column(String(64))
    subject_type: Mapped[str] = mapped_column(String(64))
    subject_id: Mapped[str] = mapped_column(String(256))
    summary: Mapped[str] = mapped_column(Text, default="")
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
