"""The order of training images, across processes and resumes."""

from __future__ import annotations

import pytest

from boxpromptiml.training.sampler import ResumableSampler, ShardSampler, batches_per_epoch, samples_per_process


def epochs(sampler: ResumableSampler, passes: int) -> list[list[tuple[int, int]]]:
    orders = []
    for number in range(passes):
        sampler.set_epoch(number)
        orders.append(list(sampler))
        assert len(sampler) == len(orders[-1])
    return orders


def test_every_image_once_an_epoch_in_a_new_order() -> None:
    first, second = epochs(ResumableSampler(10, 4, seed=1), 2)
    assert sorted(first) == [(0, i) for i in range(10)]
    assert sorted(second) == [(1, i) for i in range(10)]
    assert [i for _, i in first] != [i for _, i in second]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize(("epoch", "start"), [(0, 0), (0, 2), (2, 1)])
def test_a_resumed_order_is_the_rest_of_the_whole_one(world: int, epoch: int, start: int) -> None:
    for rank in range(world):
        whole = epochs(ResumableSampler(26, 3, 7, rank=rank, world=world), 4)
        resumed = epochs(ResumableSampler(26, 3, 7, epoch=epoch, start=start, rank=rank, world=world), 4 - epoch)
        assert resumed == [whole[epoch][start * 3 :], *whole[epoch + 1 :]]


def test_processes_share_without_overlap_and_get_equal_numbers() -> None:
    shares = [epochs(ResumableSampler(11, 2, 0, rank=rank, world=2), 1)[0] for rank in range(2)]
    assert [len(share) for share in shares] == [4, 4]  # 11 // 2 = 5, and a last batch of one image is left out
    assert len(set(shares[0]) | set(shares[1])) == 8


@pytest.mark.parametrize(
    ("images", "batch_size", "world", "samples", "batches"),
    [(10, 4, 1, 10, 3), (9, 4, 1, 8, 2), (1, 4, 1, 1, 1), (9, 4, 2, 4, 1), (1, 4, 2, 0, 0), (5, 1, 1, 5, 5)],
)
def test_sizes(images: int, batch_size: int, world: int, samples: int, batches: int) -> None:
    assert samples_per_process(images, batch_size, world) == samples
    assert batches_per_epoch(images, batch_size, world) == batches


def test_validation_images_are_padded_not_repeated() -> None:
    shares = [list(ShardSampler(5, rank, 3)) for rank in range(3)]
    assert shares == [[0, 3], [1, 4], [2, -1]]
