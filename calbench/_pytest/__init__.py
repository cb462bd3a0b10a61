"""What calbench does in a pytest run: cells, requirements, failures that explain themselves, the summary."""

from calbench._pytest._fixture import CalbenchFixture
from calbench._pytest._log import is_undecided
from calbench._pytest._scheduling import make_scheduler
from calbench._pytest._session import Session

__all__ = [
    "CalbenchFixture",
    "Session",
    "is_undecided",
    "make_scheduler",
]
