"""What CI runs is what was looked at: actions by their hash, and no rights beyond reading."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_named_by_hash_and_may_only_read(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses:\s*(.+)", text)
    assert used
    for action in used:  # a tag can be moved to other code
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*", action)
    assert re.search(r"^permissions:\n  contents: read\n(?! )", text, re.MULTILINE)
    assert text.count("permissions:") == 1


def test_numba_has_an_upper_bound_and_is_tested_beyond_it():
    # Kernels are compiled through parts of numba that may change with every release.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (numba,) = [each for each in project["dependencies"] if re.match(r"numba\b", each)]
    lowest, highest = re.fullmatch(r"numba>=0\.(\d+),<0\.(\d+)", numba).groups()
    minor = int(metadata.version("numba").split(".")[1])
    assert int(lowest) <= minor
    assert int(highest) > int(lowest)
    jobs = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    assert re.search(r"pip install --upgrade numba\b", jobs)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_a_report_of_a_bug_asks_for_what_fastnn_info_prints():
    fields = read(".github/ISSUE_TEMPLATE/bug.yml").split("  - type: textarea\n")
    (info,) = [field for field in fields if "label: Output of `fastnn info`" in field]
    assert "required: true" in info


def test_the_citation_is_of_this_version():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    citation = read("CITATION.cff")
    assert f"\nversion: {project['version']}\n" in citation
    assert f"\nlicense: {project['license']}\n" in citation


def test_the_hooks_before_a_commit_check_what_ci_checks():
    text = read(".pre-commit-config.yaml")
    assert set(re.findall(r"language: (.*)", text)) == {"system"}  # the ruff of the extra `dev`
    commands = re.findall(r"entry: (ruff \w+)", text)
    assert commands == ["ruff check", "ruff format"]
    assert all(re.search(rf"^{command} ", read(".ci/run"), re.M) for command in commands)
