"""Embedded data: sentences rated for sentiment by many people (Hutto & Gilbert, ICWSM 2014)."""

from __future__ import annotations

import html

from calbench.errors import InputError
from calbench.packages import RATED_SENTENCES
from calbench.tasks._classification import SequenceClassification
from calbench.tasks._items import Item
from calbench.tasks._registry import task

CLASSES = ("negative", "positive")
NEUTRAL_BAND = 0.5

_FILES = {
    "movie": "movieReviewSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
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
    path = RATED_SENTENCES.require() / "hutto_ICWSM_2014" / _FILES[domain]
    with path.open(encoding="utf-8") as lines:
        rated = [_read(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]
    return [
        Item(f"{domain}-{name}", text, int(mean > 0))
        for name, mean, text in rated
        if abs(mean) >= NEUTRAL_BAND
    ]


def _read(line: str, place: str) -> tuple[str, float, str]:
    try:
        name, rating, text = line.split("\t")
        return name, float(rating), html.unescape(text.strip())
    except ValueError:
        raise InputError(f"{place}: expected id, mean rating and text, separated by tabs") from None


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
