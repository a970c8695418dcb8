"""The glossary: every term in its place, with its source, and with a file that exists."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

GLOSSARY = Path(__file__).resolve().parents[2] / "notebooks" / "GLOSSARY.md"
ENTRY = re.compile(r"^\*\*(?P<term>[^*]+)\*\* \((?P<source>[^)]+)\)\. (?P<text>.+)$", re.S)


def paragraphs() -> list[str]:
    return GLOSSARY.read_text(encoding="utf-8").split("\n\n")[2:]  # after the title and how to read it


def term(paragraph: str) -> str:
    match = ENTRY.match(paragraph)
    assert match, f"not '**Term** (source; notebook). Text.': {paragraph[:60]}"
    return match["term"]


def test_terms_are_in_alphabetical_order_each_once() -> None:
    terms = [term(paragraph).casefold() for paragraph in paragraphs()]
    assert len(terms) > 40
    assert [(a, b) for a, b in pairwise(terms) if a >= b] == []


@pytest.mark.parametrize("paragraph", paragraphs(), ids=term)
def test_entry_names_source_notebook_and_existing_file(paragraph: str) -> None:
    entry = ENTRY.match(paragraph)
    assert re.search(r"§|eq\.|fig\.|Table|et al\.|^here\b", entry["source"]), "no section, equation or other source"
    assert re.search(r"notebooks? \d\d", entry["source"]), "no notebook"
    links = re.findall(r"\[([^\]]+)\]\(([^)]+)\)", entry["text"])
    assert links, "no file"
    for shown, target in links:
        assert (GLOSSARY.parent / target).is_file(), f"{target} does not exist"
        assert target == f"../ranet_edu/{shown}", "the link's text is not its file"
