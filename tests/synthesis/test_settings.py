from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from boxpromptiml.errors import RecipeError
from boxpromptiml.synthesis import SynthesisConfig, load_config


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from models(field.annotation)


def test_every_setting_is_described() -> None:
    missing = [
        f"{m.__name__}.{key}" for m in models(SynthesisConfig) for key, f in m.model_fields.items() if not f.description
    ]
    assert missing == []


def test_files_and_overrides_are_merged_and_overrides_win(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("area: [0.05, 0.2]\nkinds:\n  splice: 0\n  removal: 3\n")
    config = load_config(path, ["kinds.removal=2"])
    assert config.area == (0.05, 0.2)
    assert (config.kinds.splice, config.kinds.removal, config.kinds.retouch) == (0, 2, 0.15)
    assert load_config() == SynthesisConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aera: [0.1, 0.2]", "unknown key aera; the nearest is area"),
        ("splice:\n  object: 1", "unknown key splice.object; the nearest is splice.objects"),
        ("postprocessing:\n  bluring: 1", "unknown key postprocessing.bluring; the nearest is postprocessing.blur"),
        ("area: [0.3, 0.1]", "area: the lower end comes first"),
        ("area: [0, 0.1]", "area: must be above 0"),
        ("area: [0.1, 0.95]", "area must stay below 0.9"),
        ("second_region: 2", "second_region: Input should be less than or equal to 1"),
        ("kinds: {splice: 0, copy_move: 0, removal: 0, retouch: 0}", "kinds: weights must not be negative"),
        ("removal: {max_area: 0.001}", "removal.max_area 0.001 is below the smallest area"),
        ("crop: [0.5, 1]\ncrop: [0.6, 1]", "line 2: the key crop is given twice"),
        ("- 1", "holds a list"),
        ("area: [", "not valid YAML"),
    ],
)
def test_bad_settings_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_config(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("kinds.splice", "write it as key=value"),
        ("kinds.slice=1", "unknown key kinds.slice; the nearest is kinds.splice"),
        ("area.low=1", "area"),
    ],
)
def test_bad_overrides_are_refused(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        load_config(None, [override])
    with pytest.raises(RecipeError) as caught:
        load_config(None, [override])
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: cannot be read"):
        load_config(tmp_path / "none.yaml")
