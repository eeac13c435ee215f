"""Spelling: finds a text in whatever a server or proxy made of it when it quoted a request.

The text that may quote it is normalised: escapes of URLs, JSON and HTML are decoded, layer by layer, and
case, white space and whatever continues a line are dropped. All of it takes time in proportion to the text's
length.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from html import unescape
from urllib.parse import quote, quote_plus

__all__ = ["Finder", "Reading", "finder_of"]

_LAYERS = 4
"""Kinds of escapes within each other that are decoded; of one kind, any number is."""
_TRACKED = 1 << 16
"""Length above which a text is replaced whole: the places of its characters take memory and time."""
_NAME = 6
"""Length below which the name in an e-mail address may be a common word."""
_CORE = 8
"""Length below which a form in base64 may be a chance."""

_HEX = "[0-9a-fA-F]"
_PERCENT = "%(?:25)*"
_MORE = f"{_PERCENT}[89abAB]{_HEX}"
# a lookbehind, so that a long run of backslashes is tried once
_BACKSLASHES = r"(?<!\\)\\+"
# browsers do without the semicolon, unless an escape follows that stands for it or for another digit; what
# breaks a line may stand within an escape
_GOES_ON = r"[%\\\r\n\0\u200b\u00ad]|=\r?\n|<w?br|&\#?\w{1,8};"
_END = rf"(?:;|(?![0-9]|{_GOES_ON}))"
_HEX_END = rf"(?:;|(?!{_HEX}|{_GOES_ON}))"
_BREAK = rf"(?:=|\\(?!\r?\n[ \t]*[uUxX]{_HEX}))?\r?\n[ \t]*(?:[>|][>| \t]{{0,20}}|\#[ \t])?"
"""The end of a line, as mails, headers, quotations and scripts continue after it."""
_ESCAPE = re.compile(
    r"(?=[\\%&=<\r\n\0\u200b\u00ad])(?:"  # nearly all characters begin none
    rf"(?:{_BACKSLASHES}|{_PERCENT})[uU](?P<high>[dD][89abAB]{_HEX}{{2}})"
    rf"(?:\\+|{_PERCENT})[uU](?P<low>[dD][c-fC-F]{_HEX}{{2}})"
    rf"|{_BACKSLASHES}(?:[uU](?P<json>{_HEX}{{4}})|[uU]\{{(?P<braces>{_HEX}{{1,6}})\}}|[xX](?P<x>{_HEX}{{2}})"
    r"|[nrtbf0])"
    rf"|(?P<percent>{_PERCENT}(?:[0-7]{_HEX}|[c-dC-D]{_HEX}{_MORE}|[eE]{_HEX}(?:{_MORE}){{2}}"
    rf"|[fF][0-7](?:{_MORE}){{3}}|{_HEX}{{2}}|[uU]{_HEX}{{4}}))"
    rf"|&(?:amp;|\#38;|\#x26;)*(?:\#[xX]0*(?P<hex>{_HEX}{{1,6}}){_HEX_END}"
    rf"|\#0*(?P<decimal>[0-9]{{1,7}}){_END}"
    r"|(?P<name>[a-zA-Z][a-zA-Z0-9]{1,31};))"
    rf"|{_BREAK}|[\0\u200b\u00ad]+"
    r"|</?(?i:wbr|br|b|i|u|p|em|strong|span|mark|code|a|div|font|kbd|li|pre|samp|td|tt)"
    r"(?:\s[^<>]{0,100})?/?>)"
)
_OWN = "!$'()*,/:?@"
"""What our own requests leave as it is in a query."""
_HEXADECIMAL = ("json", "braces", "x", "hex")


_KEPT = 0x3000
"""Characters below this are remembered; a text with all of Unicode would fill the memory."""


class _Compacting(dict[int, str | None]):
    """A table for `str.translate`: one case, and nothing that breaks a text into lines or stands for it."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        folded = char.casefold()
        # ``+`` may stand for a space, a backslash for a line that continues
        left_out = char in "+\\" or char.isspace() or not char.isprintable()
        new = None if left_out else folded if len(folded) == 1 else char
        if code < _KEPT:
            self[code] = new
        return new


_COMPACTING = _Compacting()


class Form:
    """One way in which a text may be written, compact, and how much of it gives it away."""

    __slots__ = ("half", "is_cut_at_end", "last_start", "least", "text")

    def __init__(self, text: str, *, least: int | None = None) -> None:
        """Take a compact text.

        Args:
            text: what to find.
            least: the number of consecutive characters that give it away. By default two thirds; and half
                of it, or the name in an e-mail address, where a word ends after that.
        """
        at = text.find("@")
        self.text, self.is_cut_at_end = text, least is None
        self.least = min(len(text), least or max(_CORE, math.ceil(len(text) * 2 / 3)))
        self.last_start, self.half = len(text), self.least
        if least is None:
            self.half = min(len(text), max(4, (len(text) + 1) // 2))
        if least is None and at > 0:
            # of an e-mail address, the domain alone is many others' too; the name before it may be enough
            self.last_start, self.half = at // 2, min(self.half, max(_NAME, at))

    def run(self, text: str, place: int, start: int, width: int) -> tuple[int, int] | None:
        """Return where as much as possible of the form stands in a text, if it gives it away.

        Args:
            text: a compact text.
            place: where a block of the form stands in it.
            start: where that block stands in the form.
            width: the length of the block.
        """
        form, left, first = self.text, place, start
        while left and first and text[left - 1] == form[first - 1]:
            left, first = left - 1, first - 1
        right, last = place + width, start + width
        while right < len(text) and last < len(form) and text[right] == form[last]:
            right, last = right + 1, last + 1
        is_enough = right - left >= self.least and first <= self.last_start
        is_cut = self.is_cut_at_end and first == 0 and right - left >= self.half
        return (left, right) if is_enough or (is_cut and not text[right : right + 1].isalnum()) else None


class Finder:
    """Finds a text in each of its forms."""

    __slots__ = ("_blocks", "_pattern", "_width")

    def __init__(self, forms: Iterable[Form]) -> None:
        """Prepare for these forms."""
        known = [form for form in forms if form.text]
        # every run that gives a form away holds a block of this width at one of its multiples
        self._width = width = min(((form.half + 1) // 2 for form in known), default=1)
        self._pattern = re.compile(f"(?s:.{{{width}}})")
        self._blocks: dict[str, list[tuple[Form, int]]] = {}
        for form in known:
            for start in range(len(form.text) - width + 1):
                self._blocks.setdefault(form.text[start : start + width], []).append((form, start))

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where enough of a form stands in a compact text."""
        blocks = self._pattern.findall(text)
        if self._blocks.keys().isdisjoint(blocks):
            return
        end = 0
        for number, block in enumerate(blocks):
            place = number * self._width
            if block not in self._blocks or place + self._width <= end:
                continue
            for form, start in self._blocks[block]:
                if (run := form.run(text, place, start, self._width)) is not None:
                    yield run
                    end = max(end, run[1])
                    if run[1] - run[0] == len(form.text):
                        break


class Reading:
    """A text, and what remains of it without escapes, case and white space."""

    __slots__ = ("_layers", "text")

    def __init__(self, text: str) -> None:
        """Read a text."""
        self.text = text
        self._layers = [_compact(layer) for layer in _layers(text)]

    def without(self, finder: Finder, instead: str) -> Reading:
        """Return it with something else in each place where a finder finds its text."""
        places: list[tuple[int, int]] = []
        for number, layer in enumerate(self._layers):
            if len(self.text) > _TRACKED and any(finder.find(layer)):
                return Reading(instead)
            if found := list(finder.find(layer)):
                starts, ends = _tracked(self.text, number)
                places += [(starts[left], ends[right - 1]) for left, right in found]
        return Reading(_replaced(self.text, places, instead)) if places else self


def _compact(text: str) -> str:
    """Return a text in one case, without white space and the like."""
    return text.translate(_COMPACTING)


def finder_of(text: str, *, least: int | None = None) -> Finder:
    """Prepare to find a text, also in base64, as a part of something longer such as a URL.

    Args:
        text: the text itself.
        least: the number of consecutive characters that give it away; see `Form`.
    """
    found = {_compact(each): least for each in _layers(text)}
    # as it is, and as URLs have it: others escape more of it than we do
    for part in {
        text,
        quote(text, "", errors="surrogatepass"),
        quote_plus(text, _OWN, errors="surrogatepass"),
    }:
        for core in _in_base64(part):
            enough = math.ceil(len(core) * 2 / 3) if least is None else least
            found.setdefault(core, max(_CORE, enough) + (0 if least is None else _CORE // 2))
    return Finder(Form(each, least=least) for each, least in found.items())


def _in_base64(text: str) -> Iterator[str]:
    """Yield what base64 makes of a text wherever it stands in something longer, compact."""
    for before in range(3):
        content = b" " * before + text.encode("utf-8", "surrogatepass")
        # the characters at both ends also hold bits of what stands beside the text
        first, last = math.ceil(before * 4 / 3), len(content) * 4 // 3
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            core = _compact(encode(content).decode()[first:last])
            if len(core) >= _CORE:
                yield core


def _replaced(text: str, places: Iterable[tuple[int, int]], instead: str) -> str:
    pieces, end = [], 0
    for left, right in sorted(places):
        if left >= end:
            pieces += [text[end:left], instead]
        end = max(end, right)
    return "".join([*pieces, text[end:]])


def _layers(text: str) -> Iterator[str]:
    """Yield a text as it is, and then with one layer of escapes less each time."""
    for _ in range(_LAYERS):
        yield text
        if not ("%" in text or "&" in text or "\\" in text or "<" in text or "\n" in text):
            return
        decoded = _ESCAPE.sub(_meaning, text)
        if decoded == text:
            return
        text = decoded
    yield text


def _meaning(escape: re.Match[str]) -> str:
    """Return what an escape stands for."""
    kind = escape.lastgroup
    if kind is None:  # a line break, or markup that hides nothing
        return ""
    if kind == "low":
        pair = 0x10000 + ((int(escape["high"], 16) & 0x3FF) << 10) + (int(escape["low"], 16) & 0x3FF)
        return chr(pair)
    if kind == "percent":
        return _unquoted(escape["percent"])
    if kind == "name":
        return unescape(f"&{escape['name']}")
    code = int(escape[kind], 16 if kind in _HEXADECIMAL else 10)
    return chr(code) if code < 0x110000 else ""


def _unquoted(escape: str) -> str:
    """Return the character that one or more escapes with ``%`` stand for."""
    if "u" in escape.lower():
        return chr(int(escape[-4:], 16))
    content = bytes(int(each[-2:], 16) for each in escape.split("%")[1:])
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _tracked(text: str, layers: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return where each character of a decoded, compact text begins and ends in the original."""
    starts: Sequence[int] = range(len(text))
    ends: Sequence[int] = range(1, len(text) + 1)
    for _ in range(layers):
        pieces, new_starts, new_ends, at = [], list[int](), list[int](), 0
        for escape in _ESCAPE.finditer(text):
            meaning, (left, right) = _meaning(escape), escape.span()
            pieces += [text[at:left], meaning]
            new_starts += [*starts[at:left], *[starts[left]] * len(meaning)]
            new_ends += [*ends[at:left], *[ends[right - 1]] * len(meaning)]
            at = right
        text = "".join([*pieces, text[at:]])
        starts, ends = [*new_starts, *starts[at:]], [*new_ends, *ends[at:]]
    kept = [number for number, char in enumerate(text) if _COMPACTING[ord(char)]]
    return [starts[number] for number in kept], [ends[number] for number in kept]
