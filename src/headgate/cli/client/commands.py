"""The commands of a client: ``headgate upload``, ``export``, ``jobs``, ``pause`` and the others.

The docstring of each is its help.
"""

import argparse
import asyncio
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import click

from headgate.cli.client.api_client import ApiClient, Problem, Unreachable
from headgate.cli.client.command_runner import Command, Context, command, main
from headgate.cli.client.file_transfers import export, upload
from headgate.cli.client.output import short, size_text
from headgate.cli.value_parsers import parse_size
from headgate.config import OnConflict

__all__ = ["main"]

#: Seconds until ``jobs --watch`` connects again after its connection was lost.
RECONNECT_SECONDS = 2.0

#: The fewest characters by which a job's id may be abbreviated.
MIN_ID_CHARACTERS = 4


# Transfers.


@command
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--name", help="Name of the file on the server; for one file.")
@click.option("--on-conflict", type=click.Choice([str(each) for each in OnConflict]), help="If a name is taken.")
async def _upload(context: Context, files: tuple[Path, ...], name: str | None, on_conflict: str | None) -> None:
    """Upload FILES, one after the other.

    Ctrl-C terminates the upload on the server: nothing of it is left there.
    """
    if name is not None and len(files) > 1:
        raise click.UsageError("--name is for one file.")
    for path in files:
        async with context.trying(str(path)):
            with context.output.bar(path.name) as bar:
                job = await upload(context.remote, path, bar, name=name, on_conflict=on_conflict)
            for file in job["files"]:
                context.output.say(f"{file['name']} uploaded, {size_text(file['size'])}", job=job["id"], **file)


@command
@click.argument("name")
@click.option("-o", "--output", metavar="PATH|-", help="Where to; - is standard output. [default: NAME, here]")
@click.option("-f", "--force", is_flag=True, help="Replace a file that is there already.")
async def _export(context: Context, name: str, output: str | None, force: bool) -> None:
    """Export NAME. The file gets its name here only when all of it has arrived.

    Ctrl-C terminates the export on the server.
    """
    target = None if output == "-" else Path(output or name)
    if target is not None and target.is_dir():
        target /= name
    with context.output.bar(name) as bar:
        size = await export(context.remote, name, target, bar, force=force)
    if target is not None:
        context.output.say(f"{target} written, {size_text(size)}", name=name, path=str(target), size=size)


# Jobs.


@command
@click.option("-w", "--watch", is_flag=True, help="Go on showing what happens, until Ctrl-C.")
async def _jobs(context: Context, watch: bool) -> None:
    """List jobs: those that run, and those that ended lately."""
    if not watch:
        context.output.jobs((await context.remote.call("GET", "jobs"))["jobs"])
        return
    with context.output.watch() as shown:
        while True:
            try:
                async for kind, said in context.remote.events():
                    shown.take(kind, said.get("jobs", [said]))
            except Unreachable:
                if not shown.has_begun:
                    raise
            context.output.complain("the connection was lost; trying again", code="lost")
            await asyncio.sleep(RECONNECT_SECONDS)


def _several(function: Command) -> click.Command:
    """Make a command that runs `function` for each job that is named, or for all of the user's own live jobs."""

    @command
    @click.argument("ids", metavar="[ID]...", nargs=-1)
    @click.option("--all", "everything", is_flag=True, help="All of your own that run.")
    @wraps(function)
    async def for_each(context: Context, ids: tuple[str, ...], everything: bool) -> None:
        if bool(ids) == everything:
            raise click.UsageError("Name jobs by their ID, or say --all.")
        chosen = await _own_live_jobs(context) if everything else ids
        for id_ in chosen:
            async with context.trying(id_):
                await function(context, await _resolve(context.remote, id_))

    return for_each


async def _own_live_jobs(context: Context) -> list[str]:
    me = (await context.remote.call("GET", "session"))["user"]
    jobs = (await context.remote.call("GET", "jobs"))["jobs"]
    return [job["id"] for job in jobs if job["ended_at"] is None and me is not None and job["owner"] == me["name"]]


async def _resolve(remote: ApiClient, text: str) -> str:
    """The id of the job whose id is `text`, or begins with it. Raises Problem if there is not exactly one."""
    try:
        return str(UUID(text))
    except ValueError:
        pass
    if len(text) < MIN_ID_CHARACTERS:  # an empty variable in a script must not name a job
        raise Problem(404, "no-such-job", f"Name a job by at least {MIN_ID_CHARACTERS} characters of its id.")
    jobs = (await remote.call("GET", "jobs"))["jobs"]
    found = [job for job in jobs if job["id"].startswith(text.lower())]
    found = [job for job in found if job["ended_at"] is None] or found
    if len(found) == 1:
        return str(found[0]["id"])
    raise Problem(404, "no-such-job", "Several jobs have ids that begin so." if found else "There is no such job.")


async def _change(context: Context, id_: str, wanted: dict[str, Any], done: str) -> None:
    job = await context.remote.call("PATCH", f"jobs/{id_}", wanted)
    context.output.say(f"{short(id_)} {done}", **job)


@_several
async def _pause(context: Context, id_: str) -> None:
    """Pause transfers: no byte moves until they are resumed."""
    await _change(context, id_, {"state": "paused"}, "paused")


@_several
async def _resume(context: Context, id_: str) -> None:
    """Let paused transfers go on."""
    await _change(context, id_, {"state": "running"}, "resumed")


@_several
async def _terminate(context: Context, id_: str) -> None:
    """Terminate transfers: nothing of them is kept."""
    job = await context.remote.call("DELETE", f"jobs/{id_}")
    context.output.say(f"{short(id_)} terminated", **job)


def _rate_of(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    try:
        return None if value.lower() in ("none", "unlimited") else parse_size(value)
    except argparse.ArgumentTypeError as error:
        raise click.BadParameter(f"{error}, or none") from None


@command
@click.argument("id_", metavar="ID")
@click.argument("rate", callback=_rate_of)
async def _rate(context: Context, id_: str, rate: int | None) -> None:
    """Limit a transfer to RATE bytes per second: 2MB, 500KiB; none removes the limit."""
    done = "has no limit any more" if rate is None else f"slowed to {size_text(rate)}/s"
    await _change(context, await _resolve(context.remote, id_), {"limit": rate}, done)


# Files.


@command
@click.option(
    "--sort",
    type=click.Choice([sign + key for key in ("name", "size", "modified") for sign in ("", "-")]),
    default="name",
    help="In which order; -size is the largest first.",
)
async def _files(context: Context, sort: str) -> None:
    """List the files that can be exported."""
    files: list[Any] = []
    path = first = f"files?sort={sort}"
    while True:
        page = await context.remote.call("GET", path)
        files += page["files"]
        if page["next"] is None:
            break
        path = f"{first}&after={quote(page['next'], safe='')}"
    context.output.files(files)


@command
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
async def _delete(context: Context, names: tuple[str, ...]) -> None:
    """Delete files on the server."""
    for name in names:
        async with context.trying(name):
            await context.remote.call("DELETE", f"files/{quote(name, safe='')}")
            context.output.say(f"{name} deleted", deleted=name)
