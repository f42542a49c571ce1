"""aiohttp as its documentation shows it: ``read_chunk()`` into a file, and ``write()`` for each row.

``naive.py ROOT PORT``
"""

import sys
from pathlib import Path

from aiohttp import web
from exports import chunks, rows

ROOT = Path(sys.argv[1])


async def form(request: web.Request) -> web.Response:
    reader = await request.multipart()
    field = await reader.next()
    with (ROOT / field.filename).open("wb") as file:
        while chunk := await field.read_chunk():
            file.write(chunk)
    return web.Response(status=201)


async def put(request: web.Request) -> web.Response:
    with (ROOT / request.match_info["name"]).open("wb") as file:
        async for chunk in request.content.iter_any():
            file.write(chunk)
    return web.Response(status=201)


async def give(request: web.Request) -> web.FileResponse:
    return web.FileResponse(ROOT / request.match_info["name"])


def generated(generate):
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        async for chunk in generate():
            await response.write(chunk)
        return response

    return handler


app = web.Application(client_max_size=2**40)
app.router.add_post("/form", form)
app.router.add_put("/raw/{name}", put)
app.router.add_get("/stored/{name}", give)
app.router.add_get("/rows", generated(rows))
app.router.add_get("/chunks", generated(chunks))
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), access_log=None, print=None)
