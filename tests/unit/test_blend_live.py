"""The blend's own Adam moves weights as torch's does."""

import torch

from ranking.blend_live import Adam


def test_adam_moves_as_torchs_does():
    chance = torch.Generator().manual_seed(0)
    start = [torch.randn(4, 3, generator=chance), torch.randn(3, generator=chance)]
    ours, theirs = ([w.clone().requires_grad_(True) for w in start] for _ in range(2))
    own, torchs = Adam(0.01, ours), torch.optim.Adam(theirs, 0.01)
    for _ in range(50):
        data = torch.randn(8, 4, generator=chance)
        for weights, solver in (ours, own), (theirs, torchs):
            torchs.zero_grad()
            (torch.tanh(data @ weights[0] + weights[1]).square().sum()).backward()
            solver.step()
    for one, other, first in zip(ours, theirs, start, strict=True):
        assert not torch.equal(one, first)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_weight_without_a_gradient_stays():
    moved, still = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    adam = Adam(0.1, [moved, still])
    moved.sum().backward()
    adam.step()
    assert moved.tolist() != [1, 1]
    assert still.tolist() == [1, 1]
    assert moved.grad is None
