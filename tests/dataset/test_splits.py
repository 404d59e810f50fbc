from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.splits import assign_splits, connected_groups, crossing_groups, source_groups, split_by_group
from boxpromptiml.errors import DatasetError


def images(sizes: dict[str, tuple[int, int]]) -> list[ImageRecord]:
    """``{group: (tampered, authentic)}`` -> records."""
    return [
        ImageRecord(f"{group}-{label}-{number}", 10, 10, label=label, group=group)  # type: ignore[arg-type]
        for group, (tampered, authentic) in sizes.items()
        for label, count in (("tampered", tampered), ("authentic", authentic))
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({}, {}),
        ({"a": ["1"]}, {"a": "1"}),
        ({"a": ["2", "1"], "b": ["3"]}, {"a": "1", "b": "3"}),
        ({"a": ["1", "2"], "b": ["2", "3"], "c": ["3"], "d": ["9"]}, {"a": "1", "b": "1", "c": "1", "d": "9"}),
        ({"late": ["5", "6"], "early": ["6", "1"], "other": ["5"]}, dict.fromkeys(["late", "early", "other"], "1")),
        ({"none": []}, {}),
    ],
)
def test_images_that_share_a_source_directly_or_not_are_one_group(
    sources: dict[str, list[str]], expected: dict[str, str]
) -> None:
    assert connected_groups(sources) == expected


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.lists(st.sampled_from("abcdefghij"), max_size=3), max_size=12))
def test_groups_are_the_finest_that_keep_shared_sources_together(sources: dict[str, list[str]]) -> None:
    groups = connected_groups(sources)
    together: dict[str, set[str]] = defaultdict(set)
    for name, group in groups.items():
        together[group] |= set(sources[name])
    spread = Counter(source for ids in together.values() for source in ids)
    assert set(spread.values()) <= {1}  # no source is in two groups
    assert all(group == min(ids) for group, ids in together.items())


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"scene\d+", {"scene1_a.jpg": "scene1", "scene1_b.jpg": "scene1", "scene2.jpg": "scene2"}),
        (r"scene(\d+)", {"scene1_a.jpg": "1", "scene1_b.jpg": "1", "scene2.jpg": "2"}),
        (r"(?:_([ab]))", {"scene1_a.jpg": "a", "scene1_b.jpg": "b"}),
    ],
)
def test_groups_by_a_pattern(pattern: str, expected: dict[str, str]) -> None:
    assert source_groups(["scene1_a.jpg", "scene1_b.jpg", "scene2.jpg", "other.jpg"], pattern) == expected


def test_a_bad_pattern_is_named() -> None:
    with pytest.raises(DatasetError, match="not a regular expression"):
        source_groups(["a"], "(")


def test_shares_and_labels_are_balanced() -> None:
    rng = random.Random(0)
    records = images({f"g{number}": (rng.randrange(4), rng.randrange(1, 5)) for number in range(200)})
    splits = split_by_group(records, {"val": 0.1, "test": 0.2}, seed=3)
    for label in ("tampered", "authentic"):
        of_label = [record for record in records if record.label == label]
        counts = Counter(splits[record.image] for record in of_label)
        assert counts["val"] / len(of_label) == pytest.approx(0.1, abs=0.01)
        assert counts["test"] / len(of_label) == pytest.approx(0.2, abs=0.01)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=3), st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=9
    ),
    st.integers(0, 9),
    st.randoms(use_true_random=False),
)
def test_no_group_is_cut_and_the_order_does_not_matter(
    sizes: dict[str, tuple[int, int]], seed: int, rng: random.Random
) -> None:
    records = images(sizes)
    shuffled = rng.sample(records, len(records))
    try:
        splits = split_by_group(records, {"val": 0.2, "test": 0.3}, seed)
    except DatasetError:  # one group may outweigh all the others
        reject()
    assert split_by_group(shuffled, {"val": 0.2, "test": 0.3}, seed) == splits
    assert not crossing_groups(replace(record, split=splits[record.image]) for record in records)


def test_the_seed_matters_and_images_without_a_group_stand_alone() -> None:
    records = [ImageRecord(f"{number}", 9, 9) for number in range(50)]
    one, two = (split_by_group(records, {"test": 0.2}, seed) for seed in (0, 1))
    assert one != two
    assert Counter(one.values()) == {"train": 40, "test": 10}


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"training": 0.5}, "split 'training' is not one of"),
        ({"val": -0.1}, "between 0 and 1"),
        ({"val": 0.7, "test": 0.7}, "add up to 1"),
        ({"train": 0.5, "val": 0.1}, "add up to 1"),
    ],
)
def test_bad_shares(fractions: dict[str, float], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        split_by_group(images({"a": (1, 1), "b": (1, 1)}), fractions)


def test_too_few_groups_are_an_error() -> None:
    with pytest.raises(DatasetError, match=r"no source group is left for (train|val): 6 images form 1 groups"):
        split_by_group(images({"a": (3, 3)}), {"val": 0.5})


@pytest.fixture
def grouped(dataset: Dataset) -> Dataset:
    dataset.put(images({f"g{number:02}": (2, 3) for number in range(20)}))
    return dataset


def counts(dataset: Dataset) -> dict[str | None, int]:
    return dict(Counter(record.split for record in dataset.records()))


def test_all_images_are_assigned(grouped: Dataset) -> None:
    assign_splits(grouped, {"val": 0.1, "test": 0.2})
    assert counts(grouped) == {"train": 70, "val": 10, "test": 20}
    assert not crossing_groups(grouped.records())


def test_a_split_is_not_undone_by_accident(grouped: Dataset) -> None:
    assign_splits(grouped, {"test": 0.2})
    before = list(grouped.records())
    with pytest.raises(DatasetError, match="100 images have a split already; give --only-unassigned"):
        assign_splits(grouped, {"test": 0.5})
    assert list(grouped.records()) == before
    assign_splits(grouped, {"test": 0.5}, overwrite=True)
    assert counts(grouped) == {"train": 50, "test": 50}


def test_val_is_taken_out_of_train_and_test_stays(grouped: Dataset) -> None:
    assign_splits(grouped, {"test": 0.2})
    test = {record.image for record in grouped.records(split="test")}
    assign_splits(grouped, {"val": 0.25, "test": 0.0}, within="train")
    assert {record.image for record in grouped.records(split="test")} == test
    assert counts(grouped) == {"train": 60, "val": 20, "test": 20}
    assert not crossing_groups(grouped.records())


def test_a_split_is_not_divided_twice_by_accident(grouped: Dataset) -> None:
    grouped.set_splits({record.image: "train" for record in grouped.records()})
    assign_splits(grouped, {"val": 0.3}, within="train")
    before = list(grouped.records())
    message = r"30 images are in val already, and more of train would follow; --overwrite takes .* --val 0 leaves val"
    for fractions in ({"val": 0.3}, {"val": 0.3, "test": 0.1}):
        with pytest.raises(DatasetError, match=message):
            assign_splits(grouped, fractions, within="train")
    assert list(grouped.records()) == before
    # What would stay as it is stands in nobody's way.
    assign_splits(grouped, {"val": 0.0, "test": 0.5}, within="train")
    assert counts(grouped) == {"train": 35, "val": 30, "test": 35}


@pytest.mark.parametrize(("first", "second"), [(0.3, 0.3), (0.1, 0.3), (0.5, 0.3)])
def test_dividing_anew_gives_what_dividing_once_gives(grouped: Dataset, first: float, second: float) -> None:
    def divided(share: float, overwrite: bool) -> dict[str, str | None]:
        assign_splits(grouped, {"val": share}, within="train", overwrite=overwrite)
        return {record.image: record.split for record in grouped.records()}

    assign_splits(grouped, {"test": 0.2})
    test = {record.image for record in grouped.records(split="test")}
    train = {record.image: "train" for record in grouped.records(split="train")}
    once = divided(second, overwrite=False)
    grouped.set_splits(train)
    divided(first, overwrite=False)
    assert divided(second, overwrite=True) == once
    assert {record.image for record in grouped.records(split="test")} == test


def test_new_images_follow_their_group(grouped: Dataset) -> None:
    assign_splits(grouped, {"test": 0.2})
    (home,) = {record.split for record in grouped.records() if record.group == "g07"}
    before = {record.image: record.split for record in grouped.records()}
    grouped.put([replace(record, image=f"new-{record.image}") for record in images({"g07": (1, 0), "g99": (1, 1)})])
    assigned = assign_splits(grouped, {"test": 0.2}, only_unassigned=True)
    assert set(assigned) == {"new-g07-tampered-0", "new-g99-tampered-0", "new-g99-authentic-0"}
    assert assigned["new-g07-tampered-0"] == home
    assert {image: grouped.get(image).split for image in before} == before


def test_nothing_to_split(dataset: Dataset, grouped: Dataset) -> None:
    with pytest.raises(DatasetError, match="none in test"):
        assign_splits(grouped, {"val": 0.1}, within="test")
    with pytest.raises(DatasetError, match="give shares of the others"):
        assign_splits(grouped, {"val": 0.1, "test": 0.1}, within="test")
    for other in ({"within": "test"}, {"overwrite": True}):
        with pytest.raises(DatasetError, match="--only-unassigned goes with neither --within nor --overwrite"):
            assign_splits(grouped, {"val": 0.1}, only_unassigned=True, **other)  # type: ignore[arg-type]


def test_an_empty_dataset(dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match="no images"):
        assign_splits(dataset, {"val": 0.1})
