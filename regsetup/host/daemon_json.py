"""Edits dockerd's daemon.json as text: our entry goes in and comes out, every other byte stays.

Text in, text out; no files. A new entry takes over the white space that the file uses around its neighbours.
What dockerd would not read is an error with its line and column, and is never rewritten.
Keys: https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Self

from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from pathlib import Path

INSECURE = "insecure-registries"
MIRRORS = "registry-mirrors"
_BLANKS = " \t\r\n"  # RFC 8259 section 2
_SPACE = re.compile(f"[{_BLANKS}]*")
_BOM = "\ufeff"
_MARKED = "it begins with a byte order mark (BOM), which engines before 23.0 refuse"
_SAVE = "save {} as UTF-8 without a byte order mark, then try again"  # Go is not as strict as RFC 8259
_DECODER = json.JSONDecoder()


class DaemonJsonUnreadable(RegsetupError):
    """daemon.json is not what dockerd reads; it stays as it is."""

    code = "daemon-json-unreadable"

    def __init__(self, detail: str, line: int, column: int, mend: str | None = None) -> None:
        super().__init__(f"daemon.json can't be read: line {line}, column {column}", cause=detail)
        self.line = line
        self.column = column
        self._mend = mend or "mend {} by hand, then try again; dockerd would not start from it either"
        self.fix = self._mend.format("the file")

    def of(self, path: Path) -> Self:
        """Name the file; who edits the text does not know it."""
        self.message = f"{path} can't be read: line {self.line}, column {self.column}"
        self.args = (self.message,)
        self.fix = self._mend.format(path)
        return self


@dataclass(frozen=True, slots=True)
class Entry:
    """One string in one of daemon.json's lists."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What taking an entry back needs: None for a text means no file.

    Attributes:
        reload: what a running engine must read on SIGHUP to let go; an absent key means "no change" to it
            (moby#36632), an empty list means "none": the list stands there even if others took it out.
        final: what stays once the engine has let go.
    """

    reload: str
    final: str | None


@dataclass(frozen=True, slots=True)
class _Span:
    """One member or element: where it begins and ends; where its value begins; its key and value."""

    begin: int
    end: int
    value_begin: int
    key: str
    value: object


def decode(content: bytes) -> str:
    """Return the file's text, line ends as they are.

    Raises:
        DaemonJsonUnreadable: it is not UTF-8.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        raise _unreadable("it is not UTF-8", before, len(before), _SAVE) from error


def entries(text: str | None, key: str) -> tuple[str, ...]:
    """Return the list under ``key``; empty if there is no file, no key, or null.

    Raises:
        DaemonJsonUnreadable: the file or this list is not what dockerd reads.
    """
    member = _member(_members(text), key) if _has_content(text) else None
    return tuple(_strings(text or "", member)) if member else ()


def keys(text: str) -> tuple[str, ...]:
    """Return the names of all settings.

    Raises:
        DaemonJsonUnreadable: the file is not what dockerd reads.
    """
    return tuple(member.key for member in _members(text)) if _has_content(text) else ()


def add(text: str | None, entry: Entry) -> str:
    """Return ``text`` with ``entry`` at the end of its list; the same text if it is there already.

    Raises:
        DaemonJsonUnreadable: the file or this list is not what dockerd reads.
    """
    value = json.dumps(entry.value)
    if text is None or not _has_content(text):
        return f'{{\n  "{entry.key}": [{value}]\n}}\n'
    members = _members(text)
    member = _member(members, entry.key)
    if member is None:
        return _append_member(text, members, f'"{entry.key}": [{value}]')
    if entry.value in _strings(text, member):
        return text
    if member.value is None:
        return f"{text[: member.value_begin]}[{value}]{text[member.end :]}"
    return _append_element(text, _elements(text, member), member, value)


def remove(text: str, entry: Entry) -> str:
    """Return ``text`` without ``entry``; its list stays, if only as ``[]``.

    Raises:
        DaemonJsonUnreadable: the file or this list is not what dockerd reads.
    """
    if not _has_content(text):
        return text
    member = _member(_members(text), entry.key)
    if member is None or entry.value not in _strings(text, member):
        return text
    elements = _elements(text, member)
    index = [element.value for element in elements].index(entry.value)
    return _cut(text, elements, index)


def without_key(text: str, key: str) -> str:
    """Return ``text`` without the member ``key``.

    Raises:
        DaemonJsonUnreadable: the file is not what dockerd reads.
    """
    members = _members(text) if _has_content(text) else []
    member = _member(members, key)
    if member is None:
        return text
    if len(members) == 1:
        return text[: text.index("{") + 1] + text[text.rindex("}") :]
    return _cut(text, members, members.index(member))


def withdraw(current: str, before: str | None, entry: Entry) -> Withdrawal:
    """Return how to take ``entry`` out of ``current``, given the text ``before`` it was added.

    If nothing but our entry has changed since, ``final`` is ``before`` to the byte. Otherwise only the
    entry goes, and the list with it when we brought it and it is empty now.

    Raises:
        DaemonJsonUnreadable: the file as it is now is not what dockerd reads.
    """
    emptied = remove(add(current, entry), entry)
    ours = add(before, entry)
    if current in (ours, remove(ours, entry)):
        return Withdrawal(emptied, before)
    if not _has_content(current) or _member(_members(current), entry.key) is None:
        return Withdrawal(emptied, current)  # others took the list out
    if entries(emptied, entry.key):
        return Withdrawal(emptied, emptied)
    found = _member(_members(before), entry.key) if _has_content(before) else None
    if found is None:
        return Withdrawal(emptied, without_key(emptied, entry.key))
    return Withdrawal(emptied, _as_null(emptied, entry.key) if found.value is None else emptied)


def has(text: str | None, entry: Entry) -> bool:
    """Tell whether the list has ``entry``, in whatever spelling dockerd takes for the same.

    Raises:
        DaemonJsonUnreadable: the file or this list is not what dockerd reads.
    """
    return _bare(entry.value) in map(_bare, entries(text, entry.key))


def _bare(value: str) -> str:
    """dockerd ends mirrors with a slash by itself."""
    return value.rstrip("/")


def _as_null(text: str, key: str) -> str:
    member = _member(_members(text), key)
    return f"{text[: member.value_begin]}null{text[member.end :]}" if member else text


def _has_content(text: str | None) -> bool:
    """An empty file stands for an empty object, as it does for engines from 22 on (moby#43051)."""
    return text is not None and bool(text.strip(_BLANKS))


def _unreadable(detail: str, text: str, position: int, mend: str | None = None) -> DaemonJsonUnreadable:
    line = text.count("\n", 0, position) + 1
    return DaemonJsonUnreadable(detail, line, position - text.rfind("\n", 0, position), mend)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _members(text: str | None) -> list[_Span]:
    """Return the members of the object that ``text`` is, each with its place."""
    text = text or ""
    if text.startswith(_BOM):
        raise _unreadable(_MARKED, text, 0, _SAVE)
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise DaemonJsonUnreadable(error.msg, error.lineno, error.colno) from error
    except RecursionError as error:
        raise _unreadable("its lists and objects are nested too deeply", text, 0) from error
    except ValueError as error:
        name = str(error)
        raise _unreadable(f"{name} is not JSON (RFC 8259 section 6)", text, text.find(name)) from error
    start = _skip(text, 0)
    if not isinstance(document, dict):
        raise _unreadable("it must be an object: { ... }", text, start)
    return _scan(text, start, keyed=True)


def _scan(text: str, start: int, *, keyed: bool) -> list[_Span]:
    """Walk over the object or array that begins at ``start``, known to be good JSON."""
    spans: list[_Span] = []
    position = _skip(text, start + 1)
    while text[position] not in "}]":
        begin, key = position, ""
        if keyed:
            key, position = _DECODER.raw_decode(text, position)
            position = _skip(text, _skip(text, position) + 1)  # over the colon
        value, end = _DECODER.raw_decode(text, position)
        spans.append(_Span(begin, end, position, key, value))
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return spans


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _member(members: list[_Span], key: str) -> _Span | None:
    """Return the last member of that name: the one that counts for Go and Python alike."""
    return next((member for member in reversed(members) if member.key == key), None)


def _strings(text: str, member: _Span) -> list[str]:
    values = [] if member.value is None else member.value
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _unreadable(f"{member.key} must be a list of strings", text, member.value_begin)
    return values


def _elements(text: str, member: _Span) -> list[_Span]:
    return _scan(text, member.value_begin, keyed=False)


def _append_member(text: str, members: list[_Span], member: str) -> str:
    start = _skip(text, 0) + 1
    if not members:
        return f"{text[:start]}\n  {member}\n{text[start:].lstrip(_BLANKS)}"
    space = text[start : members[0].begin] or (" " if ", " in text else "")
    end = members[-1].end
    return f"{text[:end]},{space}{member}{text[end:]}"


def _append_element(text: str, elements: list[_Span], member: _Span, value: str) -> str:
    if not elements:
        start = member.value_begin + 1
        return f"{text[:start]}{value}{text[start:]}"
    end = elements[-1].end
    if len(elements) > 1:
        space = _space_before(text, elements[-1].begin)
    else:
        space = text[member.value_begin + 1 : elements[0].begin] or " "
    return f"{text[:end]},{space}{value}{text[end:]}"


def _space_before(text: str, position: int) -> str:
    return text[len(text[:position].rstrip(_BLANKS)) : position]


def _cut(text: str, spans: list[_Span], index: int) -> str:
    """Take one span out together with the comma that it brought."""
    if index > 0:
        return text[: spans[index - 1].end] + text[spans[index].end :]
    if len(spans) > 1:
        return text[: spans[0].begin] + text[spans[1].begin :]
    return text[: spans[0].begin] + text[spans[0].end :]
