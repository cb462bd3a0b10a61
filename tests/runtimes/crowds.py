"""What several questions at once do to a server: planted, and not left to chance."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor


class CrowdingPool(ThreadPoolExecutor):
    """The threads with which a self-test asks at once; it says when it does.

    Whether requests meet on their way is chance: on a busy machine none may.
    """

    n_asking = 0

    def __init__(self, max_workers):
        assert max_workers > 1
        super().__init__(max_workers)

    def __enter__(self):
        CrowdingPool.n_asking += 1
        return super().__enter__()

    def __exit__(self, *error):
        try:
            return super().__exit__(*error)
        finally:
            CrowdingPool.n_asking -= 1


class Crowd:
    """Changes an answer of a proxy by whether several questions are asked at once; one at a time."""

    def __init__(self, change):
        self.change, self.lock = change, threading.Lock()

    def answer(self, path, value):
        with self.lock:
            return self.change(value, CrowdingPool.n_asking > 0)
