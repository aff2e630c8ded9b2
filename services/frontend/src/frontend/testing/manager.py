"""The fake update manager itself: its routes, its sessions, its refusals."""

import asyncio
import json
import re
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.datastructures import UploadFile

from frontend.testing import campaigns, fleet, journeys

Json = dict[str, Any]
USERNAME: Final = "operator"
PASSWORD: Final = "fleet-in-sight"  # noqa: S105
TOKEN: Final = "token-of-the-operator"  # noqa: S105
MCUBOOT_MAGIC: Final = 0x96F3B83D
_COMPARISON: Final = re.compile(r"""([\w.]+)(==|!=)("(?:[^"\\]|\\.)*"|[^\s;,()"]+)""")


class Refusal(Exception):
    """An error answer in hawkBit's shape."""

    def __init__(self, status: int, code: str, message: str, **info: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"exceptionClass": "Refusal", "errorCode": code, "message": message, "info": info}


class FakeManager:
    """`app` serves `/rest/v1`. `steps` bounds the event streams; `calls` records every `METHOD path` it was asked."""

    def __init__(self, steps: int = 10_000, step_seconds: float = 1.0) -> None:
        self.now = time.time_ns() // 1_000_000
        self.targets = fleet.targets(self.now)
        self.releases = fleet.releases(self.now)
        self.rollouts = campaigns.rollouts(self.now)
        self.products: list[Json] = [dict(product) for product in fleet.PRODUCTS]
        self.keys: dict[int, list[Json]] = {identity: list(keys) for identity, keys in fleet.KEYS.items()}
        self.tokens = {TOKEN}
        self.calls: list[str] = []
        self.bodies: list[Any] = []
        self.steps, self.step_seconds = steps, step_seconds
        self.down = False
        self.app = self._app()

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def gate(request: Request, go_on: Any) -> Response:
            self.calls.append(f"{request.method} {request.url.path}")
            if self.down:
                return Response(status_code=503)
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            if request.url.path != "/rest/v1/sessions" and token not in self.tokens:
                return JSONResponse({"errorCode": "session.unknown", "message": "Sign in."}, 401)
            answer: Response = await go_on(request)
            return answer

        @app.exception_handler(Refusal)
        async def refused(_: Request, error: Refusal) -> Response:
            return JSONResponse(error.body, error.status)

        for method, path, handler in (
            ("POST", "/sessions", self._sign_in),
            ("DELETE", "/sessions/current", self._sign_out),
            ("GET", "/userinfo", self._user_info),
            ("GET", "/overview", self._overview),
            ("GET", "/targets", self._targets),
            ("GET", "/targets/{controller_id:path}/attributes", self._attributes),
            ("GET", "/targets/{controller_id:path}/timeline", self._timeline),
            ("GET", "/targets/{controller_id:path}/events", self._target_events),
            ("GET", "/targets/{controller_id:path}", self._target),
            ("GET", "/targettypes", self._types),
            ("POST", "/targettypes", self._add_types),
            ("GET", "/targettypes/{identity}/signingkeys", self._signing_keys),
            ("POST", "/targettypes/{identity}/signingkeys", self._add_key),
            ("GET", "/releases", self._releases),
            ("POST", "/releases", self._upload),
            ("GET", "/releases/{identity}", self._release),
            ("GET", "/rollouts", self._rollouts),
            ("POST", "/rollouts", self._create),
            ("POST", "/rollouts/preview", self._preview),
            ("GET", "/rollouts/{identity}", self._rollout_json),
            ("GET", "/rollouts/{identity}/deploygroups/{group}", self._group),
            ("GET", "/rollouts/{identity}/deploygroups/{group}/targets", self._group_targets),
            ("GET", "/rollouts/{identity}/progress", self._progress),
            ("GET", "/rollouts/{identity}/events", self._stream),
            ("POST", "/rollouts/{identity}/{verb}", self._act),
        ):
            app.add_api_route(f"/rest/v1{path}", handler, methods=[method], response_model=None)
        return app

    async def _sign_in(self, request: Request) -> Response:
        given = await request.json()
        if (given.get("username"), given.get("password")) != (USERNAME, PASSWORD):
            return JSONResponse({"errorCode": "session.denied", "message": "Wrong name or password."}, 401)
        expires = int(time.time() * 1000) + 8 * fleet.HOUR
        return JSONResponse({"token": TOKEN, "expiresAt": expires, "username": USERNAME}, 201)

    async def _sign_out(self) -> Response:
        self.tokens.clear()
        return Response(status_code=204)

    async def _user_info(self) -> Json:
        return {"tenant": "DEFAULT", "username": USERNAME}

    async def _overview(self) -> Json:
        versions = Counter((one["targetType"], one["telemetry"]["/3/0/3"]) for one in self.targets)
        kinds = {one["id"]: {key: one[key] for key in ("id", "key", "name")} for one in self.products}
        current = [one for one in self.rollouts if one["status"] in ("running", "paused", "ready")]
        return {
            "targets": len(self.targets),
            "updateStatus": Counter(one["updateStatus"] for one in self.targets),
            "presence": Counter(one["presence"]["state"] for one in self.targets),
            "versions": [
                {"targetType": kinds[kind], "version": version, "count": count}
                for (kind, version), count in versions.items()
            ],
            "rollouts": [self._with_progress(one) for one in current],
            "attention": [
                {"type": "rollout", "id": 2, "kind": "paused", "severity": "error", "at": self.now - fleet.HOUR,
                 "text": "Pump controllers to 1.9.2 paused itself: 28.9 % failed in group 2"},
                {"type": "target", "id": fleet.ROLLED_BACK, "kind": "rolled_back", "severity": "error",
                 "at": self.now - 29 * fleet.MINUTE, "text": "Rolled back to 2.3.1: 2.4.0 did not confirm itself"},
                {"type": "target", "id": fleet.HOSTILE, "kind": "failed", "severity": "warning",
                 "at": self.now - fleet.DAY, "text": fleet.HOSTILE_TEXT},
            ],
            "events": campaigns._events(self.now),
            "bytesOnAir": 812_345_678,
        }  # fmt: skip

    def _with_progress(self, rollout: Json) -> Json:
        known = campaigns.progress(rollout, self._short(rollout["distributionSetId"]), self.now, 0)
        keys = ("distributionSet", "totals", "percent", "judgement")
        return {key: rollout[key] for key in ("id", "name", "status")} | {key: known[key] for key in keys}

    def _short(self, identity: int) -> Json:
        found = next((one for one in self.releases if one["distributionSetId"] == identity), self.releases[0])
        return {"id": identity, "name": found["name"], "version": found["version"]}

    async def _targets(self, q: str = "", offset: int = 0, limit: int = 50) -> Json:
        return _page(self._matching(q), offset, limit)

    def _matching(self, q: str) -> list[Json]:
        """A little of RSQL: comparisons joined by `;` or `,`, read from left to right, so a leading bracket is idle."""
        if not q:
            return self.targets
        kept: list[Json] = []
        position, joined = 0, ","
        while True:
            position += q[position : position + 1] == "("
            match = _COMPARISON.match(q, position)
            if match is None:
                word = re.match(r"[\w.]*", q[position:])
                position += word.end() if word else 0
                raise Refusal(
                    400, "rest.param.rsqlParamSyntax", f"Expected a comparison at column {position + 1}.",
                    column=position + 1, hint="Write field==value; join with ; (and) or , (or).",
                )  # fmt: skip
            name, operator, wanted = match.groups()
            held = {
                id(one) for one in self.targets if self._holds(one, name, wanted, match.start(1)) == (operator == "==")
            }
            chosen = kept if joined == ";" else self.targets
            more = [one for one in chosen if id(one) in held]
            kept = more if joined == ";" else [one for one in self.targets if one in kept or one in more]
            position = match.end()
            position += q[position : position + 1] == ")"
            if position == len(q):
                return kept
            joined = q[position]
            position += 1 if joined in ";," else 0

    def _holds(self, target: Json, name: str, wanted: str, at: int) -> bool:
        kinds = {product["id"]: product["key"] for product in self.products}
        values = {
            "controllerid": target["controllerId"],
            "name": target["name"],
            "updatestatus": target["updateStatus"],
            "presence": target["presence"]["state"],
            "targettype.key": kinds[target["targetType"]],
            "attribute.firmware.version": target["telemetry"].get("/3/0/3", ""),
            "installedds.version": (target["installedDistributionSet"] or {}).get("version", ""),
        }
        if name.lower() not in values:
            raise Refusal(400, "rest.param.rsqlInvalidField", f"There is no field {name}.", column=at + 1,
                          hint=f"Fields: {', '.join(values)}.")  # fmt: skip
        plain = wanted.strip('"').replace('\\"', '"')
        pattern = ".*".join(re.escape(part) for part in plain.split("*"))
        return re.fullmatch(pattern, values[name.lower()], re.IGNORECASE | re.DOTALL) is not None

    def _known(self, controller_id: str) -> Json:
        for target in self.targets:
            if target["controllerId"] == controller_id:
                return target
        raise Refusal(404, "repo.entityNotFound", f"There is no target {controller_id}.")

    async def _target(self, controller_id: str) -> Json:
        return self._known(controller_id)

    async def _attributes(self, controller_id: str) -> Response:
        found = fleet.attributes(controller_id)
        return Response(status_code=204) if found is None else JSONResponse(found)

    async def _timeline(self, controller_id: str) -> Json:
        target = self._known(controller_id)
        tried = target["assignedDistributionSet"]
        if target["updateStatus"] == "error":
            newest = next(one for one in self.releases if one["targetType"]["id"] == target["targetType"])
            tried = self._short(newest["distributionSetId"])
        return journeys.timeline(controller_id, self.now, tried, target["updateStatus"])

    async def _target_events(self, controller_id: str) -> list[Json]:
        return journeys.events(controller_id, self.now)

    async def _types(self) -> Json:
        return _page(self.products, 0, 100)

    async def _add_types(self, request: Request) -> Response:
        made = []
        for given in await request.json():
            if any(given["key"] == one["key"] for one in self.products):
                raise Refusal(409, "repo.entityAlreadyExists", f"A product with the key {given['key']} exists.")
            made.append({"id": len(self.products) + 1, **given})
            self.products.append(made[-1])
            self.keys[made[-1]["id"]] = []
        return JSONResponse(made, 201)

    async def _signing_keys(self, identity: int) -> list[Json]:
        return self.keys[identity]

    async def _add_key(self, identity: int, request: Request) -> Response:
        given = await request.json()
        key = {
            "id": 99,
            "name": given["name"],
            "fingerprint": "ab" * 32,
            "algorithm": "ECDSA P-256",
            "createdAt": self.now,
        }
        self.keys[identity].append(key)
        return JSONResponse(key, 201)

    async def _releases(self, offset: int = 0, limit: int = 50) -> Json:
        return _page(self.releases, offset, limit)

    async def _release(self, identity: int) -> Json:
        for one in self.releases:
            if one["distributionSetId"] == identity:
                return one
        raise Refusal(404, "repo.entityNotFound", f"There is no release {identity}.")

    async def _upload(self, request: Request) -> Response:
        form = await request.form()
        file = form["file"]
        assert isinstance(file, UploadFile)
        content = await file.read()
        magic = struct.unpack_from("<I", content)[0] if len(content) >= 4 else 0
        if magic != MCUBOOT_MAGIC:
            raise Refusal(
                422, "image.refused", "This is no MCUboot image.", reason="wrong_magic", where=f"byte 0: 0x{magic:08x} "
                f"instead of 0x{MCUBOOT_MAGIC:08x}", hint="Upload zephyr.signed.bin, made by imgtool sign.",
            )  # fmt: skip
        product = next(one for one in self.products if str(form["targetType"]) in (str(one["id"]), one["key"]))
        made = fleet.release(
            20 + len(self.releases), product, str(form.get("name") or product["name"]), "2.5.0", len(content),
            file.filename or "", self.now,
        )  # fmt: skip
        self.releases.insert(0, made)
        return JSONResponse(made, 201)

    async def _rollouts(self, offset: int = 0, limit: int = 50) -> Json:
        return _page(self.rollouts, offset, limit)

    def _rollout(self, identity: int) -> Json:
        for one in self.rollouts:
            if one["id"] == identity:
                return one
        raise Refusal(404, "repo.entityNotFound", f"There is no rollout {identity}.")

    async def _rollout_json(self, identity: int) -> Json:
        return self._rollout(identity)

    async def _group(self, identity: int, group: int) -> Json:
        for one in self._told(identity, 0)["groups"]:
            if one["id"] == group:
                # hawkBit's group, not the read model of the control room; the console reads these.
                return {key: one[key] for key in ("id", "name", "status")}
        raise Refusal(404, "repo.entityNotFound", f"There is no group {group}.")

    async def _group_targets(self, identity: int, group: int, offset: int = 0, limit: int = 50) -> Json:
        groups = [one["id"] for one in self._told(identity, 0)["groups"]]
        members = self._matching(self._rollout(identity)["targetFilterQuery"])
        return _page(members[groups.index(group) :: len(groups)], offset, limit)

    async def _create(self, request: Request) -> Response:
        given = await request.json()
        self.bodies.append(given)
        matching = self._matching(given["targetFilterQuery"])
        if not matching:
            raise Refusal(400, "repo.constraintViolation", "No target would receive the rollout.")
        made = campaigns._rollout(
            len(self.rollouts) + 1, given["name"], "ready", given["distributionSetId"], given["targetFilterQuery"],
            len(matching), self.now,
        )  # fmt: skip
        self.rollouts.insert(0, made)
        return JSONResponse(made, 201)

    async def _preview(self, request: Request) -> Json:
        given = await request.json()
        matching = self._matching(given["targetFilterQuery"])
        release = await self._release(given["distributionSetId"])
        fitting = [one for one in matching if one["targetType"] == release["targetType"]["id"]]
        already = [
            one for one in fitting if (one["installedDistributionSet"] or {}).get("version") == release["version"]
        ]
        left, amount = len(fitting), given["amountGroups"]
        sizes = [left // amount + (1 if index < left % amount else 0) for index in range(amount)]
        return {
            "targets": len(fitting),
            "alreadyInstalled": len(already),
            "incompatible": len(matching) - len(fitting),
            "offline": sum(one["presence"]["state"] == "offline" for one in fitting),
            "groups": [{"name": f"group-{index}", "targets": size} for index, size in enumerate(sizes, start=1)],
            "imageSize": release["artifact"]["size"],
            "bytesOnAir": int((left - len(already)) * release["artifact"]["size"] * 1.06),
            "warnings": ["11 devices have not reported for more than a day; they begin when they return."],
        }

    async def _progress(self, identity: int) -> Json:
        return self._told(identity, 0)

    def _told(self, identity: int, step: int) -> Json:
        rollout = self._rollout(identity)
        return campaigns.progress(rollout, self._short(rollout["distributionSetId"]), self.now, step)

    async def _stream(self, identity: int) -> Response:
        async def told() -> AsyncIterator[str]:
            yield ": hello\n\n"
            for step in range(1, self.steps + 1):
                await asyncio.sleep(self.step_seconds)
                yield f"event: progress\ndata: {json.dumps(self._told(identity, step % 20))}\n\n"

        self._rollout(identity)
        return StreamingResponse(told(), media_type="text/event-stream")

    async def _act(self, identity: int, verb: str) -> Response:
        rollout = self._rollout(identity)
        after = campaigns.MOVES.get((rollout["status"], verb))
        if after is None:
            raise Refusal(400, "rollout.illegalState", f"A rollout that is {rollout['status']} cannot {verb}.")
        rollout["status"] = after
        return Response(status_code=204)


def _page(content: list[Json], offset: int, limit: int) -> Json:
    shown = content[offset : offset + limit]
    return {"content": shown, "total": len(content), "size": len(shown)}
