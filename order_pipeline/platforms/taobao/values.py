"""Single values of a trade, from whatever type they came in (Taobao contract §1.4).

Belongs here: text, ids, money, moments and whole numbers, one reader each, all of them pure. Not here: which field
of a trade holds what (parsing.py).

Missing is ``None`` or ``""``; every reader answers ``None`` for it. Whatever cannot be read raises UnreadableError.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from functools import lru_cache

# The platform's wall clock; China has had no summer time since 1991, so the offset is fixed.
CHINA = timezone(timedelta(hours=8), "Asia/Shanghai")

# numeric(18,2): sixteen digits before the point, two behind it.
MONEY_LIMIT = Decimal(10) ** 16
CENT = Decimal("0.01")
# A money text is never longer: sign, sixteen digits, point, and room for zeros behind it.
MONEY_CHARACTERS = 40

# The largest integer column of PostgreSQL's integer type.
INTEGER_LIMIT = 2**31
# Ids are numbers of up to 19 digits (2918463730000005258); the platform counts them in signed 64 bits.
ID_DIGITS = 19
# Far above any number of the contract, far below what Python refuses to write out.
LONGEST_NUMBER_BITS = 1000
# Codes, ids and numbers of parcels end up in indexes, which refuse very long values; nothing documented exceeds 64.
CODE_CHARACTERS = 500

# The same amounts and moments come again and again (0.00; one second of a bulk edit; a line's time is its trade's).
CACHED_VALUES = 16_384


class UnreadableError(ValueError):
    """A value that cannot be what its field should hold. The message describes it without quoting people's words."""


def read_text(value: object) -> str | None:
    """Read free text; a number or a boolean is written out."""
    if value.__class__ is str:
        return value or None
    if value is None:
        return None
    if value.__class__ is int:
        return _digits(value)
    return _written(value)


def read_code(value: object) -> str | None:
    """Read a short text that stands for something: a status, a type, a number of something."""
    text = read_text(value)
    if text is not None and len(text) > CODE_CHARACTERS:
        raise UnreadableError(f"a text of {len(text)} characters is no code")
    return text


def read_id(value: object) -> str:
    """Read the id of an order or a line, 1–19 digits, a number or text (§1.4); a missing one is unreadable."""
    if value.__class__ is int:
        text = _digits(value)
    elif value.__class__ is str:
        text = value
    else:
        raise UnreadableError(f"{_described(value)} is no id of 1-{ID_DIGITS} digits")
    if len(text) > ID_DIGITS or not (text.isdecimal() and text.isascii()):
        raise UnreadableError(f"{_described(value)} is no id of 1-{ID_DIGITS} digits")
    return text


def read_money(value: object) -> Decimal | None:
    """Read yuan, as numeric(18,2) holds it: finite, at most sixteen digits before the point and two behind it."""
    if value.__class__ is str:
        return _money_of_text(value) if value else None
    if value is None:
        return None
    if value.__class__ is int or value.__class__ is float:
        return _money_of_text(_digits(value))
    raise UnreadableError(f"{_described(value)} is no money")


def read_moment(value: object) -> datetime | None:
    """Read a moment ``yyyy-MM-dd HH:mm:ss`` of the platform's clock, GMT+8, as an aware datetime."""
    if value.__class__ is str:
        return _moment_of_text(value) if value else None
    if value is None:
        return None
    raise UnreadableError(f"{_described(value)} is no time")


def read_integer(value: object) -> int | None:
    """Read a whole number that fits an integer column, a number or text."""
    if value is None or value == "":
        return None
    if value.__class__ is int:
        number: int = value
    elif value.__class__ is str and len(value) <= ID_DIGITS:
        text: str = value
        if not (text.isascii() and text.removeprefix("-").isdecimal()):
            raise UnreadableError(f"{_described(value)} is no whole number")
        number = int(text)
    else:
        raise UnreadableError(f"{_described(value)} is no whole number")
    if not -INTEGER_LIMIT <= number < INTEGER_LIMIT:
        raise UnreadableError(f"{_described(value)} is too large a number")
    return number


@lru_cache(maxsize=CACHED_VALUES)
def _money_of_text(text: str) -> Decimal:
    try:
        # Decimal() also takes underscores and the digits of other scripts; no column was meant to.
        if len(text) > MONEY_CHARACTERS or "_" in text or not text.isascii():
            raise UnreadableError(f"{_described(text)} is no money")
        amount = Decimal(text)
        # NaN and infinity raise here or in quantize; the comparison comes first, as quantize raises on huge numbers.
        if not -MONEY_LIMIT < amount < MONEY_LIMIT:
            raise UnreadableError(f"{_described(text)} does not fit numeric(18,2)")
        rounded = amount.quantize(CENT)
    except InvalidOperation:
        raise UnreadableError(f"{_described(text)} is no money") from None
    if rounded != amount:
        raise UnreadableError(f"{_described(text)} has fractions of a cent")
    return rounded


@lru_cache(maxsize=CACHED_VALUES)
def _moment_of_text(text: str) -> datetime:
    # Only the wire format: fromisoformat alone also takes weeks, fractions and offsets.
    if len(text) == 19 and text[4] == text[7] == "-" and text[10] == " " and text[13] == text[16] == ":":
        try:
            return datetime.fromisoformat(text).replace(tzinfo=CHINA)
        except ValueError:
            pass
    raise UnreadableError(f"{_described(text)} is no time of the form yyyy-MM-dd HH:mm:ss")


def _written(value: object) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int | float):
        return _digits(value)
    raise UnreadableError(f"a {type(value).__name__} is no text")


def _digits(number: float) -> str:
    # Python refuses to write out integers of more than 4,300 digits.
    if isinstance(number, int) and number.bit_length() > LONGEST_NUMBER_BITS:
        raise UnreadableError("a number of hundreds of digits")
    return repr(number)


def _described(value: object) -> str:
    """Describe a value in ASCII, shortened."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__}"
    try:
        written = json.dumps(value)
    except ValueError:
        return "a number of thousands of digits"
    return written if len(written) <= 40 else f"{written[:40]}... ({len(written)} characters)"
