"""Addresses as models, in calbench.toml and where models are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from calbench import models
from calbench.configuration import Table
from calbench.errors import InputError
from calbench.models import Address
from calbench.models._configured import source_of


def table(**values):
    return Table(Path("calbench.toml"), ("models", "m"), values)


def test_builds_are_peers_and_the_first_is_the_reference():
    source = source_of(table(served={"bf16": "http://gpu1:8000/v1#m", "awq": "http://gpu1:8001/v1#m-awq"}))
    assert dict(source.builds) == {"bf16": "http://gpu1:8000/v1#m", "awq": "http://gpu1:8001/v1#m-awq"}
    assert source.reference == "bf16"
    assert source.declared


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"served": {"bf16": "gpu1:8000"}}, r'write served\.bf16 = "http://host/v1#model"'),
        ({"served": {"bf16": "http://me:secret@gpu1/v1"}}, "take it out"),
        ({"served": {"bf16": "http://gpu1/v1"}, "reference": "fp32"}, r"name one of the builds served\.bf16"),
        ({"served": {}}, "name one of the builds"),
        ({"served": {"bf16": "http://gpu1/v1"}, "api_key": "sk-1"}, "has no key 'api_key'"),
    ],
)
def test_what_cannot_be_served_names_what_to_write(values, reason):
    with pytest.raises(InputError, match=reason) as refused:
        source_of(table(**values))
    assert "secret" not in str(refused.value)


def test_a_bare_address_has_the_one_build_served():
    source = models.get("http://localhost:8000/v1#My-Model")
    assert source.id == "my-model"
    assert source.builds == (("served", "http://localhost:8000/v1#My-Model"),)
    assert source.reference == "served"
    assert "my-model" not in models.declared()


def test_an_address_keeps_its_credentials_out_of_sight():
    address = Address.parse("http://me:pass%40word@localhost:8000/v1#m")
    assert address.credentials == ("me", "pass@word")
    assert "pass" not in f"{address} {address!r}"


def test_an_ipv6_address_keeps_its_brackets():
    assert str(Address.parse("http://[::1]:8000/v1#m")) == "http://[::1]:8000/v1#m"
