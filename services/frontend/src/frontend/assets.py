"""The static files, under names that change with their content, compressed once, cached for ever by browsers."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

STATIC: Final = Path(__file__).parent / "static"
# One sheet a browser fetches once; the order is the cascade.
SHEETS: Final = ("tokens", "base", "shell", "controls", "tables", "panels", "bars", "timeline", "pages", "small")
FOREVER: Final = "public, max-age=31536000, immutable"
_PLAIN_KINDS: Final = ("text/", "image/svg", "application/javascript")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served."""

    content: bytes
    kind: str
    compressed: bytes | None


class Assets:
    """All static files in memory, and the fingerprint of them together."""

    def __init__(self, directory: Path = STATIC) -> None:
        files = {
            str(path.relative_to(directory)): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.is_file() and path.parent.name != "css"
        }
        files["app.css"] = b"\n".join((directory / "css" / f"{name}.css").read_bytes() for name in SHEETS)
        digest = hashlib.sha256()
        for name, content in sorted(files.items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        self.fingerprint = digest.hexdigest()[:12]
        self._files = {name: _asset(name, content) for name, content in files.items()}

    def url(self, name: str) -> str:
        """`/static/<fingerprint>/<name>`; raises KeyError for a file that does not exist, so a typo fails a test."""
        self._files[name]
        return f"/static/{self.fingerprint}/{name}"

    def answer(self, request: Request, fingerprint: str, name: str) -> Response:
        """The file, or 404; an outdated fingerprint gets today's content and no caching."""
        asset = self._files.get(name)
        if asset is None:
            return Response("not found", status_code=404, media_type="text/plain")
        current = fingerprint == self.fingerprint
        headers = {"Cache-Control": FOREVER if current else "no-cache", "Vary": "Accept-Encoding"}
        if asset.compressed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(asset.compressed, media_type=asset.kind, headers=headers)
        return Response(asset.content, media_type=asset.kind, headers=headers)


def _asset(name: str, content: bytes) -> Asset:
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "application/octet-stream"
    plain = kind.startswith(_PLAIN_KINDS)
    return Asset(content, kind, gzip.compress(content, mtime=0) if plain else None)
