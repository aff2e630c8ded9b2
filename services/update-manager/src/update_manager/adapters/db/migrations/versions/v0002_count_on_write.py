"""Count on write: triggers note what each statement changes in a rollout group's numbers; keyset group starts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What is counted of a group's actions, besides how many there are: by the triggers from now on, once of what was there.
COUNTED = {
    # A download-only action has done its work when the bytes are there.
    "finished": "status = 'finished' OR (status = 'downloaded' AND NOT active)",
    "error": "status = 'error'",
    "cancelled": "status = 'canceled'",
    "already_installed": "already_installed",
}
COUNTS = ("started", *COUNTED)
SHARES = ", ".join(("sum(sign)", *(f"coalesce(sum(sign) FILTER (WHERE {one}), 0)" for one in COUNTED.values())))
COLUMNS = "rollout_id, rollout_group_id, status, active, already_installed"
SIDES = {
    "insert": ((1, "new_rows"),),
    "update": ((1, "new_rows"), (-1, "old_rows")),
    "delete": ((-1, "old_rows"),),
}


def _trigger(table: str, event: str, body: str) -> None:
    """A statement-level trigger: one slip per group and statement, however many rows."""
    name = f"tally_{table}_{event}"
    sides = [side for _, side in SIDES[event]]
    seen = " ".join(f"{'NEW' if side == 'new_rows' else 'OLD'} TABLE AS {side}" for side in sides)
    op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$")
    op.execute(
        f"CREATE TRIGGER {name} AFTER {event.upper()} ON {table} REFERENCING {seen} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
    )


def _create_triggers() -> None:
    slip = f"INSERT INTO rollout_tally (rollout_id, group_id, total_targets, {', '.join(COUNTS)}) "
    for event, sides in SIDES.items():
        rows = " UNION ALL ".join(f"SELECT {sign} AS sign, {COLUMNS} FROM {side}" for sign, side in sides)  # noqa: S608
        _trigger(
            "action",
            event,
            slip + f"SELECT * FROM (SELECT rollout_id, rollout_group_id, 0, {SHARES} FROM ({rows}) AS changed "  # noqa: S608
            "WHERE rollout_id IS NOT NULL AND rollout_group_id IS NOT NULL "
            "GROUP BY rollout_id, rollout_group_id) AS slip (r, g, t, a, b, c, d, e) "
            "WHERE (a, b, c, d, e) <> (0, 0, 0, 0, 0)",
        )
    _trigger(
        "rollout_target",
        "delete",
        slip + "SELECT rollout_id, group_id, -count(*), 0, 0, 0, 0, 0 FROM old_rows GROUP BY 1, 2",  # noqa: S608
    )


def upgrade() -> None:
    """Walk forward."""
    op.create_table(
        "rollout_tally",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("rollout_id", sa.BigInteger(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("total_targets", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in COUNTS),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout_tally")),
    )
    op.create_index(op.f("ix_rollout_tally_rollout_id"), "rollout_tally", ["rollout_id"])
    for name in COUNTS:
        op.add_column("rollout_group", sa.Column(name, sa.Integer(), server_default="0", nullable=False))
    op.add_column("rollout_group", sa.Column("started_up_to", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("rollout_group", sa.Column("passed", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("rollout", sa.Column("rests_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("action_status", sa.Column("by_device", sa.Boolean(), server_default="false", nullable=False))
    op.create_index("ix_action_active", "action", ["id"], postgresql_where=sa.text("active"))
    op.create_index("ix_rollout_target_group_id_target_id", "rollout_target", ["group_id", "target_id"])
    op.drop_index("ix_rollout_target_group_id", table_name="rollout_target")
    # The triggers come first: making them locks out writers, so what is counted below is all there is.
    _create_triggers()
    there = ", ".join(("count(*)", *(f"count(*) FILTER (WHERE {one})" for one in COUNTED.values())))
    op.execute(
        f"UPDATE rollout_group SET ({', '.join(COUNTS)}, started_up_to) = (SELECT {there}, "  # noqa: S608
        "coalesce(max(target_id), 0) FROM action WHERE action.rollout_group_id = rollout_group.id)"
    )
    op.execute(
        "UPDATE rollout_group SET status = 'scheduled' WHERE status = 'ready' AND rollout_id IN "
        "(SELECT id FROM rollout WHERE status IN ('starting', 'running', 'paused'))"
    )


def downgrade() -> None:
    """Walk back."""
    for table, event in (("rollout_target", "delete"), *(("action", event) for event in SIDES)):
        op.execute(f"DROP TRIGGER tally_{table}_{event} ON {table}")
        op.execute(f"DROP FUNCTION tally_{table}_{event}()")
    op.create_index("ix_rollout_target_group_id", "rollout_target", ["group_id"])
    op.drop_index("ix_rollout_target_group_id_target_id", table_name="rollout_target")
    op.drop_index("ix_action_active", table_name="action")
    op.drop_column("action_status", "by_device")
    op.drop_column("rollout", "rests_until")
    for name in ("passed", "started_up_to", *reversed(COUNTS)):
        op.drop_column("rollout_group", name)
    op.drop_index(op.f("ix_rollout_tally_rollout_id"), table_name="rollout_tally")
    op.drop_table("rollout_tally")
