"""Serving the page: one document for all of its addresses, and files whose names hold the hash of what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, PlainTextResponse, Response

__all__ = ["STATIC", "page_routes"]

STATIC = Path(__file__).parent / "static"
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_NAME = re.compile(r"[\w-]+\.(?:css|js|svg)")
_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}
_ASK_AGAIN = {"cache-control": "no-cache"}
_NOT_BUILT = (
    "This server has no page: its files were not built. In a clone of the project: make setup. "
    "REST answers as usual, see /openapi.json; so does the command line: penstock status\n"
)


def page_routes(app: FastAPI, addresses: Iterable[str], *, static: Path = STATIC) -> None:
    """Add the routes of the page. `addresses`: those that are answered with the document."""

    def document() -> Response:
        """The page."""
        if not (static / "index.html").is_file():
            return PlainTextResponse(_NOT_BUILT, 503, _ASK_AGAIN)
        return FileResponse(static / "index.html", headers=_ASK_AGAIN, media_type="text/html; charset=utf-8")

    def asset(file: str) -> Response:
        """A file of the page, by its name."""
        found = static / "assets" / file
        if _NAME.fullmatch(file) is None or not found.is_file():
            return PlainTextResponse("there is no such file\n", 404)
        forever = _FOR_EVER if "-" in file else _ASK_AGAIN
        return FileResponse(found, headers=forever, media_type=_KINDS[found.suffix])

    app.add_api_route("/assets/{file}", asset, include_in_schema=False)
    for address in addresses:
        app.add_api_route(address, document, include_in_schema=False)
