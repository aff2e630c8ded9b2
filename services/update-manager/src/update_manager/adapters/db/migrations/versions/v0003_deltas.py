"""Deltas: what a target runs and takes, the hash of an image as devices know it, pairs, how an action was delivered.

New columns are empty or have a constant default, so no row is rewritten; older images get their hash from the sweep.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Walk forward."""
    op.add_column("target", sa.Column("image_sha256", sa.String(length=64), nullable=True))
    op.add_column("target", sa.Column("delta_formats", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "ix_target_image",
        "target",
        ["tenant_id", "image_sha256", "delta_formats"],
        postgresql_where=sa.text("image_sha256 IS NOT NULL"),
    )
    op.add_column("action", sa.Column("delivery", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("artifact", sa.Column("image_sha256", sa.String(length=64), nullable=True))
    op.create_index(op.f("ix_artifact_image_sha256"), "artifact", ["image_sha256"])
    op.create_table(
        "delta",
        sa.Column("from_sha256", sa.String(length=64), nullable=False),
        sa.Column("to_sha256", sa.String(length=64), nullable=False),
        sa.Column("formats", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("full_size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("format", sa.Integer(), nullable=True),
        sa.Column("creation_milliseconds", sa.Integer(), nullable=True),
        sa.Column("uses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_delta_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delta")),
        sa.UniqueConstraint(
            "tenant_id",
            "to_sha256",
            "from_sha256",
            "formats",
            name=op.f("uq_delta_tenant_id_to_sha256_from_sha256_formats"),
        ),
    )
    op.create_index(op.f("ix_delta_tenant_id"), "delta", ["tenant_id"])
    op.create_index(op.f("ix_delta_sha256"), "delta", ["sha256"])
    op.create_index("ix_delta_wanted", "delta", ["id"], postgresql_where=sa.text("status = 'wanted'"))


def downgrade() -> None:
    """Walk back."""
    op.drop_table("delta")
    op.drop_index(op.f("ix_artifact_image_sha256"), table_name="artifact")
    op.drop_column("artifact", "image_sha256")
    op.drop_column("action", "delivery")
    op.drop_index("ix_target_image", table_name="target")
    op.drop_column("target", "delta_formats")
    op.drop_column("target", "image_sha256")
