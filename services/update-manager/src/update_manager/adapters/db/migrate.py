"""Bringing a database to this release: Alembic in code, then the rows every tenant starts with."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from update_manager.adapters.db import tables
from update_manager.adapters.db.session import sqlalchemy_url

MODULE_TYPES = (
    ("firmware", "Firmware", "An MCUboot image or another firmware file", 1),
    ("os", "OS", "Core firmware or operating system", 1),
    ("application", "Application", "Application add-ons", 2**31 - 1),
    ("runtime", "Runtime", "Runtime libraries", 1),
)
# key, name, mandatory module types, optional ones
SET_TYPES = (
    ("firmware", "Firmware", ("firmware",), ()),
    ("os", "OS only", ("os",), ()),
    ("os_app", "OS with app(s)", ("os",), ("application",)),
    ("app", "App(s) only", ("application",), ()),
)


class CannotMigrate(Exception):
    """The database cannot be brought to this release; the message says why and what to do."""


def configuration(database_url: str) -> Config:
    """Alembic's configuration without a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = sqlalchemy_url(database_url)
    return config


def migrate(database_url: str, tenant: str) -> None:
    """Upgrade to the newest revision and seed the tenant; running it again changes nothing. Raises CannotMigrate."""
    try:
        command.upgrade(configuration(database_url), "head")
    except CommandError as error:
        raise CannotMigrate(
            f"the database was made by a newer release ({error}): run that one, or restore a backup of this one"
        ) from error
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise CannotMigrate(f"the database cannot be brought to this release: {reason}") from error
    engine = create_engine(sqlalchemy_url(database_url))
    try:
        with engine.begin() as connection:
            _seed(connection, tenant)
    finally:
        engine.dispose()


def _seed(connection: Connection, tenant: str) -> None:
    t = tables
    connection.execute(insert(t.Tenant).values(name=tenant).on_conflict_do_nothing())
    tenant_id = connection.execute(select(t.Tenant.id).where(t.Tenant.name == tenant)).scalar_one()
    for key, name, description, most in MODULE_TYPES:
        row = {"tenant_id": tenant_id, "key": key, "name": name, "description": description, "max_assignments": most}
        connection.execute(insert(t.SoftwareModuleType).values(**row).on_conflict_do_nothing())
    for key, name, mandatory, optional in SET_TYPES:
        row = {"tenant_id": tenant_id, "key": key, "name": name}
        connection.execute(insert(t.DistributionSetType).values(**row).on_conflict_do_nothing())
        for module_key in mandatory + optional:
            type_id = (
                select(t.DistributionSetType.id)
                .where(t.DistributionSetType.tenant_id == tenant_id, t.DistributionSetType.key == key)
                .scalar_subquery()
            )
            module_id = (
                select(t.SoftwareModuleType.id)
                .where(t.SoftwareModuleType.tenant_id == tenant_id, t.SoftwareModuleType.key == module_key)
                .scalar_subquery()
            )
            link = {"distribution_set_type_id": type_id, "software_module_type_id": module_id}
            statement = insert(t.distribution_set_type_module_type).values(**link, mandatory=module_key in mandatory)
            connection.execute(statement.on_conflict_do_nothing())
