"""ClassSR: the classifier, its losses, and what classes do to a network's routing."""

import math

import pytest
import torch
from torch import Tensor

from camixersr.errors import ShapeError, ValueRangeError
from camixersr.models import Classes, PatchClassifier
from camixersr.models.calibration import Threshold
from camixersr.models.classes import ByClass
from camixersr.models.classsr import average_loss, blend, class_loss, windows_of
from camixersr.nn import TopShare
from tests.conftest import random_network

SIZES = [(1, 1), (7, 40), (31, 33), (32, 64), (50, 97), (129, 16)]


def _grid(height: int, width: int, side: int) -> tuple[int, int]:
    return -(-height // side), -(-width // side)


def test_the_classifier_has_the_published_layers() -> None:
    classifier = PatchClassifier()
    shapes = [tuple(p.shape) for p in classifier.parameters() if p.ndim > 1]
    assert shapes == [
        (128, 3, 4, 4), (128, 128, 1, 1), (128, 128, 1, 1), (128, 128, 1, 1), (32, 128, 1, 1), (3, 32),
    ]  # fmt: skip
    assert sum(p.numel() for p in classifier.parameters()) == 60_035


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_patch_is_classified_as_if_it_were_alone(height: int, width: int) -> None:
    classifier, low = PatchClassifier().eval(), torch.rand(2, 3, height, width)
    with torch.no_grad():
        logits = classifier(low)
        rows, columns = _grid(height, width, 32)
        assert logits.shape == (2, 3, rows, columns)
        for row in range(height // 32):
            for column in range(width // 32):
                patch = low[..., 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
                torch.testing.assert_close(classifier(patch)[..., 0, 0], logits[..., row, column])
        assert torch.equal(classifier.classes(low), logits.argmax(dim=1))
        # by hand: cells of 4 x 4, a chain of products, a mean, a product
        x = torch.nn.functional.unfold(_padded(low), 4, stride=4)
        for number, layer in enumerate((classifier.patch, *classifier.hidden)):
            x = torch.where(x > 0, x, 0.1 * x) if number else x
            x = layer.weight.flatten(1) @ x + layer.bias[:, None]
        cells = x.view(2, 32, rows, 8, columns, 8).mean(dim=(3, 5))
        expected = torch.einsum("kc,bcrs->bkrs", classifier.out.weight, cells)
        torch.testing.assert_close(logits, expected + classifier.out.bias[:, None, None])


def _padded(low: Tensor) -> Tensor:
    """Reflected, pixel by pixel; or repeated where there is too little to reflect."""
    height, width = low.shape[-2:]

    def index(length: int) -> list[int]:
        whole = -(-length // 32) * 32
        if whole - length < length:
            return [i if i < length else 2 * length - 2 - i for i in range(whole)]
        return [min(i, length - 1) for i in range(whole)]

    return low[..., index(height), :][..., index(width)]


def test_the_losses_are_the_published_ones() -> None:
    certain = torch.zeros(2, 3, 1, 2)
    certain[0, 0, 0, 0] = certain[0, 1, 0, 1] = certain[1, 2, 0, 0] = certain[1, 0, 0, 1] = 1.0
    assert class_loss(certain) == 0.0  # |1 - 0| + |1 - 0| + |0 - 0| = 2 = M - 1
    even = torch.full((2, 3, 1, 2), 1.0 / 3.0)
    assert float(class_loss(even)) == pytest.approx(2.0)
    assert float(average_loss(even)) == pytest.approx(0.0, abs=1e-6)
    # two of four in the first class, one in each of the others: |2 - 4/3| + 2 |1 - 4/3|, over 16/3
    assert float(average_loss(certain)) == pytest.approx((4 / 3) / (16 / 3))
    one = torch.zeros(5, 3, 1, 1)
    one[:, 1] = 1.0
    assert float(average_loss(one)) == pytest.approx(1.0)  # (M - 1) / 2


def test_the_losses_against_loops() -> None:
    probabilities = torch.randn(3, 3, 2, 4).softmax(dim=1)
    patches = probabilities.permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    sure = sum(2 - sum(abs(p[i] - p[j]) for i in range(3) for j in range(i + 1, 3)) for p in patches)
    assert float(class_loss(probabilities)) == pytest.approx(sure / 24, rel=1e-5)
    uneven = sum(abs(sum(p[i] for p in patches) - 24 / 3) for i in range(3)) / (24 / 3 * 4)
    assert float(average_loss(probabilities)) == pytest.approx(uneven, rel=1e-4)


def test_blending_weights_patch_by_patch() -> None:
    probabilities = torch.randn(2, 3, 2, 3).softmax(dim=1)
    highs = torch.rand(3, 2, 3, 100, 150)
    blended = blend(probabilities, list(highs), 64)
    for y, x in [(0, 0), (63, 64), (64, 63), (99, 149)]:
        weights = probabilities[:, :, y // 64, x // 64]
        expected = sum(weights[:, k, None] * highs[k, :, :, y, x] for k in range(3))
        torch.testing.assert_close(blended[:, :, y, x], expected)


@pytest.mark.parametrize("window", [8, 16, 32])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_window_has_the_class_of_its_patch(height: int, width: int, window: int) -> None:
    patches = torch.randint(3, (2, *_grid(height, width, 32)))
    rows, columns = _grid(height, width, window)
    windows = windows_of(patches, rows, columns, window).view(2, rows, columns)
    for row in range(rows):
        for column in range(columns):
            expected = patches[:, row * window // 32, column * window // 32]
            assert torch.equal(windows[:, row, column], expected)


@pytest.mark.parametrize("policy", [TopShare(0.0), TopShare(1.0), Threshold((0.5, 0.4, 0.6))])
def test_classes_of_one_kind_change_nothing(policy) -> None:
    network, low = random_network(), torch.rand(2, 3, 50, 70)
    classes = torch.randint(3, (2, 4 * 5))
    plain, by_class = (network.route(low, each) for each in (policy, ByClass((policy,) * 3, classes)))
    assert torch.equal(plain[0], by_class[0])
    assert torch.equal(plain[1].attended, by_class[1].attended)


def test_each_class_keeps_to_its_own_policy() -> None:
    logits = torch.randn(2, 12)
    classes = torch.tensor([[0] * 4 + [1] * 4 + [2] * 4, [2, 1, 0] * 4])
    chosen = ByClass((TopShare(0.0), TopShare(0.5), TopShare(1.0)), classes).choose(logits, 0)
    assert chosen.dtype == torch.bool
    for image in range(2):
        for number, count in enumerate((0, 2, 4)):
            own = classes[image] == number
            assert int(chosen[image, own].sum()) == count
            expected = TopShare(count / 4).choose(logits[image : image + 1, own], 0)[0]
            assert torch.equal(chosen[image, own], expected)
    faded = ByClass((TopShare(0.0), Threshold((0.5,)), TopShare(1.0)), classes).choose(logits, 0)
    assert faded.is_floating_point()
    assert torch.equal(faded[classes == 1], Threshold((0.5,)).choose(logits, 0)[classes == 1])
    assert (faded[classes == 2] == 1.0).all()
    assert (faded[classes == 0] == 0.0).all()


@pytest.mark.parametrize("only", [0, 1, 2])
def test_a_picture_of_one_class_is_the_network_at_its_ratio(only: int) -> None:
    network, low = random_network(), torch.rand(1, 3, 40, 20)
    policies = (TopShare(0.0), TopShare(0.5), TopShare(1.0))
    by_class = ByClass(policies, torch.full((1, 6), only))
    assert torch.equal(network(low, by_class), network(low, policies[only]))


def test_a_neighbour_in_the_batch_does_not_matter() -> None:
    network, low = random_network(), torch.rand(3, 3, 33, 40)
    policy = ByClass((TopShare(0.0), TopShare(0.3), TopShare(1.0)), torch.randint(3, (3, 9)))
    together = network(low, policy)
    for number in range(3):
        assert torch.equal(
            together[number : number + 1], network(low[number : number + 1], policy.of_image(number))
        )


def test_classes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="classes of"):
        random_network()(torch.rand(1, 3, 32, 32), ByClass((TopShare(0.0),) * 3, torch.zeros(1, 3).long()))
    for ratios in [(0.0, 0.5), (0.5, 0.25, 1.0), (0.0, 0.5, 1.5)]:
        with pytest.raises(ValueRangeError, match="ascending"):
            Classes(PatchClassifier(), ratios)
    with pytest.raises(ShapeError, match="RGB"):
        PatchClassifier()(torch.rand(3, 32, 32))


def test_the_dial_moves_all_classes() -> None:
    classes = Classes(PatchClassifier(), (0.0, 0.4, 1.0))
    assert classes.at(0.5) == classes.ratios
    assert classes.at(0.0) == (0.0, 0.0, 0.0)
    assert classes.at(1.0) == (1.0, 1.0, 1.0)
    dials = [number / 40 for number in range(41)]
    for one in range(3):
        ratios = [classes.at(dial)[one] for dial in dials]
        assert ratios == sorted(ratios)
        assert all(math.isfinite(ratio) and 0.0 <= ratio <= 1.0 for ratio in ratios)
    with pytest.raises(ValueRangeError):
        classes.at(1.1)
