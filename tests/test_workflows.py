"""The GitHub Action and workflows: pinned, with least permissions, and safe against names from outside."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FILES = [ROOT / "action.yml", *WORKFLOWS]
_DOCS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(encoding="utf-8"), re.DOTALL)
IN_DOCS = [block for block in _DOCS if block.startswith("name:")]
TEXTS = {**{path.name: path.read_text(encoding="utf-8") for path in FILES}} | {
    f"docs/ci.md {yaml.safe_load(block)['name']}": block for block in IN_DOCS
}


def steps(node):
    """All steps anywhere in a parsed file."""
    if isinstance(node, dict):
        yield from node.get("steps", ())
        for value in node.values():
            yield from steps(value)


@pytest.mark.parametrize("name", TEXTS)
def test_actions_of_others_are_pinned_by_hash(name):
    for step in steps(yaml.safe_load(TEXTS[name])):
        used = step.get("uses", "")
        assert not used or used.startswith(("calbench/", "./")) or re.search(r"@[0-9a-f]{40}$", used), used


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_from_outside_is_pasted_into_a_script(name):
    for step in steps(yaml.safe_load(TEXTS[name])):
        assert "${{" not in step.get("run", ""), step


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "action.yml"])
def test_a_workflow_names_the_least_that_it_may_do(name):
    parsed = yaml.safe_load(TEXTS[name])
    assert "pull_request_target" not in TEXTS[name]
    assert parsed["permissions"] in ({}, {"contents": "read"})
    for job in parsed["jobs"].values():
        allowed = {"contents", "pull-requests", "id-token", "actions"}
        assert set(job.get("permissions", {})) <= allowed


def test_the_action_never_comments_for_a_fork():
    comment = next(s for s in steps(yaml.safe_load(TEXTS["action.yml"])) if s.get("name") == "Comment")
    assert "head.repo.full_name == github.repository" in comment["if"]


def test_the_documented_workflows_are_there():
    assert {"calibration", "calibration comment"} <= {yaml.safe_load(block)["name"] for block in IN_DOCS}
