"""The command lines of ``headgate serve`` and ``headgate token``, which need only the base install.

Every option of ``serve`` can be set by an environment variable: ``--max-file-size`` by ``HEADGATE_MAX_FILE_SIZE``. An
option counts before its variable. Exit codes: 0 done, 1 the server could not start, 2 the command line is wrong.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headgate.cli.server.server_process import ServeOptions, serve
from headgate.cli.value_parsers import (
    format_size,
    parse_count,
    parse_port,
    parse_seconds,
    parse_size,
    parse_size_or_zero,
)
from headgate.config import Config, OnConflict
from headgate.errors import ConfigError, StorageUnusable
from headgate.web.middleware.tokens import new_token

__all__ = ["COMMANDS", "LIMITS", "main"]

#: The commands, each with its help.
COMMANDS = {"serve": "run the server", "token": "make a token"}

LOG_LEVELS = ("debug", "info", "warning", "error")

#: The values that a flag may have in the environment.
_FLAGS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)

#: Variables that other code reads: the commands of a client, and the tests of this project.
_OTHER_VARIABLES = ("HEADGATE_URL", "HEADGATE_TOKEN", "HEADGATE_REQUIRE")

#: Variables that Kubernetes sets in the containers of a service called headgate ("Discovering services").
_KUBERNETES = re.compile(r"HEADGATE_SERVICE_(HOST|PORT(_\w+)?)|HEADGATE_PORT_\d+_\w+")
_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://[^/]+:\d+")


_SIZES: dict[Callable[[str], float], str] = {parse_size: "SIZE", parse_size_or_zero: "SIZE"}

#: The limits of Config that are options of the same name: the parser and the help of each.
LIMITS: tuple[tuple[str, Callable[[str], float], str], ...] = (
    ("max_file_size", parse_size, "bytes that a file, and an upload of several, may have: 500MB, 20GiB"),
    ("min_free", parse_size_or_zero, "bytes that the disk keeps free"),
    ("quota", parse_size, "bytes that all files may have together, those on their way included"),
    ("quota_per_owner", parse_size, "bytes that the files of one user may have together"),
    ("max_jobs", parse_count, "transfers that may run at once"),
    ("max_jobs_per_owner", parse_count, "transfers of one user that may run at once"),
    ("owner_rate", parse_size, "bytes per second that the transfers of one user may move together"),
    ("total_rate", parse_size, "bytes per second that all transfers may move together"),
    ("max_connections", parse_count, "connections that may be open at once"),
    ("max_connections_per_address", parse_count, "connections of one address that may be open at once"),
    ("idle_timeout", parse_seconds, "seconds for which a client may send, or take, nothing"),
    ("min_rate", parse_size_or_zero, "bytes per second that a client must send, or take, on average"),
    ("min_rate_window", parse_seconds, "seconds over which that is measured"),
    ("header_timeout", parse_seconds, "seconds in which a connection must have sent a request's headers"),
    ("upload_expiry", parse_seconds, "seconds for which a resumable upload without new bytes is kept"),
    ("drain_timeout", parse_seconds, "seconds that running transfers are given at shutdown"),
)


def main(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    arguments = _parser(os.environ).parse_args(argv)
    try:
        command: Callable[[argparse.Namespace], int] = arguments.command
        return command(arguments)
    except ConfigError as error:
        print(f"headgate: {error}", file=sys.stderr)
        return 2
    except (StorageUnusable, OSError) as error:
        print(f"headgate: {error}", file=sys.stderr)
        return 1


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headgate", description="Uploads and exports that you can watch, pause, slow and stop."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "serve",
        help=COMMANDS["serve"],
        description="Run the server. The environment sets options too: HEADGATE_MAX_FILE_SIZE is --max-file-size.",
    )

    known, warnings, empty = set(_OTHER_VARIABLES), list[str](), list[str]()

    def option(flag: str, **settings: Any) -> None:
        variable = "HEADGATE_" + flag.removeprefix("--").replace("-", "_").upper()
        known.add(variable)
        if variable in environment and _is_kubernetes(variable, environment[variable]):
            warnings.append(
                f"{variable} is set by Kubernetes for a service called headgate; it is not used as an option"
            )
        elif variable in environment:
            value: Any = environment[variable]
            if not value:
                # Reported by `_serve`: this parser is also made for other commands, to which it does not matter.
                empty.append(variable)
            if settings.get("action") == "store_true":
                value = _FLAGS.get(value.lower(), False if not value else None)
                if value is None:
                    command.error(f"{variable} must be true or false, not {environment[variable]!r}")
            # argparse passes a default that is a string through `type`, but does not compare it with `choices`.
            elif value and "choices" in settings and value not in settings["choices"]:
                command.error(f"{variable} must be one of {', '.join(settings['choices'])}, not {value!r}")
            if value != "":
                settings["default"] = value
        command.add_argument(flag, **settings)

    defaults = Config()
    option("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    option("--port", type=parse_port, default=8080, help="port to listen on; 0 for any free one (default: %(default)s)")
    option("--root", type=Path, default=defaults.root, metavar="DIR", help="where files live (default: %(default)s)")
    option("--tokens", type=Path, metavar="FILE", help="the users: lines of user:sha256-of-token[:admin]")
    option(
        "--anonymous",
        action="store_true",
        default=False,
        help="serve all clients without tokens on an address that is not loopback",
    )
    for name, parse, help_ in LIMITS:
        default = getattr(defaults, name)
        shown = "none" if default is None else format_size(default) if parse in _SIZES else f"{default:g}"
        option(
            "--" + name.replace("_", "-"),
            type=parse,
            default=default,
            metavar=_SIZES.get(parse, "NUMBER" if parse is parse_count else "SECONDS"),
            help=f"{help_} (default: {shown})",
        )
    option(
        "--on-conflict",
        choices=[str(choice) for choice in OnConflict],
        default=str(defaults.on_conflict),
        help="what happens when a name is taken and the upload does not say (default: %(default)s)",
    )
    option(
        "--public-url", metavar="URL", help="URL by which clients reach the server, if a proxy changes scheme or host"
    )
    option(
        "--cors-origins",
        default="",
        metavar="ORIGINS",
        help="origins whose pages may be clients, too, separated by commas: https://app.example",
    )
    option("--tls-cert", type=Path, metavar="FILE", help="certificate chain, PEM; needs --tls-key")
    option("--tls-key", type=Path, metavar="FILE", help="its private key, PEM")
    option("--log-level", choices=LOG_LEVELS, default="info", help="how much to log (default: %(default)s)")
    warnings += [
        f"{name} is not an option of headgate serve"
        for name in sorted(environment)
        if name.startswith("HEADGATE_") and name not in known and not _KUBERNETES.fullmatch(name)
    ]
    command.set_defaults(command=_serve, warnings=warnings, empty=empty)

    command = commands.add_parser(
        "token", help=COMMANDS["token"], description="Print a new token for USER, and its line for the tokens file."
    )
    command.add_argument("user", metavar="USER")
    command.add_argument("--admin", action="store_true", help="an admin sees and controls the jobs of all users")
    command.set_defaults(command=_token)
    return parser


def _is_kubernetes(variable: str, value: str) -> bool:
    return variable == "HEADGATE_PORT" and _KUBERNETES_PORT.fullmatch(value) is not None


def _serve(arguments: argparse.Namespace) -> int:
    if arguments.empty:
        raise ConfigError(f"{arguments.empty[0]} is empty: give it a value, or unset it.")
    for warning in arguments.warnings:
        print(f"headgate: warning: {warning}", file=sys.stderr)
    serve(
        Config(
            root=arguments.root,
            on_conflict=OnConflict(arguments.on_conflict),
            public_url=arguments.public_url or None,
            cors_origins=frozenset(filter(None, map(str.strip, arguments.cors_origins.split(",")))),
            **{name: getattr(arguments, name) for name, _, _ in LIMITS},
        ),
        ServeOptions(
            host=arguments.host,
            port=arguments.port,
            tokens=arguments.tokens,
            anonymous=arguments.anonymous,
            tls_cert=arguments.tls_cert,
            tls_key=arguments.tls_key,
            log_level=arguments.log_level,
        ),
    )
    return 0


def _token(arguments: argparse.Namespace) -> int:
    for line in new_token(arguments.user, admin=arguments.admin):
        print(line)
    return 0
