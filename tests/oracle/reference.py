"""CAMixerSR written a second time, straight from its equations: slow, plain, B x C x H x W.

No window is skipped: both branches run everywhere and a mask picks. Warping goes through
`grid_sample`, attention through explicit products, windows through loops. It takes our parameters
by name and shares no code with `camixersr.nn`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def sub(state: State, prefix: str) -> State:
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def conv1(x: Tensor, state: State, name: str) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"][:, :, None, None], state.get(f"{name}.bias"))


def channel_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).square().mean(1, keepdim=True)
    return (x - mean) / (variance + 1e-6).sqrt() * weight[:, None, None] + bias[:, None, None]


def warp(x: Tensor, offsets: Tensor) -> Tensor:
    _, _, H, W = x.shape
    rows, columns = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    column = (columns + offsets[:, 0]) / max(W - 1, 1) * 2 - 1
    row = (rows + offsets[:, 1]) / max(H - 1, 1) * 2 - 1
    grid = torch.stack((column, row), dim=-1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)


def cell_means(f: Tensor, side: int) -> Tensor:
    """Every pixel's cell's mean; 0 is one cell for all."""
    _, _, H, W = f.shape
    side = side or max(H, W)
    means = torch.zeros_like(f)
    for top in range(0, H, side):
        for left in range(0, W, side):
            there = (..., slice(top, top + side), slice(left, left + side))
            means[there] = f[there].mean((2, 3), keepdim=True)
    return means


def mixer(
    x: Tensor, condition: Tensor, state: State, mask: Tensor | None, pool: int = 0
) -> tuple[Tensor, Tensor]:
    """`mask` B x N bool; None attends everything. Returns the mixed map and the softmax scores."""
    B, _, H, W = x.shape
    M = 16
    v = conv1(x, state, "project_v")
    V = v.shape[1]
    f = conv1(torch.cat((v, condition), 1), state, "predictor.project_in")
    f = F.leaky_relu(channel_norm(f, state["predictor.norm.weight"], state["predictor.norm.bias"]), 0.1)
    offsets = conv1(F.leaky_relu(conv1(f, state, "predictor.offsets.0"), 0.1), state, "predictor.offsets.2")
    offsets = 8.0 * torch.tanh(offsets)
    spatial = torch.sigmoid(
        F.conv2d(f, state["predictor.spatial.weight"], state["predictor.spatial.bias"], padding=1)
    )
    channel = torch.sigmoid(conv1(cell_means(f, pool), state, "predictor.channel"))
    warped = x + warp(x, offsets)

    y = torch.zeros_like(v)
    scores = torch.zeros(B, (H // M) * (W // M))
    for b in range(B):
        n = 0
        for top in range(0, H, M):
            for left in range(0, W, M):
                there = (b, slice(None), slice(top, top + M), slice(left, left + M))
                plain = f[there].mean(0).flatten()
                hidden = F.leaky_relu(
                    state["predictor.mask.0.weight"] @ plain + state["predictor.mask.0.bias"], 0.1
                )
                two = state["predictor.mask.2.weight"] @ hidden + state["predictor.mask.2.bias"]
                scores[b, n] = torch.softmax(two, 0)[0]
                if mask is None or mask[b, n]:
                    tokens, keys = x[there].flatten(1).T, warped[there].flatten(1).T
                    q = tokens @ state["attention.project_q.weight"].T + state["attention.project_q.bias"]
                    k = keys @ state["attention.project_k.weight"].T + state["attention.project_k.bias"]
                    out = torch.softmax(q @ k.T, dim=-1) @ v[there].flatten(1).T
                    y[there] = out.T.reshape(V, M, M)
                else:
                    y[there] = v[there] * spatial[there]
                n += 1
    local = F.conv2d(y, state["local.0.weight"], state["local.0.bias"], padding=1, groups=V)
    local = F.conv2d(local, state["local.1.weight"], state["local.1.bias"], padding=2, dilation=2, groups=V)
    y = F.gelu(local) * channel + y
    return conv1(y, state, "project_out"), scores


def feed_forward(x: Tensor, state: State) -> Tensor:
    y = conv1(x, state, "project_in")
    y = F.conv2d(y, state["depthwise.weight"], padding=1, groups=y.shape[1])
    a, b = y.chunk(2, dim=1)
    return conv1(F.gelu(a) * b, state, "project_out")


def network(
    low: Tensor,
    state: State,
    masks: list[Tensor] | None,
    blocks: tuple[int, ...],
    scale: int,
    pool: int = 0,
) -> tuple[Tensor, list[Tensor]]:
    """The whole network on B x 3 x H x W, H and W from 9 up. Returns high and every block's scores."""
    _, _, height, width = low.shape
    image = F.pad(low, (0, -width % 16, 0, -height % 16), mode="reflect")
    B, _, H, W = image.shape
    x = F.conv2d(image, state["head.weight"], state["head.bias"], padding=1)
    g = F.leaky_relu(conv1(x, state, "global_in"), 0.1)
    g = F.leaky_relu(F.conv2d(g, state["global_out.weight"], state["global_out.bias"], padding=1), 0.1)
    side = torch.linspace(-1, 1, 16)
    place = torch.stack(torch.meshgrid(side, side, indexing="ij")).repeat(1, H // 16, W // 16)
    condition = torch.cat((g, place.expand(B, 2, H, W)), 1)
    y, scores = x, []
    for group, count in enumerate(blocks):
        before = y
        for number in range(count):
            block = sub(state, f"body.{group}.blocks.{number}.")
            mask = None if masks is None else masks[len(scores)]
            mixed, score = mixer(y, condition, sub(block, "mixer."), mask, pool)
            y = channel_norm(y + mixed, block["norm1.weight"], block["norm1.bias"])
            y = channel_norm(
                y + feed_forward(y, sub(block, "feed_forward.")),
                block["norm2.weight"],
                block["norm2.bias"],
            )
            scores.append(score)
        y = conv1(y, state, f"body.{group}.tail") + before
    y = F.conv2d(y, state["body_tail.weight"], state["body_tail.bias"], padding=1) + x
    y = F.conv2d(y, state["tail.weight"], state["tail.bias"], padding=1)
    return F.pixel_shuffle(y, scale)[..., : height * scale, : width * scale], scores
