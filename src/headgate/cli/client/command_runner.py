"""Running a client's command: the options that all of them have, the event loop, the signals, the exit code.

`command` makes a click command of a coroutine function that takes a `Context`. Exit codes: 0 done; 1 refused, failed,
or not found; 2 the command line is wrong; 3 the server cannot be reached; 4 a user terminated the transfer; 130
interrupted (Ctrl-C), 143 by SIGTERM. A command that does several things exits with the highest code of them.
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

from headgate.cli.client.api_client import ApiClient, Problem, Unreachable
from headgate.cli.client.output import Output
from headgate.cli.client.remote_job import LocalError
from headgate.cli.server import argument_parser

__all__ = ["Command", "Context", "command", "main"]

DONE = 0
FAILED = 1
UNREACHABLE = 3
TERMINATED = 4


class _CommandFailed(Exception):
    """A part of the command failed, and its error has been printed."""

    def __init__(self, code: int) -> None:
        self.code = code


def main(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name may have characters that the terminal has not
    try:
        commands.main(args=list(argv), prog_name="headgate", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except _CommandFailed as error:
        return error.code
    except (KeyboardInterrupt, click.Abort):
        _leave(128 + signal.SIGINT)
    except _Signalled as ended:
        _leave(128 + ended.number)
    except OSError as error:
        return _output_failed(error)
    try:
        sys.stdout.flush()
    except OSError as error:
        return _output_failed(error)
    return DONE


def _output_failed(error: OSError) -> int:
    """Standard output cannot be written to: say so on standard error, and return the exit code of a failure."""
    with suppress(OSError):
        print(f"headgate: standard output cannot be written: {error.strerror or error}", file=sys.stderr)
    with suppress(OSError):  # so that Python's own flush at exit does not fail, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def _leave(code: int) -> NoReturn:
    """End the process at once, without waiting for a thread that may be blocked in writing to a pipe."""
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


class _Signalled(Exception):
    """The signal `number` ended the command."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headgate")
def commands() -> None:
    """Uploads and exports that you can watch, pause, slow and stop."""


class _ServerCommand(click.Command):
    """A command of `headgate.cli.server`, which is not run from here: it is listed in the help."""

    def __init__(self, name: str, help_: str) -> None:
        super().__init__(name, short_help=help_, add_help_option=False)


for name, purpose in argument_parser.COMMANDS.items():
    commands.add_command(_ServerCommand(name, purpose))


class Context:
    """What a command works with: the client of the server, the output, and the exit code so far."""

    def __init__(self, remote: ApiClient, output: Output) -> None:
        self.remote = remote
        self.output = output
        self.code = DONE

    @asynccontextmanager
    async def trying(self, what: str | None = None) -> AsyncIterator[None]:
        """A context for one of several things: an error in it is printed, and sets `code`; the command goes on."""
        prefix = f"{what}: " if what else ""
        try:
            yield
        except Problem as error:
            self.output.complain(f"{prefix}{error} ({error.code})", code=error.code, what=what)
            self.code = max(self.code, TERMINATED if error.code == "terminated" else FAILED)
        except LocalError as error:
            self.output.complain(str(error), code="local", what=what)
            self.code = max(self.code, FAILED)
        except Unreachable as error:
            self.output.complain(f"the server cannot be reached: {error}", code="unreachable", what=what)
            self.code = max(self.code, UNREACHABLE)


Command = Callable[..., Awaitable[None]]


def _not_empty(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an empty option: a script with an unset variable of its own must not reach the default server.

    click treats an empty environment variable as absent, so it is checked here.
    """
    variable = f"HEADGATE_{(parameter.name or '').upper()}"
    if value == "" or os.environ.get(variable) == "":
        raise click.UsageError(f"{variable}, or --{parameter.name}, is empty.")
    return value


def command(function: Command) -> click.Command:
    """Make a command of `function`: with the options of all commands, and run on an event loop of its own."""

    @commands.command(function.__name__.strip("_"))
    @click.option(
        *("--url", "url"),
        envvar="HEADGATE_URL",
        callback=_not_empty,
        default="http://127.0.0.1:8080",
        show_default=True,
        help="URL of the server. [env: HEADGATE_URL]",
    )
    @click.option("--token", envvar="HEADGATE_TOKEN", callback=_not_empty, help="Your token. [env: HEADGATE_TOKEN]")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for other programs.")
    @wraps(function)
    def run_it(url: str, token: str | None, as_json: bool, **arguments: Any) -> None:
        remote_ = _remote(url, token)

        async def run() -> int:
            async with remote_ as remote:
                context = Context(remote, Output(as_json=as_json))
                async with context.trying():
                    await function(context, **arguments)
            return context.code

        if code := _run(run()):
            raise _CommandFailed(code)

    return run_it


def _remote(url: str, token: str | None) -> ApiClient:
    try:
        parsed = URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host or not parsed.port:
            raise ValueError
        if token and parsed.user is not None:
            raise click.UsageError("The URL names a user, and there is a token: give only one of them.")
    except ValueError:
        raise click.BadParameter(f"{url!r} is no URL of a server: http://host:port", param_hint="--url") from None
    if token is not None and not token.isprintable():
        raise click.BadParameter("a token is printable", param_hint="--token")
    return ApiClient(url, token)


def _run(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` on an event loop; SIGINT, SIGTERM or SIGHUP cancels it. Raises _Signalled then."""
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
            raise _Signalled(ended) from None
        raise
