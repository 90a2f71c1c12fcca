"""The tests are the same on a machine that does other work beside them."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def test_no_example_has_to_be_quick() -> None:
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check
