"""Cells of the grid, and what is measured in each."""

from calbench.experiments.bench import Bench, Measured, Progress, Silence
from calbench.experiments.cells import PROFILES, Cell, Grid, Profile, Selection, grid_of
from calbench.experiments.transfer import TransferResult, transfer

__all__ = [
    "PROFILES",
    "Bench",
    "Cell",
    "Grid",
    "Measured",
    "Profile",
    "Progress",
    "Selection",
    "Silence",
    "TransferResult",
    "grid_of",
    "transfer",
]
