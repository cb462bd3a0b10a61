"""A report's verdicts as an in-toto statement, which registries and policy engines read once it is signed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calbench.cache import sha256_of
from calbench.errors import BackendUnavailableError, InputError
from calbench.records import json_document

PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"


def attestation(folder: Path) -> str:
    """Return the statement of a report that :func:`calbench.report.verify` found to be right, as JSON.

    Its subjects are the records that the gates judged, each by its key and its model's weights; its
    predicate is a test result: failed gates fail, and undecided ones and accepted failures warn.

    Raises
    ------
    BackendUnavailableError
        The package in-toto-attestation is not installed.
    InputError
        No gate of the report judged a stored record.

    Notes
    -----
    Source: in-toto attestation framework, statement v1 and predicate test-result v0.1.
    """
    try:
        from google.protobuf.json_format import MessageToDict
        from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
        from in_toto_attestation.v1.statement import Statement
    except ImportError:
        raise BackendUnavailableError(
            "statements need the package in-toto-attestation; pip install 'calbench[attest]'"
        ) from None
    path = folder / "evidence.json"
    evidence = json_document(path)
    names = _names(evidence)
    if not names:
        raise InputError(f"{path}: no gate judged a stored record, so there is nothing to attest to")
    subjects = [
        ResourceDescriptor(name, digest=_digests(key, evidence["records"].get(key)))
        for key, name in sorted(names.items())
    ]
    files = [
        ResourceDescriptor(each.name, digest={"sha256": sha256_of(each)})
        for each in (path, folder / "results.json")
    ]
    predicate = {
        **_outcomes(evidence["gates"] + evidence["without_records"]),
        "configuration": [MessageToDict(each.pb) for each in files],
    }
    statement = Statement([each.pb for each in subjects], PREDICATE_TYPE, predicate)
    statement.validate()
    return json.dumps(MessageToDict(statement.pb), indent=2) + "\n"


def _names(evidence: Mapping[str, Any]) -> dict[str, str]:
    """Return model::task::quantizer of each record that a gate judged, by the record's key."""
    return {
        key: "::".join((gate["of"]["model"], gate["of"]["task"], gate["of"]["quantizer"]))
        for gate in evidence["gates"]
        if (key := gate["of"]["records"]["candidate"])
    }


def _digests(key: str, identity: Mapping[str, Any] | None) -> dict[str, str]:
    weights = (identity or {}).get("model", {}).get("weights")
    return {"calbenchRecord": key} | ({"calbenchWeights": weights} if weights else {})


def _outcomes(gates: list[dict[str, Any]]) -> dict[str, Any]:
    tests: dict[str, list[str]] = {"passedTests": [], "warnedTests": [], "failedTests": []}
    for gate in gates:
        kind = "passed" if gate["outcome"] == "pass" else "failed"
        if gate["outcome"] == "inconclusive" or gate["accepted"]:
            kind = "warned"
        tests[f"{kind}Tests"].append(f"{gate['test']} {gate['metric']}")
    result = "FAILED" if tests["failedTests"] else "WARNED" if tests["warnedTests"] else "PASSED"
    return {"result": result, **tests}
