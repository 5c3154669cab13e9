"""Reads ``regsetup.yaml``: settings as text, each with its place, and what does not belong there.

The file is composed to nodes and not loaded: a value is read by the same function as its flag, and an error
names line and column. YAML's own types (``5000:5001`` as a base-60 number, ``no`` as false) never come in.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from regsetup.errors import UsageError
from regsetup.given import Given, inverted
from regsetup.settings import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import yaml

_FORM = "one 'key: value' a line, such as port: 5000"
_ALIASES = {field.plural: field.key for field in FIELDS.values() if field.plural}


class BadFile(UsageError):
    """``regsetup.yaml`` can't be read or has something in it that does not belong there."""

    code = "bad-file"


def from_file(path: Path, origin: str | None = None) -> dict[str, Given]:
    """Read ``regsetup.yaml``: a mapping whose keys are the settings.

    Raises:
        BadFile: it can't be read or parsed, or a key is unknown; names key, line and column.
    """
    import yaml

    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise BadFile(
            f"{path} can't be read", cause=error.strerror, fix=f"ls -ld {path}, or another file with -f FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8 text", cause=str(error), fix="save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise _unparsable(path, error) from error
    except RecursionError as error:
        raise BadFile(f"{path} is nested too deep to be settings", fix=_FORM) from error
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise BadFile(f"{path}:1: expected settings, one 'key: value' a line", fix=_FORM)
    found: dict[str, Given] = {}
    for key_node, value_node in root.value:
        key, given = _entry(path, key_node, value_node, origin)
        if key in found:
            raise BadFile(f"{_place(path, key_node)}: {key_node.value} stands twice", fix="leave one of them")
        found[key] = given
    return found


def _entry(path: Path, key_node: yaml.Node, value_node: yaml.Node, origin: str | None) -> tuple[str, Given]:
    place = _place(path, key_node)
    if not isinstance(key_node.value, str):
        raise BadFile(f"{place}: a key is a word, not a list or a mapping", fix=_FORM)
    written = key_node.value
    key = written.replace("-", "_")
    key = _ALIASES.get(key, key)
    if key not in FIELDS and key != "no_auth":
        close = difflib.get_close_matches(key, [*FIELDS, *_ALIASES, "no_auth"], n=1)
        raise BadFile(
            f"{place}: unknown key {written!r}",
            fix=f"did you mean {close[0]!r}?" if close else "known keys: " + ", ".join(FIELDS),
        )
    texts = tuple(_texts(path, written, value_node, many=key != "no_auth" and FIELDS[key].many))
    given = Given(texts, origin or f"{place}: {written}", path.parent.absolute())
    return ("auth", inverted(given)) if key == "no_auth" else (key, given)


def _texts(path: Path, key: str, node: yaml.Node, *, many: bool) -> Iterable[str]:
    import yaml

    if isinstance(node, yaml.ScalarNode):
        if node.tag == "tag:yaml.org,2002:null":
            raise BadFile(f"{_place(path, node)}: {key} has no value", fix=f"give it one, or leave {key} out")
        yield node.value
    elif many and isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _texts(path, key, item, many=False)
    elif many and key == "env" and isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            for text in _texts(path, key, value, many=False):
                yield f"{name.value}={text}"
    else:
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
        wanted = "a value or a list of values" if many else "one value"
        fix = f"{key}: VALUE" + (f", or {key}: [VALUE, VALUE]" if many else "")
        raise BadFile(f"{_place(path, node)}: {key} takes {wanted}, not {kind}", fix=fix)


def _place(path: Path, node: yaml.Node) -> str:
    return f"{path.name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _unparsable(path: Path, error: yaml.YAMLError) -> BadFile:
    mark = getattr(error, "problem_mark", None)
    place = f"{path.name}:{mark.line + 1}:{mark.column + 1}" if mark else path.name
    problem = getattr(error, "problem", None) or str(error)
    fix = "put a blank in the place of the tab" if "'\\t'" in problem else _FORM
    return BadFile(f"{place}: not YAML", cause=problem, fix=fix)
