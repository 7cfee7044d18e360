import pytest
import torch
import torch.nn.functional as F

from camixersr.nn.attention import WindowAttention, sample
from camixersr.nn.windows import gather, partition


@pytest.mark.parametrize(("height", "width"), [(16, 16), (5, 9), (2, 2)])
def test_sample_is_grid_sample_with_a_border(height: int, width: int) -> None:
    B, C = 2, 3
    x = torch.rand(B, height, width, C)
    column = torch.rand(B, 40) * (width + 20) - 10  # also far outside
    row = torch.rand(B, 40) * (height + 20) - 10
    grid = torch.stack((column / (width - 1) * 2 - 1, row / (height - 1) * 2 - 1), -1)[:, None]
    expected = F.grid_sample(
        x.permute(0, 3, 1, 2), grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    image = torch.arange(B).repeat_interleave(40)
    result = sample(x, image, column.flatten(), row.flatten())
    assert torch.allclose(result.reshape(B, 40, C), expected[:, :, 0].transpose(1, 2), atol=1e-5)


def test_sample_has_the_gradients_of_grid_sample() -> None:
    x = torch.rand(1, 6, 7, 2, dtype=torch.float64, requires_grad=True)
    place = torch.rand(2, 12, dtype=torch.float64).mul(5).requires_grad_()
    image = torch.zeros(12, dtype=torch.int64)
    assert torch.autograd.gradcheck(lambda x, p: sample(x, image, p[0], p[1]), (x, place))


def test_whole_pixel_offsets_move_keys_by_whole_pixels() -> None:
    """Offset channel 0 moves along x, channel 1 along y: against a plain shift of the map."""
    C, H, W = 4, 32, 48
    attention = WindowAttention(C, 16)
    x, v = torch.rand(1, H, W, C), torch.rand(1, H, W, C)
    offsets = torch.zeros(1, H, W, 2)
    offsets[..., 0], offsets[..., 1] = 3.0, -2.0
    index = torch.tensor([0, 4])
    values = gather(partition(v, 16), index)
    result = attention(x, values, offsets, index)

    rows = (torch.arange(H) - 2).clamp(0, H - 1)
    columns = (torch.arange(W) + 3).clamp(0, W - 1)
    moved = x[:, rows][:, :, columns]
    q = attention.project_q(gather(partition(x, 16), index))
    k = attention.project_k(gather(partition(x + moved, 16), index))
    expected = (q @ k.transpose(1, 2)).softmax(-1) @ values
    assert torch.allclose(result, expected, atol=1e-5)


def test_a_window_does_not_depend_on_which_others_are_attended() -> None:
    attention = WindowAttention(12, 16)
    x, v = torch.rand(2, 32, 32, 12), torch.rand(2, 32, 32, 12)
    offsets = 8 * torch.rand(2, 32, 32, 2)
    windows = partition(v, 16)
    every = torch.arange(8)
    whole = attention(x, gather(windows, every), offsets, every)
    for some in ([3], [7, 1], [5, 0, 2]):
        index = torch.tensor(some)
        assert torch.equal(attention(x, gather(windows, index), offsets, index), whole[index])
