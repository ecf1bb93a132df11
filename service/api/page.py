"""``/`` and ``/web``: the page, served as files."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from service.errors import NotFoundError

WEB_FOLDER = Path(__file__).resolve().parent.parent / "web"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; style-src 'self'; "
        "script-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


class WebFiles(StaticFiles):
    """The page's files, with the page's headers."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Serve one file."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        return response


@router.head("/")
@router.get("/")
def index() -> FileResponse:
    """Serve the page."""
    path = WEB_FOLDER / "index.html"
    if not path.is_file():
        raise NotFoundError("the page is not installed: use the HTTP interface, see /docs")
    return FileResponse(path, headers=_HEADERS)
