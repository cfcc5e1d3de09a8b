from __future__ import annotations

import pytest
import trustme


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """An authority that only tests believe."""
    return trustme.CA()
