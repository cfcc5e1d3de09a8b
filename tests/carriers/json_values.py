"""Whatever a broken or hostile peer may send as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["8000", "²", "audio/x-mulaw", "PCMU", "inbound", '{"a":', "a=1;b=2"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def altered(*documented: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Documented messages with one value, at any depth, replaced or left out."""
    return st.sampled_from(documented).flatmap(lambda message: _alter(dict(message)))


@st.composite
def _alter(draw: st.DrawFn, message: dict[str, Any]) -> dict[str, Any]:
    key = draw(st.sampled_from(sorted(message)))
    inner = message[key]
    changed = dict(message)
    if isinstance(inner, dict) and inner and draw(st.booleans()):
        changed[key] = draw(_alter(inner))
    elif draw(st.booleans()):
        changed[key] = draw(values)
    else:
        del changed[key]
    return changed
