"""Functions that draw lots: identifiers, numbers, a free port."""

from __future__ import annotations

import secrets
import time
import uuid as uuids
from typing import Any

from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.functions_core import OMITTED, needed
from kestra_dagster.expressions.values import INTEGER, LONG, rank, type_word

_BASE_62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_URL_SAFE = _BASE_62 + "-_"
_KSUID_EPOCH = 1_400_000_000
_MOST_CHARACTERS = 1000


def _base_62(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE_62[digit] + digits
    return digits or "0"


def uuid(context: Context) -> str:
    """Return a random UUID."""
    return str(uuids.uuid4())


def short_id(context: Context) -> str:
    """Return a random UUID in base 62."""
    return _base_62(uuids.uuid4().int)


def ksuid(context: Context) -> str:
    """Return an identifier that sorts by time: seconds and 16 random bytes, in base 62."""
    seconds = int(time.time()) - _KSUID_EPOCH
    number = int.from_bytes(seconds.to_bytes(4, "big") + secrets.token_bytes(16), "big")
    return _base_62(number).rjust(27, "0")


def nano_id(context: Context, length: Any = None, alphabet: Any = None) -> str:
    """Return so many random characters of an alphabet (21 that are safe in a URL)."""
    count = 21 if length is None else _whole(length, "nanoId", "length")
    if not 0 <= count <= _MOST_CHARACTERS:
        raise ExpressionError(f"`nanoId()` gives at most {_MOST_CHARACTERS} characters")
    letters = _URL_SAFE if alphabet is None else alphabet
    if not isinstance(letters, str) or not letters:
        raise ExpressionError("`nanoId()` needs a string of characters as `alphabet`")
    return "".join(secrets.choice(letters) for _ in range(count))


def random_int(context: Context, lower: Any = OMITTED, upper: Any = OMITTED) -> int:
    """Return a whole number from `lower` up to, and not including, `upper`."""
    low = _whole(needed(lower, "randomInt", "lower"), "randomInt", "lower")
    high = _whole(needed(upper, "randomInt", "upper"), "randomInt", "upper")
    if high < low:
        raise ExpressionError(f"`randomInt()` needs `upper` ({high}) above `lower` ({low})")
    return low + (secrets.randbelow(high - low) if high > low else 0)


def _whole(value: Any, function: str, argument: str) -> int:
    if rank(value) in (INTEGER, LONG):
        return int(value)
    raise ExpressionError(
        f"`{function}()` needs a whole number as `{argument}`, not {type_word(value)}"
    )


def random_port(context: Context) -> int:
    """Return a port that nobody listens on right now."""
    import socket

    with socket.socket() as probe:
        try:
            probe.bind(("", 0))
            return probe.getsockname()[1]
        except OSError as error:
            raise ExpressionError(f"no free port: {error}") from None
