"""What a command that speaks to a server is: its options, its loop, its exit code.

Exit codes: 0 done; 1 refused, failed, or not found; 2 the command line is wrong; 3 the server cannot be reached; 4 the
transfer was terminated by somebody; 130 interrupted (Ctrl-C), 143 by SIGTERM. Of several things, the worst.
"""

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import Any, NoReturn

import click
from yarl import URL

from headgate.cli.client.api_client import Problem, Remote, Unreachable
from headgate.cli.client.output import Show
from headgate.cli.client.remote_job import LocalError
from headgate.cli.server import argument_parser

__all__ = ["Command", "Context", "command", "main"]

DONE = 0
FAILED = 1
UNREACHABLE = 3
TERMINATED = 4


class _Failed(Exception):
    """Something of what was asked for failed, and has been complained about."""

    def __init__(self, code: int) -> None:
        self.code = code


def main(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names are in any script, terminals are not
    try:
        commands.main(args=list(argv), prog_name="headgate", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except _Failed as error:
        return error.code
    except (KeyboardInterrupt, click.Abort):
        _leave(128 + signal.SIGINT)
    except _Ended as ended:
        _leave(128 + ended.number)
    except OSError as error:
        return _unsaid(error)
    try:
        sys.stdout.flush()
    except OSError as error:
        return _unsaid(error)
    return DONE


def _unsaid(error: OSError) -> int:
    """What was to be said could not be: nobody is to take that for a success."""
    with suppress(OSError):
        print(f"headgate: standard output cannot be written: {error.strerror or error}", file=sys.stderr)
    with suppress(OSError):  # what is still to be flushed goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def _leave(code: int) -> NoReturn:
    """End at once: a thread may be writing to a pipe that nobody reads, and would be waited for."""
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


class _Ended(Exception):
    """A signal ended it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headgate")
def commands() -> None:
    """Uploads and exports that you can watch, pause, slow and stop."""


class _Elsewhere(click.Command):
    """A command that another room runs; here for the list of all."""

    def __init__(self, name: str, help_: str) -> None:
        super().__init__(name, short_help=help_, add_help_option=False)


for name, purpose in argument_parser.COMMANDS.items():
    commands.add_command(_Elsewhere(name, purpose))


class Context:
    """A server to speak to, somewhere to show what it says, and what has failed so far."""

    def __init__(self, remote: Remote, show: Show) -> None:
        self.remote = remote
        self.show = show
        self.code = DONE

    @asynccontextmanager
    async def trying(self, what: str | None = None) -> AsyncIterator[None]:
        """One of several things: if it fails that is told, and the next is tried."""
        prefix = f"{what}: " if what else ""
        try:
            yield
        except Problem as error:
            self.show.complain(f"{prefix}{error} ({error.code})", code=error.code, what=what)
            self.code = max(self.code, TERMINATED if error.code == "terminated" else FAILED)
        except LocalError as error:
            self.show.complain(str(error), code="local", what=what)
            self.code = max(self.code, FAILED)
        except Unreachable as error:
            self.show.complain(f"the server cannot be reached: {error}", code="unreachable", what=what)
            self.code = max(self.code, UNREACHABLE)


Command = Callable[..., Awaitable[None]]


def _not_empty(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A script whose own variable was empty means another server, or somebody else: not the one by default. click takes
    an empty variable for none."""
    variable = f"HEADGATE_{(parameter.name or '').upper()}"
    if value == "" or os.environ.get(variable) == "":
        raise click.UsageError(f"{variable}, or --{parameter.name}, is empty.")
    return value


def command(function: Command) -> click.Command:
    """A command that speaks to a server: with its options, and run on a loop of its own."""

    @commands.command(function.__name__.strip("_"))
    @click.option(
        *("--url", "url"),
        envvar="HEADGATE_URL",
        callback=_not_empty,
        default="http://127.0.0.1:8080",
        show_default=True,
        help="Where the server is. [env: HEADGATE_URL]",
    )
    @click.option("--token", envvar="HEADGATE_TOKEN", callback=_not_empty, help="Who you are. [env: HEADGATE_TOKEN]")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for other programs.")
    @wraps(function)
    def run_it(url: str, token: str | None, as_json: bool, **arguments: Any) -> None:
        remote_ = _remote(url, token)

        async def run() -> int:
            async with remote_ as remote:
                context = Context(remote, Show(as_json=as_json))
                async with context.trying():
                    await function(context, **arguments)
            return context.code

        if code := _run(run()):
            raise _Failed(code)

    return run_it


def _remote(url: str, token: str | None) -> Remote:
    try:
        parsed = URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host or not parsed.port:
            raise ValueError
        if token and parsed.user is not None:
            raise click.UsageError("The URL names a user, and there is a token: say one of them.")
    except ValueError:
        raise click.BadParameter(f"{url!r} is no URL of a server: http://host:port", param_hint="--url") from None
    if token is not None and not token.isprintable():
        raise click.BadParameter("a token is printable", param_hint="--token")
    return Remote(url, token)


def _run(main: Coroutine[Any, Any, int]) -> int:
    """Run `main`; the first signal that is to end it cancels it."""
    ended = 0

    async def run() -> int:
        task = asyncio.current_task()
        assert task is not None

        def end(number: int) -> None:
            nonlocal ended
            ended = ended or number
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, end, number)
        return await main

    runner = asyncio.Runner()
    try:
        code = runner.run(run())
        runner.close()
        return code
    except asyncio.CancelledError:
        if ended:
            raise _Ended(ended) from None
        raise
