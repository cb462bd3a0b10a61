"""Take a package away from an interpreter, as if it had never been installed.

Run as ``python -c "from tests.hiding import hide; hide('bitsandbytes'); ..."``: neither its modules
nor its metadata are found any more.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, MetadataPathFinder


def hide(package: str) -> None:
    """Hide an installed package, whose distribution has the same name, from this process."""
    if any(name.partition(".")[0] == package for name in sys.modules):
        raise RuntimeError(f"{package} was imported already")

    class Hiding:
        @staticmethod
        def find_spec(name, path=None, target=None):
            return None if name.partition(".")[0] == package else PathFinder.find_spec(name, path, target)

        @staticmethod
        def find_distributions(*arguments, **options) -> Iterable[Distribution]:
            found = MetadataPathFinder.find_distributions(*arguments, **options)
            return (distribution for distribution in found if distribution.name != package)

        @staticmethod
        def invalidate_caches():
            PathFinder.invalidate_caches()

    sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
