"""Header values with parameters: ``form-data; name="file"; filename="a.txt"``.

Rule of this file: a value is returned exactly as it was sent, or it is an error. aiohttp's own parser repairs some: it
strips leading slashes from quoted file names, so that ``/etc/passwd`` would arrive as ``etc/passwd``. Here it arrives
as it was sent, and `check_name` refuses it.
"""

import re
from urllib.parse import quote, unquote_to_bytes

from headgate.errors import MalformedBody

__all__ = ["attachment", "parse_parameters"]

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

# RFC 9110, 5.6.6: parameters = *( OWS ";" OWS [ parameter ] ). The value is a token or a quoted string (5.6.4). Outside
# quotes we also take what real clients send unquoted, up to the next semicolon.
_PARAMETER = re.compile(rf"""[ \t]*;[ \t]*(?:({_TOKEN})[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;"]*)[ \t]*)?""", re.DOTALL)
_VALUE = re.compile(r"[^;]*")

# In quotes, browsers send a backslash as it is, curl escapes quotes and backslashes: only those two pairs unescape.
_ESCAPED = re.compile(r'\\(["\\])')

# RFC 8187, 3.2: ext-value = charset "'" [ language ] "'" value-chars
_EXTENDED = re.compile(r"([A-Za-z0-9-]+)'[A-Za-z0-9-]*'([A-Za-z0-9!#$&+\-.^_`|~%]*)")


def parse_parameters(header: str) -> tuple[str, dict[str, str]]:
    """Split `header` into its value (lower case) and its parameters (names in lower case, values verbatim).

    An extended parameter (``filename*=utf-8''…``, RFC 8187) takes the place of the plain one of its name.
    Raises MalformedBody for anything that does not parse to the last character, and for a parameter that comes twice.
    """
    match = _VALUE.match(header)
    assert match is not None
    value = match[0].strip().lower()
    plain: dict[str, str] = {}
    extended: dict[str, str] = {}
    position = match.end()
    while position < len(header):
        match = _PARAMETER.match(header, position)
        if match is None:
            raise MalformedBody("A header's parameters are malformed.")
        position = match.end()
        if match[1] is None:  # an empty parameter: a trailing semicolon
            continue
        name, text = match[1].lower(), match[2].strip()
        found = extended if name.endswith("*") else plain
        name = name.removesuffix("*")
        if name in found:
            raise MalformedBody(f"A header has the parameter {name!r} twice.")
        if found is extended:
            found[name] = _extended(text)
        elif text.startswith('"'):
            found[name] = _ESCAPED.sub(r"\1", text[1:-1])
        else:
            found[name] = text
    return value, plain | extended


def _extended(text: str) -> str:
    match = _EXTENDED.fullmatch(text)
    if match is None or match[1].lower() not in ("utf-8", "iso-8859-1"):
        raise MalformedBody("An extended header parameter is malformed.")
    try:
        return unquote_to_bytes(match[2]).decode(match[1])
    except UnicodeDecodeError:
        raise MalformedBody("An extended header parameter is malformed.") from None


def attachment(name: str) -> str:
    """The Content-Disposition under which `name` is saved, never shown (RFC 6266).

    Old clients get an ASCII shadow of the name; the others read ``filename*``, where nothing breaks out of quotes.
    """
    shadow = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in name)
    exact = quote(name, safe="!#$&+^`|")
    return f"attachment; filename=\"{shadow}\"; filename*=UTF-8''{exact}"
