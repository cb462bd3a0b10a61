"""Who does the work of a grid: this process, or the machines of a Ray cluster."""

from calbench.runs.executors._jobs import Failure, Job, jobs_of, run_job
from calbench.runs.executors._ray import RayExecutor

__all__ = ["Failure", "Job", "RayExecutor", "jobs_of", "run_job"]
