"""`python -m update_manager api | worker | beat | migrate | password NAME | healthy ROLE`."""

import argparse
import asyncio
import sys
from typing import Literal

import servicekit
from update_manager.errors import UpdateManagerError
from update_manager.settings import UpdateManagerSettings

DESCRIPTION = """The update manager. Settings are environment variables (DATABASE_URL, REDIS_URL,
UPDATE_MANAGER_*), listed in docs/configuration.md."""


def main() -> None:
    """Read settings, set up logs, run one role."""
    parser = argparse.ArgumentParser(prog="python -m update_manager", description=DESCRIPTION)
    roles = parser.add_subparsers(dest="role", required=True, metavar="ROLE")
    roles.add_parser("api", help="serve the Management API and the device API over HTTP")
    roles.add_parser("worker", help="carry out rollout steps and take in what gateways report")
    roles.add_parser("beat", help="ring for due rollout steps (run one)")
    roles.add_parser("migrate", help="bring the database to this release; run before the other roles")
    password = roles.add_parser("password", help="set an operator's password, read from standard input")
    password.add_argument("name", help="user name; made when it does not exist")
    healthy = roles.add_parser("healthy", help="tell by its heartbeat whether worker or beat lives on this host")
    healthy.add_argument("which", choices=("worker", "beat"), metavar="worker|beat")
    arguments = parser.parse_args()
    settings = servicekit.load(UpdateManagerSettings)
    servicekit.configure(settings.log_level)
    match arguments.role:
        case "api":
            _api(settings)
        case "migrate":
            _migrate(settings)
        case "password":
            asyncio.run(_password(settings, arguments.name))
        case "healthy":
            _healthy(settings, arguments.which)
        case role:
            from update_manager.entrypoints.worker.run import run_beat, run_worker

            (run_worker if role == "worker" else run_beat)(settings)


def _migrate(settings: UpdateManagerSettings) -> None:
    from update_manager.adapters.db.migrate import CannotMigrate, migrate

    try:
        migrate(settings.database_url.get_secret_value(), settings.tenant)
    except CannotMigrate as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None


def _api(settings: UpdateManagerSettings) -> None:
    import uvicorn

    from update_manager.entrypoints.app import create_app

    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


def _healthy(settings: UpdateManagerSettings, role: Literal["worker", "beat"]) -> None:
    from update_manager.entrypoints.worker.heartbeat import check

    lives, sentence = check(settings, role)
    (sys.stdout if lives else sys.stderr).write(f"{sentence}\n")
    raise SystemExit(0 if lives else 1)


async def _password(settings: UpdateManagerSettings, name: str) -> None:
    from update_manager.adapters.db.session import Database
    from update_manager.application.principal import set_password

    database = Database(settings.database_url.get_secret_value())
    try:
        async with database.write() as session:
            await set_password(session, settings.tenant, name, sys.stdin.readline().rstrip("\n"))
    except UpdateManagerError as error:
        sys.stderr.write(f"{error.message}\n")
        raise SystemExit(1) from error
    finally:
        await database.close()


if __name__ == "__main__":
    main()
