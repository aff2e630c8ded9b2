"""Who may ask: no default password, Basic and sessions, a rest after wrong tries, an audit trail, silent logs."""

import asyncio
import base64
import hashlib
import logging
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

import servicekit
from update_manager.adapters.db import tables as t
from update_manager.adapters.db.session import Database
from update_manager.application import principal
from update_manager.entrypoints import dependencies
from update_manager.errors import ConstraintViolation
from update_manager.testing import GATEWAY_TOKEN, PASSWORD, TENANT, TOKEN, USERNAME, make_targets, ok

TARGETS = "/rest/v1/targets"
SESSIONS = "/rest/v1/sessions"


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


async def test_every_address_of_the_management_api_wants_credentials(app: FastAPI, stranger: httpx.AsyncClient) -> None:
    # A path of the other API (DDI) asks for a device's own credentials; signing in, of course, for none.
    free = {"/rest/v1/sessions", "/rest/v1/sessions/current"}
    asked = 0
    for path, operations in app.openapi()["paths"].items():
        if not path.startswith("/rest/v1") or path in free:
            continue
        for verb in operations:
            answer = await stranger.request(verb, path.replace("{", "").replace("}", ""))
            assert answer.status_code in (401, 400), f"{verb} {path} answered {answer.status_code} to a stranger"
            asked += answer.status_code == 401
    assert asked > 40, "most must get as far as the credentials"


async def test_a_stranger_with_good_paths_learns_nothing(stranger: httpx.AsyncClient) -> None:
    for path in (
        "targets",
        "targets/one",
        "overview",
        "releases",
        "rollouts/1/progress",
        "rollouts/1/events",
        "userinfo",
    ):
        answer = await stranger.get(f"/rest/v1/{path}")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert answer.json()["errorCode"] == "hawkbit.server.error.notAuthenticated"


async def test_basic_credentials_work_with_and_without_the_tenant(stranger: httpx.AsyncClient) -> None:
    for name in (USERNAME, f"DEFAULT\\{USERNAME}", f"default\\{USERNAME}"):
        who = ok(await stranger.get("/rest/v1/userinfo", headers=basic(name, PASSWORD)), 200)
        assert who == {"tenant": TENANT, "username": USERNAME}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        "Basic " + base64.b64encode(b"nobody").decode(),
        "Basic " + base64.b64encode(b"nul\0:x").decode(),
        "Basic " + base64.b64encode(f"ghost\\{USERNAME}:{PASSWORD}".encode()).decode(),
        "Bearer",
        "Bearer nonsense",
        f"Bearer {hashlib.sha256(TOKEN.encode()).hexdigest()}",
        f"GatewayToken {GATEWAY_TOKEN}",
        "TargetToken x",
        "Negotiate abc",
    ],
)
async def test_other_headers_are_refused(stranger: httpx.AsyncClient, header: str) -> None:
    answer = await stranger.get(TARGETS, headers={"Authorization": header})
    assert answer.status_code == 401


@pytest.mark.parametrize("password", ["", "admin", "operator", "password", PASSWORD.upper(), PASSWORD + " "])
async def test_there_is_no_default_password(stranger: httpx.AsyncClient, password: str) -> None:
    for name in ("admin", USERNAME):
        assert (await stranger.get(TARGETS, headers=basic(name, password))).status_code == 401
        answer = await stranger.post(SESSIONS, json={"username": name, "password": password})
        assert answer.status_code == 401


async def test_a_session_opens_and_closes(stranger: httpx.AsyncClient, database: Database) -> None:
    before = datetime.now(UTC)
    opened = ok(await stranger.post(SESSIONS, json={"username": USERNAME, "password": PASSWORD}), 201)
    lasts = datetime.fromtimestamp(opened["expiresAt"] / 1000, UTC) - before
    assert timedelta(hours=11) < lasts < timedelta(hours=13) and opened["username"] == USERNAME
    bearer = {"Authorization": f"Bearer {opened['token']}"}
    assert (await stranger.get(TARGETS, headers=bearer)).status_code == 200
    async with database.read() as session:
        stored = list(await session.scalars(select(t.ApiToken.token_sha256)))
    assert opened["token"] not in stored and hashlib.sha256(opened["token"].encode()).hexdigest() in stored
    assert (await stranger.delete(f"{SESSIONS}/current", headers=bearer)).status_code == 204
    assert (await stranger.get(TARGETS, headers=bearer)).status_code == 401


async def test_a_session_ends_with_its_time_its_user_or_a_new_password(
    stranger: httpx.AsyncClient, database: Database
) -> None:
    async def opened() -> dict[str, str]:
        made = ok(await stranger.post(SESSIONS, json={"username": USERNAME, "password": PASSWORD}), 201)
        return {"Authorization": f"Bearer {made['token']}"}

    first = await opened()
    async with database.write() as session:
        await session.execute(update(t.ApiToken).values(expires_at=datetime.now(UTC)))
    assert (await stranger.get(TARGETS, headers=first)).status_code == 401
    second = await opened()
    async with database.write() as session:
        await session.execute(update(t.User).values(enabled=False))
    assert (await stranger.get(TARGETS, headers=second)).status_code == 401
    refused = await stranger.post(SESSIONS, json={"username": USERNAME, "password": PASSWORD})
    assert refused.status_code == 401
    async with database.write() as session:
        await session.execute(update(t.User).values(enabled=True))
        await principal.set_password(session, TENANT, USERNAME, "another password")
    assert (await stranger.get(TARGETS, headers=second)).status_code == 401
    assert (await stranger.post(SESSIONS, json={"username": USERNAME, "password": PASSWORD})).status_code == 401
    answer = await stranger.post(SESSIONS, json={"username": USERNAME, "password": "another password"})
    assert answer.status_code == 201


async def test_setting_the_same_password_again_signs_nobody_out(
    app: FastAPI, stranger: httpx.AsyncClient, database: Database
) -> None:
    made = (await stranger.post(SESSIONS, json={"username": USERNAME, "password": PASSWORD})).json()
    async with database.write() as session:
        await principal.set_password(session, TENANT, USERNAME, PASSWORD)
    assert (await stranger.get(TARGETS, headers={"Authorization": f"Bearer {made['token']}"})).status_code == 200


@pytest.mark.parametrize("way", ["session", "basic"])
async def test_ten_wrong_tries_earn_a_rest_even_from_the_right_password(
    app: FastAPI, stranger: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    async def attempt(password: str, name: str = USERNAME) -> int:
        if way == "basic":
            return (await stranger.get(TARGETS, headers=basic(name, password))).status_code
        return (await stranger.post(SESSIONS, json={"username": name, "password": password})).status_code

    for number in range(dependencies.MAX_FAILURES):
        assert await attempt(f"guess {number}") == 401
    assert await attempt("guess again") == 429
    assert await attempt(PASSWORD) == 429
    assert await attempt("guess", "somebody else") == 401
    monkeypatch.setattr(dependencies, "FORGET_SECONDS", 0.0)
    assert await attempt(PASSWORD) in (200, 201)
    assert (TENANT, USERNAME) not in app.state.parts.failures


async def test_writing_the_name_in_another_way_buys_no_further_tries(stranger: httpx.AsyncClient) -> None:
    ways = (USERNAME, f"DEFAULT\\{USERNAME}", f"Default\\{USERNAME}", f"default\\{USERNAME}")
    for number in range(dependencies.MAX_FAILURES):
        guess = basic(ways[number % len(ways)], f"guess {number}")
        assert (await stranger.get(TARGETS, headers=guess)).status_code == 401
    for name in ways:
        assert (await stranger.get(TARGETS, headers=basic(name, PASSWORD))).status_code == 429
    assert (await stranger.get(TARGETS, headers=basic(f"ghost\\{USERNAME}", "x"))).status_code == 401, "another account"


async def test_tries_at_the_same_time_are_counted_each(
    stranger: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = 0
    real = principal.password_matches

    def counting(password: str, stored: str) -> bool:
        nonlocal checked
        checked += 1
        return real(password, stored)

    monkeypatch.setattr(principal, "password_matches", counting)
    guesses = (stranger.get(TARGETS, headers=basic(USERNAME, f"guess {number}")) for number in range(30))
    codes = [answer.status_code for answer in await asyncio.gather(*guesses)]
    assert (codes.count(401), codes.count(429), checked) == (10, 20, 10)
    assert (await stranger.get(TARGETS, headers=basic(USERNAME, PASSWORD))).status_code == 429


async def test_many_requests_at_once_with_the_right_password_all_get_in(stranger: httpx.AsyncClient) -> None:
    asked = (stranger.get(TARGETS, headers=basic(USERNAME, PASSWORD)) for _ in range(20))
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}


async def test_wrong_tries_do_not_fill_the_memory(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(principal, "password_matches", lambda *_: False)
    async with app.state.parts.database.read() as session:
        for number in range(dependencies.FAILURES + 20):
            with pytest.raises(Exception, match="wrong"):
                await dependencies.checked(app.state.parts, session, f"name{number}", "x")
    assert len(app.state.parts.failures) == dependencies.FAILURES


async def test_an_unknown_name_costs_as_much_as_a_wrong_password(app: FastAPI) -> None:
    async def seconds(name: str) -> float:
        taken = []
        for _ in range(7):
            async with app.state.parts.database.read() as session:
                begun = time.perf_counter()
                with pytest.raises(Exception, match="wrong"):
                    await principal.check_password(session, TENANT, name, "guess")
                taken.append(time.perf_counter() - begun)
        return statistics.median(taken)

    known, unknown = await seconds(USERNAME), await seconds("nobody")
    assert known > 0.01, "the check is slow on purpose"
    assert unknown > known / 2, f"{unknown:.3f} s tells there is no such user, {known:.3f} s that there is"


async def test_password_checks_leave_the_loop_free(app: FastAPI) -> None:
    """Other requests are answered while somebody signs in."""
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    ticking = asyncio.create_task(tick())
    async with app.state.parts.database.read() as session:
        turns = 0
        await principal.check_password(session, TENANT, USERNAME, PASSWORD)
    ticking.cancel()
    assert turns >= 5


async def test_a_believed_basic_password_is_checked_once_a_minute(
    app: FastAPI, stranger: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[str] = []
    real = principal.password_matches

    def counted(password: str, stored: str) -> bool:
        checks.append(password)
        return real(password, stored)

    monkeypatch.setattr(principal, "password_matches", counted)
    for _ in range(5):
        ok(await stranger.get(TARGETS, headers=basic(USERNAME, PASSWORD)), 200)
    assert len(checks) == 1
    assert PASSWORD not in repr(app.state.parts.remembered)


async def test_bad_user_names_and_short_passwords_are_not_made(database: Database) -> None:
    for name, password in [
        ("x", "short"),
        ("", PASSWORD),
        ("a:b", PASSWORD),
        ("n" * 65, PASSWORD),
        ("e\x1b", PASSWORD),
    ]:
        async with database.write() as session:
            with pytest.raises(ConstraintViolation):
                await principal.set_password(session, TENANT, name, password)


async def test_passwords_are_kept_as_salted_scrypt_hashes(database: Database) -> None:
    async with database.write() as session:
        for name in ("ann", "bob"):
            await principal.set_password(session, TENANT, name, PASSWORD)
    async with database.read() as session:
        one, two = await session.scalars(select(t.User.password_hash).where(t.User.username.in_(("ann", "bob"))))
    assert one.startswith("scrypt$") and one != two and PASSWORD not in one


def test_the_password_command_makes_an_operator_who_can_sign_in(migrated_url: str, redis_url: str) -> None:
    def run(secret: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "update_manager", "password", "carla"],
            input=secret + "\n",
            env={"DATABASE_URL": migrated_url, "REDIS_URL": redis_url, "PATH": ""},
            capture_output=True,
            text=True,
            timeout=60,
        )

    short = run("short")
    assert short.returncode == 1 and short.stderr == "a password has at least 8 characters\n"
    made = run("a long password")
    assert made.returncode == 0 and "a long password" not in made.stdout + made.stderr


async def test_what_operators_do_is_written_down_with_their_name(
    operator: httpx.AsyncClient, stranger: httpx.AsyncClient, database: Database
) -> None:
    await make_targets(operator, "one")
    ok(await operator.put(f"{TARGETS}/one", json={"name": "x"}))
    filter_id = ok(await operator.post("/rest/v1/targetfilters", json={"name": "f", "query": "name==x"}))["id"]
    ok(await operator.delete(f"/rest/v1/targetfilters/{filter_id}"))
    ok(await operator.delete(f"{TARGETS}/one"))
    ok(await stranger.post(SESSIONS, json={"username": USERNAME, "password": PASSWORD}), 201)
    refused = await operator.post(TARGETS, json=[{"controllerId": "two"}, {"controllerId": "two"}])
    assert refused.status_code == 409
    async with database.read() as session:
        found = await session.execute(select(t.AuditEntry).order_by(t.AuditEntry.id))
        entries = [(row.verb, row.subject_type, row.subject_id, row.username) for (row,) in found]
    assert entries == [
        ("create", "target", "one", USERNAME),
        ("change", "target", "one", USERNAME),
        ("create", "targetfilter", str(filter_id), USERNAME),
        ("delete", "targetfilter", str(filter_id), USERNAME),
        ("delete", "target", "one", USERNAME),
        ("sign in", "user", USERNAME, USERNAME),
    ], "in order, and nothing of what was refused"


async def test_secrets_are_in_no_log_line_and_in_no_answer(
    app: FastAPI, stranger: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.handler.setFormatter(servicekit.logs.LineFormatter())
    said = []
    for headers in (basic(USERNAME, PASSWORD), basic(USERNAME, "wrong secret"), {"Authorization": f"Bearer {TOKEN}"}):
        said.append((await stranger.get(TARGETS, headers=headers)).text)
    answer = await stranger.post(SESSIONS, json={"username": ["x"], "password": "malformed secret"})
    said.append(answer.text)
    opened = ok(await stranger.post(SESSIONS, json={"username": USERNAME, "password": PASSWORD}), 201)
    text = caplog.text + "".join(said)
    for secret in (PASSWORD, "wrong secret", "malformed secret", TOKEN, opened["token"], GATEWAY_TOKEN):
        assert secret not in text
    assert PASSWORD not in repr(app.state.parts.settings)
