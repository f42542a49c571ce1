"""Starlette as its documentation shows it: ``request.form()``, ``request.stream()``, FileResponse.

Its form is spooled to a temporary file first; whoever wants it under a name copies it.
"""

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

ROOT = Path(os.environ["BENCH_ROOT"])
MIB = 1024 * 1024


async def form(request: Request) -> Response:
    async with request.form() as fields:
        upload = fields["file"]
        with (ROOT / upload.filename).open("wb") as file:
            while chunk := await upload.read(MIB):
                file.write(chunk)
    return Response(status_code=201)


async def raw(request: Request) -> Response:
    with (ROOT / request.path_params["name"]).open("wb") as file:
        async for chunk in request.stream():
            file.write(chunk)
    return Response(status_code=201)


async def stored(request: Request) -> FileResponse:
    return FileResponse(ROOT / request.path_params["name"])


app = Starlette(
    routes=[
        Route("/form", form, methods=["POST"]),
        Route("/raw/{name}", raw, methods=["PUT"]),
        Route("/stored/{name}", stored),
    ]
)
