"""The body of ``POST /export``, which asks for one file, or for several as a zip."""

import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiohttp import web

from headgate.config import Config
from headgate.errors import InvalidOption, MalformedRequest, TooLarge, UnsupportedMedia
from headgate.names import check_name
from headgate.transfer.inbound.content import media_type
from headgate.web.jobs.job_ids import parse_job_id
from headgate.web.json_body import parse_json, read_text

__all__ = ["ExportRequest", "read_export_request"]


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The names to be exported, whether as a zip (and a deflated one), and the id that the client gives the job."""

    names: list[str]
    id: UUID | None
    as_zip: bool
    deflate: bool


async def read_export_request(request: web.Request, config: Config) -> ExportRequest:
    """Read the body of `request`: ``filename``, or ``filenames`` and ``compress``; and ``job``, the id of the job.

    It is a JSON object, or a urlencoded form, which a browser can send without a script and without own headers.
    Raises UnsupportedMedia, MalformedRequest, InvalidName, InvalidOption, TooLarge, and what reading a body raises.
    """
    parse = _PARSERS.get(media_type(request))
    if parse is None:
        raise UnsupportedMedia('Send {"filename": "..."} as application/json, or the same field urlencoded.')
    fields = parse(await read_text(request, limit=config.max_request_size, seconds=config.idle_timeout))
    fields = fields if isinstance(fields, dict) else {}
    id_ = fields.get("job")
    not_an_id = MalformedRequest('"job" must be a UUID.')
    if not isinstance(id_, str | None):
        raise not_an_id
    job = parse_job_id(id_, not_an_id) if id_ else None
    names = fields.get("filenames")
    if names is None:
        name = fields.get("filename")
        if not isinstance(name, str):
            raise MalformedRequest('The body needs a "filename", or "filenames".')
        return ExportRequest([check_name(name)], job, as_zip=False, deflate=False)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise MalformedRequest('"filenames" must be a list of names.')
    if len(names) > config.max_files:
        raise TooLarge(f"A zip may have {config.max_files} files.")
    if len(set(names)) < len(names):
        raise InvalidOption("A file can be in a zip once.")
    deflate = fields.get("compress", False)
    if deflate not in (True, False, "true", "false"):
        raise InvalidOption("compress must be true or false.")
    return ExportRequest([check_name(name) for name in names], job, as_zip=True, deflate=deflate in (True, "true"))


def _parse_form(text: str) -> Any:
    try:
        pairs = urllib.parse.parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise MalformedRequest("The body is not a valid urlencoded form.") from None
    fields: dict[str, Any] = dict(pairs)
    if "filenames" in fields:
        fields["filenames"] = [value for name, value in pairs if name == "filenames"]
    return fields


_PARSERS: dict[str, Callable[[str], Any]] = {
    "application/json": parse_json,
    "application/x-www-form-urlencoded": _parse_form,
}
