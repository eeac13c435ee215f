"""Environment variables and key files, without what editors and shells add to them."""

from __future__ import annotations

import codecs
import os
import re

from fullstory_async.errors import ConfigurationError

__all__ = [
    "clean_key",
    "decode_text",
    "flag",
    "is_value_of",
    "key_from_environment",
    "number",
    "read_file",
    "read_key_file",
    "variable",
]

KEY, KEY_FILE = "FULLSTORY_API_KEY", "FULLSTORY_API_KEY_FILE"

_MARKS = "\ufeff\udcef\udcbb\udcbf\udcff\udcfe"
"""Byte order marks, decoded, and as Python reads the bytes of a variable that isn't UTF-8."""
_EDGES = " \t\r\n\v\f\0\x85\xa0\u200b\u2028\u2029" + _MARKS
"""What may surround a value; no key and no URL begins or ends with any of it."""
_LARGEST_KEY_FILE = 64 * 1024
_FLAGS = {
    "1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip


def variable(name: str) -> str | None:
    """Return an environment variable without byte order marks and white space around its value.

    Returns:
        ``None`` if it is missing or empty.

    Raises:
        ConfigurationError: it holds only white space.
    """
    text = os.environ.get(name)
    if not text:
        return None
    cleaned = text.strip(_EDGES)
    if not cleaned:
        raise ConfigurationError(f"the variable {name} is empty but for white space; set or unset it")
    return cleaned


def number(name: str) -> float | None:
    """Return the number in an environment variable; ``None`` if it is missing or empty.

    Raises:
        ConfigurationError: it holds something else.
    """
    text = variable(name)
    try:
        return None if text is None else int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise ConfigurationError(f"the variable {name} must be a number, not {text!r:.40}") from None


def flag(name: str) -> bool | None:
    """Return whether an environment variable switches something on; ``None`` if it is missing or empty.

    Raises:
        ConfigurationError: it holds something else than 1, 0, true, false, yes, no, on or off.
    """
    text = variable(name)
    if text is None:
        return None
    if text.lower() not in _FLAGS:
        raise ConfigurationError(f"the variable {name} must be 1 or 0, true or false, not {text!r:.40}")
    return _FLAGS[text.lower()]


def is_value_of(name: str, text: str) -> bool:
    """Return whether a text is the value of an environment variable, cleaned as `variable` does."""
    return text == os.environ.get(name, "").strip(_EDGES)


def key_from_environment() -> tuple[str | None, str]:
    """Return the API key and where it was found: the variable, or the file that another variable names.

    Raises:
        ConfigurationError: the file can't be read as a key.
    """
    if (key := variable(KEY)) is not None:
        return key, f"the API key in the variable {KEY}"
    if (path := variable(KEY_FILE)) is not None:
        return read_key_file(path, KEY_FILE), f"the API key in the file that {KEY_FILE} names"
    return None, "the API key"


def clean_key(key: object, name: str) -> str:
    """Return a key without whitespace and a pasted ``Basic``.

    Raises:
        ConfigurationError: no header can hold it; the text has its name, and never shows it.
    """
    if not isinstance(key, str):
        raise ConfigurationError(f"{name} must be text, not {type(key).__name__}")
    key = str.__str__(key).strip(" \t\r\n")
    key = re.sub(r"^basic(\s+|$)", "", key, flags=re.IGNORECASE)
    if not key:
        raise ConfigurationError(f"{name} is empty")
    if key[0] in "\"'" or key[-1] in "\"'":
        raise ConfigurationError(f"{name} begins or ends with a quotation mark; give it without")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigurationError(f"{name} holds a space, a control character or a non-ASCII character")
    return key


def read_key_file(path: str | os.PathLike[str], named_by: str, what: str = "API key") -> str:
    """Return the key or token that a file holds, in UTF-8 or UTF-16, with or without a byte order mark.

    Raises:
        ConfigurationError: it can't be read, or holds anything but one line; the text says which option or
            variable names the file.
    """
    which = f"the {what} file {os.fspath(path)!r} ({named_by})"
    text = decode_text(read_file(path, which, _LARGEST_KEY_FILE))
    if text is None:
        raise ConfigurationError(f"can't read {which}: it is neither UTF-8 nor UTF-16")
    lines = [line for each in text.splitlines() if (line := each.strip(_EDGES))]
    if len(lines) != 1:
        found = f"no {what}" if not lines else f"{len(lines)} lines"
        raise ConfigurationError(f"{which} holds {found}; it must hold the {what} alone, on one line")
    return lines[0]


def read_file(path: str | os.PathLike[str], which: str, largest: int) -> bytes:
    """Return the content of a file that a setting names.

    A named pipe that no program writes to is empty: waiting for a writer could take for ever.

    Args:
        path: the file.
        which: the file and its setting, for messages.
        largest: the bytes that it may have.

    Raises:
        ConfigurationError: it can't be read, or is larger.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise ConfigurationError(f"can't read {which}: {error.strerror}") from None
    except ValueError:  # a null character
        raise ConfigurationError(f"can't read {which}: not a path") from None
    if len(content) > largest:
        raise ConfigurationError(f"{which} is larger than {largest // 1024} KiB")
    return content


def _open_at_once(path: str, flags: int) -> int:
    number = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # Windows has none
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(number, True)  # a writer may need time for what it writes
    return number


def decode_text(content: bytes) -> str | None:
    """Return the text of a small file in UTF-8, UTF-16 or UTF-32; ``None`` if it is none of these."""
    try:
        return content.decode(_encoding_of(content))
    except UnicodeDecodeError:
        return None


def _encoding_of(content: bytes) -> str:
    # UTF-32's mark begins with UTF-16's
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
    ):  # fmt: skip
        if content.startswith(mark):
            return encoding
    # without a mark, every second byte of ASCII text in UTF-16 is zero
    if content[1:2] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if content[:1] == b"\0" else "utf-8"
