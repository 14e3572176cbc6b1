"""The card of a flow store, `card.json`: what went in, how, and the digest of all of it."""

import json
from typing import Annotated, Any

import msgspec

from dadnet.base.disk import read_regular
from dadnet.base.errors import DadnetError, StorageError
from dadnet.base.location import Location, is_remote, location

CARD = "card.json"


class _Parameters(msgspec.Struct):
    normalisation: str


class _Card(msgspec.Struct):
    """The fields of a card that are read back; more are allowed."""

    digest: str
    files: Annotated[list[str], msgspec.Meta(min_length=1)]
    parameters: _Parameters
    composite: str | None = None


def read_card(store: str | Location) -> dict[str, Any]:
    """The card of a complete store.

    Raises:
        DadnetError: if there is no complete store in that folder.
    """
    path = location(store) / CARD
    try:
        data = path.read_bytes() if is_remote(path) else read_regular(path, follow=True)
        card: dict[str, Any] = json.loads(data)
    except FileNotFoundError:
        raise DadnetError(
            f"flow store: expected {path} (made by `python -m orchestration.ingest`), "
            "but there is none"
        ) from None
    except StorageError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DadnetError(f"flow store: {path} cannot be read: {error}") from error
    try:
        msgspec.convert(card, _Card)
    except msgspec.ValidationError as error:
        raise DadnetError(f"flow store: {path} is no card: {error}") from error
    return card
