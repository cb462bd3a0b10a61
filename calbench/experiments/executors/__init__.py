"""Who does the work of a grid: this process, or the machines of a Ray cluster."""

from calbench.experiments.executors.jobs import Failure, Job, jobs_of, run_job
from calbench.experiments.executors.ray import RayExecutor

__all__ = ["Failure", "Job", "RayExecutor", "jobs_of", "run_job"]
