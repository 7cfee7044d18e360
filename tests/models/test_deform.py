import math

import pytest
import torch
import torch.nn.functional as F

from camixersr.models.deform import DeformableConv, deformable_conv


def oracle(x, offsets, mask, weight, bias):
    """The definition, by loops over single numbers: B x H x W x C."""
    B, H, W, C = x.shape
    k = weight.shape[-1]
    out = torch.zeros(B, H, W, weight.shape[0], dtype=x.dtype)
    for b in range(B):
        for y in range(H):
            for z in range(W):
                total = bias.clone()
                for tap in range(k * k):
                    row = y + tap // k - k // 2 + float(offsets[b, y, z, tap, 0])
                    column = z + tap % k - k // 2 + float(offsets[b, y, z, tap, 1])
                    top, left = math.floor(row), math.floor(column)
                    value = torch.zeros(C, dtype=x.dtype)
                    for r in (top, top + 1):
                        for c in (left, left + 1):
                            if 0 <= r < H and 0 <= c < W:
                                value += (1 - abs(row - r)) * (1 - abs(column - c)) * x[b, r, c]
                    total += weight[:, :, tap // k, tap % k] @ value * mask[b, y, z, tap]
                out[b, y, z] = total
    return out


@pytest.mark.parametrize(("size", "reach"), [((5, 7), 1.0), ((3, 4), 6.0), ((1, 1), 0.3)])
def test_it_is_its_definition(size: tuple[int, int], reach: float) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, *size, 3, dtype=torch.float64)
    offsets = reach * torch.randn(2, *size, 9, 2, dtype=torch.float64)
    mask = torch.rand(2, *size, 9, dtype=torch.float64)
    weight, bias = torch.randn(4, 3, 3, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    result = deformable_conv(x, offsets, mask, weight, bias)
    assert torch.allclose(result, oracle(x, offsets, mask, weight, bias), atol=1e-12)


def test_without_offsets_it_is_a_convolution() -> None:
    x, weight = torch.randn(1, 6, 9, 3), torch.randn(5, 3, 3, 3)
    result = deformable_conv(x, torch.zeros(1, 6, 9, 9, 2), torch.ones(1, 6, 9, 9), weight)
    expected = F.conv2d(x.permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1)
    assert torch.allclose(result, expected, atol=1e-5)


def test_everything_gets_a_gradient() -> None:
    layer = DeformableConv(4)
    with torch.no_grad():
        layer.guide.weight.normal_(std=0.1)
    x, guide = torch.randn(1, 5, 6, 4, requires_grad=True), torch.randn(1, 5, 6, 4, requires_grad=True)
    layer(x, guide).square().sum().backward()
    for value in (x, guide, *layer.parameters()):
        assert value.grad is not None
        assert bool(value.grad.abs().sum() > 0)
