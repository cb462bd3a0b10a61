"""Run by the Python that has jevcompat: a server of its mock under each of its faults; addresses as JSON.

It serves until its standard input ends.
"""

import contextlib
import json
import sys


def main() -> None:
    from jevcompat.mock import FAULTS, MockConfig, Running

    with contextlib.ExitStack() as running:
        found = {}
        for name in ("", *FAULTS):
            # Faults of keys show only where there is one.
            key = "right" if name.startswith("auth-") and name != "auth-rejects-header" else None
            config = MockConfig(key=key, faults=frozenset(filter(None, [name])))
            found[name] = running.enter_context(Running(config)).url
        print(json.dumps(found), flush=True)  # noqa: T201 (the test reads it)
        sys.stdin.read()


if __name__ == "__main__":
    main()
