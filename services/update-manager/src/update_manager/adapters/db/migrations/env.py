"""Alembic's entry: one transaction per revision, locks given up after five seconds."""

from alembic import context
from sqlalchemy import create_engine, text

from update_manager.adapters.db.tables import Base


def run() -> None:
    """Run migrations on the URL that `migrate` put into the configuration."""
    engine = create_engine(context.config.attributes["url"])
    try:
        with engine.connect() as connection:
            connection.execute(text("SET lock_timeout = '5s'"))
            connection.commit()
            context.configure(
                connection=connection, target_metadata=Base.metadata, transaction_per_migration=True, compare_type=True
            )
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()


run()
