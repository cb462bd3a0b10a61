"""Cells of the grid, and what is measured in each."""

from calbench.experiments.arm_bench import ArmBench
from calbench.experiments.arms import ARMS, ArmDesign, Contrast
from calbench.experiments.arms_result import ArmsResult
from calbench.experiments.bench import Bench, Measured, Progress, Silence
from calbench.experiments.cells import PROFILES, Cell, Grid, Profile, Selection, grid_of
from calbench.experiments.transfer import TransferResult, transfer

__all__ = [
    "ARMS",
    "PROFILES",
    "ArmBench",
    "ArmDesign",
    "ArmsResult",
    "Bench",
    "Cell",
    "Contrast",
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
