"""Renders what regsetup writes, with Jinja2.

Templates lie in ``templates/`` at the top of a checkout and in ``regsetup/templates/`` of an installed wheel.
A variable that a template names and the caller did not give is an error, never an empty string.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHECKOUT = Path(__file__).parent.parent / "templates"
_WHEEL = Path(__file__).parent / "templates"


def render(template: str, values: Mapping[str, object]) -> str:
    """Return ``templates/<template>`` filled with ``values``, ending in a newline.

    Raises:
        jinja2.UndefinedError: the template uses a name that ``values`` lacks.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_CHECKOUT, _WHEEL]),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  YAML, units and shell scripts, not HTML; each filter quotes for its own
        keep_trailing_newline=True,
    )
    # YAML reads JSON except for escaped surrogate pairs, so characters beyond U+FFFF stay as they are.
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "default": _refuse}
    return environment.get_template(template).render(values)


def _refuse(value: object) -> NoReturn:
    """Fail by what ``value`` says of itself: an undefined name raises when it is printed."""
    raise TypeError(f"{value} can't be written as JSON")
