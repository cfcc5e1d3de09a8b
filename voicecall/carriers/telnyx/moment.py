"""The times that Telnyx writes."""

from __future__ import annotations

from datetime import UTC, datetime

from voicecall.carriers._stream import text
from voicecall.errors import CodecError

_MS_PER_S = 1000


def milliseconds(value: object, what: str) -> int:
    """Milliseconds since the epoch.

    Args:
        value: a time in ISO 8601; UTC when it names no zone.
        what: the field it stands in, for the error.

    Raises:
        CodecError: it is no such time.
    """
    try:
        moment = datetime.fromisoformat(text(value, what))
        zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return round(zoned.timestamp() * _MS_PER_S)
    except CodecError:
        raise
    except (ValueError, OverflowError) as error:
        raise CodecError(f"{what} is not a time in ISO 8601") from error
