"""The documents name what exists: commands, benchmarks, tests, pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    path.name for path in (ROOT / "src" / "proa").iterdir() if (path / "__init__.py").exists()
)
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")],
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
_COMMAND = re.compile(r"^\$ (?:sudo )?(make|proa|scripts/\S+)\s*([a-z-]*)", re.MULTILINE)
_PROMISE = re.compile(r"`((?:benchmarks|tests)/[^`\s]+)`")


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_an_explanation(package: str) -> None:
    page = ROOT / "docs" / "explanation" / f"{package}.md"
    assert page.exists()
    assert f"{package}.md" in (ROOT / "docs" / "explanation" / "index.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=_relative)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [word for word in _LINK.findall(page.read_text()) if "://" not in word]
    assert not [word for word in targets if not (page.parent / word).exists()]


@pytest.mark.parametrize("page", PAGES, ids=_relative)
def test_commands_in_documents_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for program, word in _COMMAND.findall(page.read_text()):
        if program == "make":
            assert not word or word in targets, f"make {word}"
        elif program.startswith("scripts/"):
            assert (ROOT / program).exists(), program


def test_every_promised_number_names_its_proof() -> None:
    rows = [
        line
        for line in (ROOT / "SPECIFICATION.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith(("| Promise", "| ---"))
    ]
    assert rows
    for row in rows:
        proofs = _PROMISE.findall(row)
        assert proofs, f"no benchmark or test is named: {row}"
        for proof in proofs:
            path, _, name = proof.partition("::")
            assert (ROOT / path).exists(), proof
            assert name in (ROOT / path).read_text(), proof


def test_decisions_are_numbered_once() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")]
    assert len(numbers) == len(set(numbers))


def test_fragments_have_known_kinds() -> None:
    names = [path.name for path in (ROOT / "newsfragments").glob("*.md")]
    kinds = ("feature", "bugfix", "doc", "removal", "misc")
    assert not [name for name in names if name.split(".")[1] not in kinds and name != "README.md"]


def test_ci_runs_what_make_test_runs() -> None:
    assert "make --no-print-directory test" in (ROOT / ".ci" / "run").read_text()
