"""The packaged models and the pages about them cannot disagree."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxpromptiml.files import sha256_of
from boxpromptiml.models import DEFAULT_NAME, NAMES, packaged_folder, packaged_names, packaged_root
from boxpromptiml.models.card import CardText, ModelCard
from boxpromptiml.models.markdown import card_markdown
from boxpromptiml.settings_file import load_settings

DOCS = Path(__file__).parents[2] / "docs" / "model"
PAGES = {DEFAULT_NAME: "card.md"} | {name: f"card-{name}.md" for name in NAMES if name != DEFAULT_NAME}


def _packaged(name: str) -> tuple[Path, ModelCard]:
    if name not in packaged_names():
        pytest.skip(f"no model {name} is packaged")
    folder = packaged_folder(name)
    card = ModelCard.load(folder)
    assert card is not None
    return folder, card


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_made_from_the_card(name: str) -> None:
    _, card = _packaged(name)
    page = DOCS / PAGES[name]
    command = f"boxpromptiml info {name} --markdown > docs/model/{page.name}"
    assert page.is_file(), f"missing; run  {command}"
    assert page.read_text(encoding="utf-8") == card_markdown(card), f"run  {command}"
    for picture in card.text.pictures:
        assert (DOCS / picture.file).is_file(), picture.file


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_those_of_the_card(name: str) -> None:
    folder, card = _packaged(name)
    assert {file.name: file.sha256 for file in card.files} == {
        path.name: sha256_of(path) for path in folder.iterdir() if path.name != "card.json"
    }


def test_all_packaged_files_together_are_small() -> None:
    files = [path for name in packaged_names() for path in (packaged_root() / name).iterdir()]
    assert sum(path.stat().st_size for path in files if path.name != "card.json") <= 25_000_000


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_texts_can_be_read(path: Path) -> None:
    text = load_settings(CardText, path, example="title=...", remedy="see docs/packaging.md")
    assert text.training_data
    assert all(item.terms for item in text.training_data)
    assert text.limits
    assert text.misuse
