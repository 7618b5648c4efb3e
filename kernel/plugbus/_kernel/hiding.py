"""What may be shown of a validator's words: nothing of a secret, not even a part of it.

Owns the decision; a whole value is masked where it stands, but a slice of one cannot be told from other words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, final, get_args, get_origin

from pydantic import AliasPath, BaseModel, Secret, SecretBytes, SecretStr
from pydantic_core.core_schema import ErrorType

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SECRETS: Final = (Secret, SecretStr, SecretBytes)
_SHORTEST_MASKED: Final = 4
_SLICE: Final = 3
_HIDDEN: Final = "a validator refused it; what it says is not shown, because it may hold a part of a secret"

_UNTOLD: Final = "what it says is not shown, because it may hold a part of a secret"


@final
class Hiding:
    """What is to be hidden when settings are refused.

    Args:
        model: Their schema.
        values: What was given, by key.
    """

    def __init__(self, model: type[BaseModel], values: Mapping[str, Any]) -> None:
        self._texts = sorted({text for text in _texts(values) if len(text) >= _SHORTEST_MASKED}, key=len, reverse=True)
        self._secrets = frozenset(_secrets(model, values))
        self._slices = {item[at : at + _SLICE].lower() for item in self._secrets
                        for at in range(max(len(item) - _SLICE, 0) + 1)} - {""}  # fmt: skip

    def told(self, item: ErrorDetails) -> str:
        """Return what may be shown of an error."""
        message = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        if item["type"] not in _own_errors() and (self._quotes(message) or not self._may_tell(item)):
            return _HIDDEN
        return _without(self._texts, message)

    def masked(self, message: str) -> str:
        """Return what may be shown of an error that code of the plugin's raised."""
        return _UNTOLD if self._quotes(message) else _without(self._texts, message)

    def without_secrets(self, text: str) -> str:
        """Return any text without secrets; other values stay, and so does what is only a part of a secret."""
        return _without([item for item in self._texts if item in self._secrets], text)

    def _may_tell(self, item: ErrorDetails) -> bool:
        """Tell whether an error is about something else than secrets: another field, or a model that has others too."""
        value, texts = item["input"], frozenset(_texts(item["input"]))
        if not item["loc"]:
            return True
        if isinstance(value, Mapping):
            return not texts <= self._secrets
        return not isinstance(value, _SECRETS) and texts.isdisjoint(self._secrets)

    def _quotes(self, message: str) -> bool:
        """Tell whether there is a slice of a secret in it: of this length it may be by chance, which hides too much."""
        words = message.lower()
        return any(part in words for part in self._slices)


def _without(hidden: Iterable[str], message: str) -> str:
    for text in hidden:
        for shown in (text, repr(text)[1:-1], json.dumps(text)[1:-1]):
            message = message.replace(shown, "***")
    return message


@lru_cache(maxsize=1)
def _own_errors() -> frozenset[str]:
    """The errors whose words are pydantic's; the others' are those of a validator."""
    return frozenset(get_args(ErrorType)) - {"value_error", "assertion_error"}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        for inner in _inner(value):
            yield from _texts(inner)
    elif isinstance(value, _SECRETS):
        yield from _texts(value.get_secret_value())
    else:
        yield value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _secrets(annotation: Any, value: Any) -> Iterator[str]:
    """Find the values of secret fields, however deep in models, unions, lists and mappings."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, _SECRETS):
        yield from _texts(value)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from _secrets_of_model(kind, value if isinstance(value, Mapping) else {})
    else:
        for argument in get_args(annotation):
            for item in (value, *_inner(value)):
                yield from _secrets(argument, item)


def _secrets_of_model(model: type[BaseModel], values: Mapping[str, Any]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        aliases = getattr(field.validation_alias, "choices", (field.validation_alias, field.alias))
        for alias in (name, *aliases):
            key: Any = alias.path[0] if isinstance(alias, AliasPath) else alias
            if key in values:
                yield from _secrets(field.annotation, values[key])


def _inner(value: object) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, (list, tuple, set, frozenset)) else ()
