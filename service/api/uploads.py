"""Uploads: one file of a multipart body, spooled to a nameless temporary file, always closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from fastapi import Request
from starlette.datastructures import UploadFile

from service.errors import FieldError, InvalidRequestError, UnsupportedBodyError

_MOST_FIELDS = 16
_LONGEST_FIELD_BYTES = 4_096


@dataclass(frozen=True, eq=False)
class Upload:
    """A received file, at its beginning, and the text fields beside it."""

    file: BinaryIO
    fields: dict[str, str]


@asynccontextmanager
async def received(request: Request, name: str) -> AsyncIterator[Upload]:
    """Receive the file ``name`` of a multipart body; what it is called is never looked at.

    Raises:
        UnsupportedBodyError: the body is not multipart.
        InvalidRequestError: the file is missing, or a field is given twice.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise UnsupportedBodyError(f"send multipart/form-data with the file as '{name}'")
    async with request.form(
        max_files=1, max_fields=_MOST_FIELDS, max_part_size=_LONGEST_FIELD_BYTES
    ) as form:
        fields: dict[str, str] = {}
        upload: UploadFile | None = None
        for field, value in form.multi_items():
            if field in fields or (field == name and upload is not None):
                raise InvalidRequestError([FieldError(field, "is given twice")])
            if field == name and isinstance(value, UploadFile):
                upload = value
            elif isinstance(value, str) and field != name:
                fields[field] = value
            else:
                raise InvalidRequestError([FieldError(field, f"send one file, as '{name}'")])
        if upload is None:
            raise InvalidRequestError([FieldError(name, "is missing: send a file")])
        yield Upload(upload.file, fields)
