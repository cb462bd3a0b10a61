"""What calbench does in a pytest run: cells, requirements, failures that explain themselves, the summary."""

from calbench.pytest_session.fixture import CalbenchFixture
from calbench.pytest_session.session import Session

__all__ = ["CalbenchFixture", "Session"]
