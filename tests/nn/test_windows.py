import pytest
import torch

from camixersr.nn.windows import gather, merge, partition, scatter, window_position


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 48), (48, 16)])
def test_merge_undoes_partition(height: int, width: int) -> None:
    x = torch.rand(2, height, width, 3)
    assert torch.equal(merge(partition(x, 16), height, width), x)


def test_windows_are_counted_row_by_row_and_so_are_their_tokens() -> None:
    height, width, M = 32, 48, 16
    x = torch.arange(height * width).reshape(1, height, width, 1)
    windows = partition(x, M)
    for row in range(height // M):
        for column in range(width // M):
            expected = x[0, row * M : (row + 1) * M, column * M : (column + 1) * M, 0].flatten()
            assert torch.equal(windows[0, row * (width // M) + column, :, 0], expected)


def test_scatter_puts_back_what_gather_took_and_leaves_the_rest() -> None:
    windows = torch.rand(2, 6, 256, 3)
    index = torch.tensor([11, 0, 4])
    taken = gather(windows, index)
    assert torch.equal(taken, windows.flatten(0, 1)[index])
    changed = scatter(windows, index, taken + 1.0)
    expected = windows.clone().flatten(0, 1)
    expected[index] += 1.0
    assert torch.equal(changed.flatten(0, 1), expected)
    assert torch.equal(scatter(windows, index, taken), windows)


def test_position_runs_from_minus_one_to_one_in_every_window() -> None:
    place = window_position(32, 48, 16, like=torch.zeros(1))
    assert place.shape == (1, 32, 48, 2)
    windows = partition(place, 16).reshape(6, 16, 16, 2)
    side = torch.linspace(-1, 1, 16)
    for window in windows:
        assert torch.equal(window[..., 0], side[:, None].expand(16, 16))  # rows first
        assert torch.equal(window[..., 1], side.expand(16, 16))
