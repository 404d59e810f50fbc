from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from boxpromptiml.student import MemoryBank, Student

Make = Callable[..., Student]


def test_memory_reads_the_prototypes_that_resemble_the_query() -> None:
    memory = MemoryBank(3, 4, temperature=0.1)
    with torch.no_grad():
        memory.prototypes.copy_(torch.tensor([[2.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 0, 1.0]]))
        memory.query.weight.copy_(torch.eye(4)[:, :, None, None])
        memory.query.bias.zero_()
        query = torch.zeros(1, 4, 1, 2)
        query[0, :, 0, 0] = torch.tensor([0, 5.0, 0, 0])  # the direction of the second prototype
        query[0, :, 0, 1] = torch.tensor([1.0, 1.0, 0, 0])  # half-way between the first two
        recalled, weights = memory(query)
    cosine = torch.tensor([[0, 1, 0], [0.5**0.5, 0.5**0.5, 0]])
    expected = torch.softmax(cosine / 0.1, dim=1)
    torch.testing.assert_close(weights[0, :, 0].t(), expected)
    torch.testing.assert_close(recalled[0, :, 0].t(), expected @ memory.prototypes)


def test_the_attention_is_the_papers_formula(make_student: Make, images: torch.Tensor) -> None:
    student = make_student(alpha=0.3)
    with torch.no_grad():
        parts = student.explain(images)
    assert parts.attention_memory is not None
    gate = torch.stack(parts.gates).mean(dim=0)
    expected = 0.3 * parts.attention_base * gate + 0.7 * parts.attention_memory
    torch.testing.assert_close(parts.attention, expected)
    assert parts.attention.std() > 0.01


@pytest.mark.parametrize(
    ("config", "gates", "reads", "expected"),
    [
        ({}, 4, 64, lambda p, g: 0.5 * p.attention_base * g + 0.5 * p.attention_memory),
        ({"gates": False}, 0, 64, lambda p, g: 0.5 * p.attention_base + 0.5 * p.attention_memory),
        ({"dual_guidance": False}, 4, 64, lambda p, g: (p.attention_base + p.attention_memory) / 2),
        ({"memory": False}, 4, None, lambda p, g: p.attention_base * g),
        ({"memory_size": 0}, 4, None, lambda p, g: p.attention_base * g),
        ({"memory": False, "dual_guidance": False}, 4, None, lambda p, g: p.attention_base),
        ({"memory": False, "gates": False}, 0, None, lambda p, g: p.attention_base),
        ({"memory_size": 7}, 4, 7, lambda p, g: 0.5 * p.attention_base * g + 0.5 * p.attention_memory),
        ({"alpha": 1.0, "learn_alpha": False}, 4, 64, lambda p, g: p.attention_base * g),
    ],
)
def test_every_part_has_a_switch(
    make_student: Make, images: torch.Tensor, config: dict, gates: int, reads: int | None, expected: Callable
) -> None:
    student = make_student(**config)
    with torch.no_grad():
        parts = student.explain(images)
    gate = torch.stack(parts.gates).mean(dim=0) if parts.gates else None
    torch.testing.assert_close(parts.attention, expected(parts, gate))
    assert len(parts.gates) == gates
    if reads is None:
        assert parts.memory_reads is None
        assert parts.attention_memory is None
    else:
        assert parts.memory_reads.shape == (2, reads, 6, 4)
        torch.testing.assert_close(parts.memory_reads.sum(dim=1), torch.ones(2, 6, 4))


def test_a_part_that_is_off_has_no_parameters(make_student: Make) -> None:
    names = {name for name, _ in make_student(gates=False, memory=False).fusion.named_parameters()}
    assert not any(name.startswith(("gate", "memory", "recall", "_alpha")) for name in names)


@pytest.mark.parametrize("config", [{}, {"gates": False}, {"dual_guidance": False}, {"memory": False}])
def test_an_untrained_student_predicts_the_prior(make_student: Make, images: torch.Tensor, config: dict) -> None:
    student = make_student(**config)
    for name, parameter in student.named_parameters():
        if name.endswith("out.weight"):
            torch.nn.init.normal_(parameter, std=0.01)
    with torch.no_grad():
        probability = torch.sigmoid(student(images))
    assert probability.mean() == pytest.approx(0.1, abs=0.03)


def test_temperature_sharpens_the_addressing(make_student: Make, images: torch.Tensor) -> None:
    highest = []
    for temperature in (1.0, 0.1, 0.01):
        with torch.no_grad():
            highest.append(make_student(temperature=temperature).explain(images).memory_reads.amax(dim=1).mean())
    assert highest[0] < highest[1] < highest[2]


@pytest.mark.parametrize("config", [{}, {"gates": False}, {"dual_guidance": False}, {"memory": False}])
def test_every_parameter_learns(make_student: Make, images: torch.Tensor, config: dict) -> None:
    student = make_student(**config).train()
    student(images).square().mean().backward()
    idle = [
        name
        for name, p in student.named_parameters()
        if name.startswith("fusion") and (p.grad is None or not p.grad.any())
    ]
    assert idle == []


def test_alpha_stays_inside_its_range_while_it_learns(make_student: Make, images: torch.Tensor) -> None:
    student = make_student(alpha=0.9).train()
    optimizer = torch.optim.SGD([p for n, p in student.named_parameters() if "alpha" in n], lr=100.0)
    for _ in range(5):
        optimizer.zero_grad()
        student(images).mean().backward()
        optimizer.step()
    alpha = float(student.fusion.alpha.detach())
    assert 0 <= alpha <= 1
    assert alpha != pytest.approx(0.9, abs=1e-3)
