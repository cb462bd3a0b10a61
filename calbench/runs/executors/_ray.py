"""Jobs on a Ray cluster: one Ray task a job, tried again when a machine is lost, one shared store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calbench import cache, configuration, devices
from calbench.errors import BackendUnavailableError
from calbench.runs.executors._jobs import Failure, Job, run_job

PASSED_ON = (cache.ENVIRONMENT_VARIABLE, "HF_HUB_OFFLINE", "HF_HOME", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class RayExecutor:
    """Runs jobs on a Ray cluster.

    Parameters
    ----------
    address
        Of an existing cluster (``"auto"``, ``"host:6379"`` or ``"ray://host:10001"``); None starts
        one on this machine.
    n_retries
        How often a job is tried again whose process or machine was lost.
    cpus_per_job, gpus_per_job
        What each job is given; by default one GPU where models run on one.
    environment
        Variables that the workers get besides the cache, the device and the configuration of this process.
    """

    address: str | None = None
    n_retries: int = 3
    cpus_per_job: float = 1
    gpus_per_job: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        jobs: Sequence[Job],
        *,
        store: str,
        profile: str,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> list[Failure]:
        """Run jobs until all are done; returns those that gave no record.

        Parameters
        ----------
        jobs
            What to do.
        store
            A folder that every machine of the cluster can reach, or an fsspec address.
        profile
            Id of how much of each task is used.
        on_progress
            Is called with the number of jobs done.

        Raises
        ------
        BackendUnavailableError
            Ray is not installed, or the cluster has no GPU and models run on one.
        """
        ray = _ray()
        n_gpus = float(devices.kind() == "cuda") if self.gpus_per_job is None else self.gpus_per_job
        started_here = not ray.is_initialized()
        if started_here:
            ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        try:
            if n_gpus > ray.cluster_resources().get("GPU", 0):  # such a job would wait for ever
                raise BackendUnavailableError(
                    f"each job takes {n_gpus:g} GPU and the Ray cluster has fewer; add a machine that has"
                    " them, or choose the device cpu"
                )
            remote = ray.remote(run_job).options(
                num_cpus=self.cpus_per_job,
                num_gpus=n_gpus,
                max_retries=self.n_retries,
                scheduling_strategy="SPREAD",  # jobs on one machine wait for each other
                runtime_env={"env_vars": self._variables()},
            )
            waiting = {remote.remote(job, store=store, profile=profile): job for job in jobs}
            failures = []
            while waiting:
                (done,), _ = ray.wait(list(waiting), num_returns=1)
                failures += _failed(ray, done, waiting.pop(done))
                on_progress(len(jobs) - len(waiting))
            return failures
        finally:
            if started_here:
                ray.shutdown()

    def _variables(self) -> dict[str, str]:
        found = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        # Records are looked for under what this machine says; which of several GPUs is Ray's to say.
        found[devices.ENVIRONMENT_VARIABLE] = devices.kind()
        declarations = configuration.find()
        if declarations is not None:
            found[configuration.ENVIRONMENT_VARIABLE] = str(declarations.resolve())
        return {**found, **self.environment}


def _failed(ray: Any, done: Any, job: Job) -> list[Failure]:
    try:
        result = ray.get(done)
    except ray.exceptions.RayError as error:  # lost more often than it may be tried, or a bug
        return [Failure(job, f"{type(error).__name__}: {error}")]
    return [result] if isinstance(result, Failure) else []


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise BackendUnavailableError(
            "executor='ray' needs Ray; pip install 'calbench[ray]', or choose another executor"
        ) from error
    return ray
