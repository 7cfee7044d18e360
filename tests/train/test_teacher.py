"""A teacher: its answers cut with the photographs, kept, and taken up again; and hints."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.errors import CheckpointError, UsageError, ValueRangeError
from camixersr.models import PRESETS, CAMixerSR, CAMixerSRConfig
from camixersr.nn.routing import TopShare
from camixersr.train import teacher as module
from camixersr.train.photos import MARGIN, Photos, load_photos
from camixersr.train.teacher import Hints, TaughtStream, answer, check_hints, load_answers, load_teacher
from camixersr.weights import Model, save
from tests.conftest import random_network
from tests.train.test_train import needs_fused, recipe, run, scene


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (height, width) in enumerate([(97, 110), (90, 99), (120, 91)]):
        noise = np.random.default_rng(number).integers(256, size=(height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")  # no two places of noise are alike
    return load_photos(sorted(folder.iterdir()), tmp_path / "cache", smallest=1)


def test_an_answer_turns_with_its_photograph() -> None:
    master, high = random_network(12, 2, (1,)), scene(64, 3)
    straight = answer(master, high).astype(int)
    for turned in (lambda x: np.rot90(x), lambda x: x[:, ::-1]):
        back = answer(master, np.ascontiguousarray(turned(high))).astype(int)
        # the low picture is rounded rows first, so that turning it is not quite a turn
        assert np.abs(turned(straight) - back).mean() < 0.5


def test_patches_show_what_the_teacher_said_of_that_place(photos: Photos, tmp_path: Path) -> None:
    master = random_network(12, 2, (1,))
    answers = load_answers(master, photos, tmp_path / "cache")
    stream = TaughtStream(photos, answers, scale=2, patch=16, seed=5)
    patches = torch.stack([stream.patch(number) for number in range(6)])
    low, high = stream.pairs(patches)
    assert low.shape == (6, 3, 16, 16)
    assert high.shape == (6, 6, 32, 32)
    whole = [(photos.photo(number), answers.photo(number)) for number in range(len(photos))]
    edge = 2 * MARGIN
    for number in range(6):
        photo = patches[number, :3].permute(1, 2, 0).numpy()
        told = patches[number, 3:].permute(1, 2, 0).numpy()
        found = [
            np.array_equal(told, _turned(answered, turn)[row : row + 40, column : column + 40])
            for shown, answered in whole
            for turn in range(8)
            for row, column in _places(_turned(shown, turn), photo)
        ]
        assert found == [True]
        assert torch.equal(high[number, 3:] * 255, patches[number, 3:, edge:-edge, edge:-edge].float())


def _turned(picture: np.ndarray, turn: int) -> np.ndarray:
    return np.rot90(picture, turn % 4)[:, :: 1 - 2 * (turn // 4)]


def _places(picture: np.ndarray, part: np.ndarray) -> list[tuple[int, int]]:
    """Where a part lies in a picture."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, part.shape)[:, :, 0]
    return [tuple(place) for place in np.argwhere((windows == part).all(axis=(2, 3, 4)))]


def test_answers_are_computed_once_and_taken_up_after_a_kill(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    master = random_network(12, 2, (1,))
    calls: list[int] = []

    def counted(network: object, high: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return answer(master, high)

    monkeypatch.setattr(module, "answer", counted)
    with pytest.raises(KeyboardInterrupt):
        load_answers(master, photos, tmp_path)
    monkeypatch.setattr(module, "answer", lambda network, high: calls.append(1) or answer(network, high))
    answers = load_answers(master, photos, tmp_path)
    assert len(calls) == 4, "two were kept, the third is computed again"
    again = load_answers(master, photos, tmp_path)
    assert len(calls) == 4
    for number in range(3):
        told = answer(master, photos.photo(number))
        height, width = told.shape[:2]
        assert np.array_equal(answers.photo(number)[:height, :width], told)
        assert np.array_equal(again.photo(number), answers.photo(number))
    load_answers(random_network(12, 2, (1,), seed=9), photos, tmp_path)
    assert len(calls) == 7, "another teacher answers for itself"


def seen_of(network: CAMixerSR, low: torch.Tensor) -> list[torch.Tensor]:
    """What each group hands on, B x H x W x C, with all windows attended."""
    seen: list[torch.Tensor] = []
    for group in network.body:
        group.register_forward_hook(lambda _, given, out: seen.append(out[0]))
    network.route(low, TopShare(1.0), together=True)
    return seen


def test_hints_are_nothing_once_a_linear_map_tells_the_teachers_features() -> None:
    master = random_network(12, 2, (1, 1))
    low = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    hints = Hints.of(master, low)
    told = torch.stack(seen_of(master, low))[:, 0].permute(0, 3, 1, 2)
    both = torch.stack([x.permute(0, 3, 1, 2) for x in seen_of(master, low)])
    nothing = [hints(torch.randn_like(both[:, n]), both[:, n]) for n in range(2)]
    assert float(sum(nothing).detach()) / 2 == pytest.approx(1.0, rel=1e-5)
    turn = torch.linalg.qr(torch.randn(12, 12))[0]
    with torch.no_grad():
        for mapping in hints.maps:
            mapping.weight.copy_(turn.T)
            mapping.bias.zero_()
    turned = torch.einsum("oc,gchw->gohw", turn, told)
    assert float(hints(turned, told).detach()) < 1e-6


def test_hints_begin_as_the_best_linear_maps_of_what_a_learner_knows() -> None:
    master, learner = random_network(12, 2, (1, 1)), random_network(12, 2, (1, 1), seed=5)
    low = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    told, own = (torch.stack(seen_of(network, low)).flatten(1, -2) for network in (master, learner))
    hints = Hints.of(master, low, learner)
    for group, mapping in enumerate(hints.maps):
        x = torch.cat((own[group], torch.ones(len(own[group]), 1)), dim=1).double()
        wanted = told[group].double()
        best = x @ torch.linalg.lstsq(x, wanted).solution
        least = (best - wanted).square().mean()
        missing = (mapping(own[group]).double() - wanted).square().mean()
        assert least <= missing < 1.05 * least
    same = Hints.of(master, low, master)
    features = told.unflatten(1, (2, 32, 32)).permute(0, 1, 4, 2, 3)
    assert float(same(features[:, 0], features[:, 0]).detach()) < 1e-4


@pytest.mark.parametrize("hint", [0.0, 0.1])
def test_a_run_nears_its_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hint: float) -> None:
    """Photographs count nothing here: what is learnt can only come from the teacher."""
    needs_fused(tmp_path)
    monkeypatch.setitem(PRESETS, "tiny", CAMixerSRConfig(channels=12, scale=2, blocks=(1, 1)))
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(scene(96, number)).save(folder / f"{number}.png")
    master = random_network(12, 2, (1, 1))
    with torch.no_grad():  # a teacher that says something else than the photograph: half of it
        master.tail.weight *= 0.0
        assert master.tail.bias is not None
        master.tail.bias.fill_(0.25)
    save(tmp_path / "teacher.safetensors", Model("teacher", master, None, {}))
    plan = replace(
        recipe(tmp_path, tmp_path, model="tiny", kernels="fused", patch=16, learning_rate=0.02),
        photos=str(folder),
        validation="",
        output=str(tmp_path / "run"),
        teacher=str(tmp_path / "teacher.safetensors"),
        hint_weight=hint,
        steps=60,
        validate_every=60,
        ema=0.0,
    )
    from camixersr.weights import load_file

    student = load_file(run(plan)).network
    low = torch.rand(1, 3, 32, 32)
    assert abs(float(student(low, TopShare(0.5)).mean()) - 0.25) < 0.1


def test_teachers_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    master = random_network(12, 2, (1, 1))
    file = tmp_path / "t.safetensors"
    save(file, Model("t", master, None, {}))
    with pytest.raises(UsageError, match="enlarges x4"):
        load_teacher(str(file), random_network(12, 4, (1, 1)))
    with pytest.raises(CheckpointError, match="leave hint_weight out"):
        check_hints(master, random_network(16, 2, (1, 1)), "t")
    with pytest.raises(ValueRangeError, match="wants a teacher"):
        recipe(tmp_path, tmp_path, hint_weight=0.1, kernels="fused")
    with pytest.raises(ValueRangeError, match="flat photographs as they are"):
        recipe(tmp_path, tmp_path, teacher="t", shrink=2.0)
    with pytest.raises(ValueRangeError, match="plain must be at most"):
        recipe(tmp_path, tmp_path, plain=0.5)
