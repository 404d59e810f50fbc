"""Settings files and overrides; the models with their own keys are tested where they live."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from boxpromptiml.errors import RecipeError
from boxpromptiml.settings_file import load_settings, setting_paths


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Oven(Section):
    degrees: int = Field(180, le=300)
    racks: tuple[int, int] = (1, 2)


class Kitchen(Section):
    oven: Oven = Field(default_factory=Oven)
    fan: bool | str = True


class House(Section):
    kitchen: Kitchen = Field(default_factory=Kitchen)
    doors: int = 1


def load(path: Path | None = None, *overrides: str) -> House:
    return load_settings(House, path, overrides, example="doors=2", remedy="write one")


def written(folder: Path, text: str) -> Path:
    path = folder / "house.yaml"
    path.write_text(text)
    return path


def test_paths_are_dotted_and_a_section_comes_before_its_keys() -> None:
    assert list(setting_paths(House)) == [
        "kitchen",
        "kitchen.oven",
        "kitchen.oven.degrees",
        "kitchen.oven.racks",
        "kitchen.fan",
        "doors",
    ]


@pytest.mark.parametrize("text", ["", "# a comment\n", "kitchen:\n", "kitchen:\n  oven:\n"])
def test_empty_files_and_empty_sections_mean_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, text)) == House() == load()


def test_overrides_win_and_reach_into_empty_sections(tmp_path: Path) -> None:
    house = load(written(tmp_path, "doors: 2\nkitchen:\n  oven:\n"), "doors=3", "kitchen.oven.racks=[3, 4]")
    assert (house.doors, house.kitchen.oven.racks) == (3, (3, 4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("door: 2", "unknown key door; the nearest is doors"),
        ("degrees: 2", "unknown key degrees; the nearest is kitchen.oven.degrees"),
        ("kitchen:\n  open: {}", "unknown key kitchen.open; the nearest is kitchen.oven"),
        ("doors: many\nwindows: 2", "unknown key windows"),
        (
            "kitchen:\n  oven:\n    degrees: 301",
            "kitchen.oven.degrees: Input should be less than or equal to 300, got 301",
        ),
        ("kitchen:\n  oven:\n    racks: [1, x]", "kitchen.oven.racks: Input should be a valid integer"),
        ("kitchen:\n  fan: [1]", "kitchen.fan: Input should be"),
        ("doors: null", "doors: Input should be a valid integer, got None"),
    ],
)
def test_errors_name_the_file_the_key_and_what_was_given(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RecipeError, match=f"^{re.escape(f'{path}: {message}')}"):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("doors: 1\n\ndoors: 2", ", line 3: the key doors is given twice; remove one"),
        ("kitchen:\n  fan: 1\n  fan: 1", ", line 3: the key fan is given twice; remove one"),
        ("doors: [", ", line 1: not valid YAML"),
        ("just words", ": holds a str; write one `key: value` per line"),
    ],
)
def test_errors_of_yaml_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RecipeError, match=f"^{re.escape(f'{path}{message}')}"):
        load(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("doors", "--set doors: write it as key=value, such as doors=2"),
        ("=2", "--set =2: write it as key=value"),
        ("doors=[", "--set doors, line 1: not valid YAML"),
        ("gates=2", "--set: unknown key gates"),
        ("doors.front=2", "--set doors.front: doors is a value, not a section"),
    ],
)
def test_errors_of_overrides_name_the_option(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}"):
        load(written(tmp_path, "doors: 2"), override)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone.yaml: cannot be read \(No such file or directory\); write one"):
        load(tmp_path / "gone.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"doors: \xff")
    with pytest.raises(RecipeError, match=r"latin.yaml: cannot be read \(not UTF-8 text\)"):
        load(tmp_path / "latin.yaml")
