"""What every page is given: the renderer, the settings, and a client that speaks for the signed-in operator."""

from dataclasses import dataclass
from typing import Annotated, Any

import httpx
from fastapi import Depends, Request
from starlette.responses import Response

from frontend.manager_client import ManagerClient, NotSignedIn
from frontend.rendering import Renderer
from frontend.security import token_of
from frontend.settings import FrontendSettings

MAX_FIELDS = 50
MAX_FIELD_BYTES = 64 * 1024
# Results of a form, told once on the page it leads to; only these words can appear.
NOTICES = {
    "created": "Rollout created. Nothing moves until it is started.",
    "starting": "Rollout created and started.",
    "not-started": "Rollout created. It is still being prepared; start it when it is ready.",
    "start": "Rollout started.",
    "pause": "Rollout paused. Devices in flight finish; no further device begins.",
    "resume": "Rollout resumed.",
    "stop": "Rollout stopped for good.",
    "uploaded": "Release saved. The image passed every check below.",
    "product": "Product added.",
    "key": "Signing key added.",
}


@dataclass(frozen=True, slots=True)
class Parts:
    """Made once, when the application starts."""

    settings: FrontendSettings
    http: httpx.AsyncClient
    renderer: Renderer


class Context:
    """A request of a signed-in operator."""

    def __init__(self, request: Request) -> None:
        parts: Parts = request.app.state.parts
        token = token_of(request)
        if token is None:
            raise NotSignedIn
        self.request = request
        self.settings = parts.settings
        self.renderer = parts.renderer
        self.manager = ManagerClient(parts.http, token)

    def show(self, template: str, section: str, status: int = 200, **context: Any) -> Response:
        """The page, or its live part when htmx asks."""
        notice = NOTICES.get(self.request.query_params.get("notice", ""), "")
        return self.renderer.page(self.request, template, status, section=section, notice=notice, **context)


Signed = Annotated[Context, Depends(Context)]


async def fields(request: Request) -> dict[str, str]:
    """The text fields of a posted form; the last of several wins. Files are refused: no form but the upload has one."""
    async with request.form(max_files=0, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


Fields = Annotated[dict[str, str], Depends(fields)]
