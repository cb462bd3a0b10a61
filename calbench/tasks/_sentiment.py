"""Embedded data: sentences rated for sentiment by many people (Hutto & Gilbert, ICWSM 2014)."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from typing import TypeVar

from calbench.errors import InputError
from calbench.packages import RATED_SENTENCES
from calbench.tasks._classification import SequenceClassification
from calbench.tasks._items import Item
from calbench.tasks._registry import task

Value = TypeVar("Value")
CLASSES = ("negative", "positive")
NEUTRAL_BAND = 0.5

# Of some tweets more people's ratings are kept than the published mean is of; the sign is the same.
_FILES = {
    "movie": "movieReviewSnippets",
    "tweets": "tweets",
    "amazon": "amazonReviewSnippets",
    "nyt": "nytEditorialSnippets",
}
# What the embedded encoder was fine-tuned on; NYT editorials stay unseen, for domain shift.
_N_TRAINING = {"movie": 3600, "tweets": 800, "amazon": 600, "nyt": 0}


def load(domain: str) -> list[Item]:
    """Read one domain: label 1 where the mean rating is positive, 0 where it is negative.

    Ratings run from -4 to 4; sentences whose mean lies within :data:`NEUTRAL_BAND` of 0 are left
    out, as people do not agree on them.

    Raises
    ------
    SetupRequiredError
        The data was not fetched yet.
    InputError
        A row cannot be read; file and line are named.
    """
    shares = dict(_lines(f"{_FILES[domain]}_anonDataRatings.txt", _shares))
    rated = _lines(f"{_FILES[domain]}_GroundTruth.txt", _mean_and_text)
    return [
        Item(f"{domain}-{name}", text, int(mean > 0), distribution=shares.get(name))
        for name, (mean, text) in rated
        if abs(mean) >= NEUTRAL_BAND
    ]


def _lines(file: str, read: Callable[[list[str]], Value]) -> Iterator[tuple[str, Value]]:
    # Not through datasets: its import takes seconds, and each replay of the default run would pay them.
    path = RATED_SENTENCES.require() / "hutto_ICWSM_2014" / file
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            name, *values = line.rstrip("\n").split("\t")
            try:
                yield name, read(values)
            except (ValueError, TypeError, ZeroDivisionError):
                raise InputError(
                    f"{path}:{number}: expected id, mean rating and text or ratings, separated by tabs"
                ) from None


def _mean_and_text(values: list[str]) -> tuple[float, str]:
    rating, text = values
    return float(rating), html.unescape(text.strip())


def _shares(values: list[str]) -> tuple[float, float]:
    """Return the shares of negative and positive ratings; one of 0 is half of each."""
    *_, written = values
    ratings = json.loads(written)
    positive = sum(0.5 if rating == 0 else rating > 0 for rating in ratings) / len(ratings)
    return 1 - positive, positive


def _sentiment(domain: str) -> SequenceClassification:
    return SequenceClassification(
        id=domain,
        classes=CLASSES,
        load=lambda: load(domain),
        prompt="Text: {text}\nSentiment:",
        label_words=(" negative", " positive"),
        n_training=_N_TRAINING[domain],
    )


@task("movie")
def movie() -> SequenceClassification:
    """Sentences of movie reviews, rated for sentiment."""
    return _sentiment("movie")


@task("tweets")
def tweets() -> SequenceClassification:
    """Tweets, rated for sentiment."""
    return _sentiment("tweets")


@task("amazon")
def amazon() -> SequenceClassification:
    """Sentences of product reviews, rated for sentiment."""
    return _sentiment("amazon")


@task("nyt")
def nyt() -> SequenceClassification:
    """Sentences of newspaper editorials, rated for sentiment: a domain no embedded model was tuned on."""
    return _sentiment("nyt")
