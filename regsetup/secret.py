"""A value that must not be seen: ``repr``, ``str``, JSON, pickles and tracebacks show stars."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Holds a password or key; only ``reveal`` gives it back.

    Compares in constant time and can't be serialised by accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself; call it only where the value leaves for its destination."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('****')"

    def __str__(self) -> str:
        return "****"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine = self._value.encode(errors="surrogatepass")
        import hmac  # with hashlib behind it: 3 ms of every start of the program

        return hmac.compare_digest(mine, other._value.encode(errors="surrogatepass"))

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised")
