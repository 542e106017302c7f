#!/usr/bin/python3
"""Makes clip.safetensors: attention over ragged batches, DistilBERT, projection heads, contrastive losses and the
training of a small CLIP, from PyTorch.

    tests/golden/make_clip.py              writes the file
    tests/golden/make_clip.py --check      makes it again in memory and compares, as make_layers.py

A ragged batch is stored packed: the rows of its real tokens one behind the other, and the lengths. PyTorch computes on
the padded batch with a mask. DistilBERT is written here with Hugging Face's names, post-norm, erf GELU, eps 1e-12.
"""

import math
import sys

import torch
import torch.nn.functional as F
from make_layers import HERE, Draw, Fixture, differences, write_safetensors
from torch import nn

# --- DistilBERT -------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, features, heads):
        super().__init__()
        self.heads = heads
        self.q_lin, self.k_lin, self.v_lin, self.out_lin = (nn.Linear(features, features) for _ in range(4))

    def forward(self, x, mask):
        n, length, features = x.shape
        q, k, v = (layer(x).view(n, length, self.heads, -1).transpose(1, 2)
                   for layer in (self.q_lin, self.k_lin, self.v_lin))  # fmt: skip
        scores = q / math.sqrt(features // self.heads) @ k.transpose(2, 3)
        weights = scores.masked_fill(~mask[:, None, None, :], -math.inf).softmax(-1)
        return self.out_lin((weights @ v).transpose(1, 2).reshape(n, length, features))


class FeedForward(nn.Module):
    def __init__(self, features, hidden):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(features, hidden), nn.Linear(hidden, features)

    def forward(self, x):
        return self.lin2(F.gelu(self.lin1(x)))


class Block(nn.Module):
    def __init__(self, features, heads, hidden, pre=False):
        super().__init__()
        self.pre = pre
        self.attention, self.ffn = Attention(features, heads), FeedForward(features, hidden)
        self.sa_layer_norm, self.output_layer_norm = (nn.LayerNorm(features, eps=1e-12) for _ in range(2))

    def forward(self, x, mask):
        if self.pre:
            x = x + self.attention(self.sa_layer_norm(x), mask)
            return x + self.ffn(self.output_layer_norm(x))
        x = self.sa_layer_norm(x + self.attention(x, mask))
        return self.output_layer_norm(x + self.ffn(x))


class Embeddings(nn.Module):
    def __init__(self, vocabulary, positions, features):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, features, padding_idx=0)
        self.position_embeddings = nn.Embedding(positions, features)
        self.LayerNorm = nn.LayerNorm(features, eps=1e-12)

    def forward(self, ids):
        return self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings(torch.arange(ids.shape[1])))


class DistilBert(nn.Module):
    def __init__(self, vocabulary=13, positions=7, layers=2, features=12, heads=3, hidden=20):
        super().__init__()
        self.embeddings = Embeddings(vocabulary, positions, features)
        self.transformer = nn.Module()
        self.transformer.layer = nn.ModuleList(Block(features, heads, hidden) for _ in range(layers))

    def forward(self, ids, mask):
        x = self.embeddings(ids)
        for layer in self.transformer.layer:
            x = layer(x, mask)
        return x


class Ragged(nn.Module):
    """A module of padded sequences and a mask as one of packed sequences, with the module's keys."""

    def __init__(self, module, lengths):
        super().__init__()
        self.module, self.mask = module, mask_of(lengths)

    def state_dict(self, *args, **kwargs):
        return self.module.state_dict()

    def named_parameters(self, *args, **kwargs):
        return self.module.named_parameters()

    def forward(self, x):
        padded = torch.zeros(*self.mask.shape, x.shape[-1], dtype=x.dtype)
        padded[self.mask] = x
        return self.module(padded, self.mask)[self.mask]


def mask_of(lengths):
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def random_ids(draw, lengths, vocabulary):
    """Ids with zeros behind the lengths, and one zero that is a token."""
    mask = mask_of(lengths)
    ids = torch.where(mask, 1 + draw.labels(tuple(mask.shape), vocabulary - 1), 0)
    ids[0, 1] = 0
    return ids, mask


# --- CLIP -------------------------------------------------------------------------------------------------------------


class ProjectionHead(nn.Module):
    def __init__(self, features, projection):
        super().__init__()
        self.projection = nn.Linear(features, projection)
        self.fc = nn.Linear(projection, projection)
        self.layer_norm = nn.LayerNorm(projection)

    def forward(self, x):
        projected = self.projection(x)
        return self.layer_norm(self.fc(F.gelu(projected)) + projected)


class Holder(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model


class Clip(nn.Module):
    def __init__(self, projection=6):
        super().__init__()
        self.image_encoder = Holder(nn.Sequential(
            nn.Conv2d(3, 5, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))  # fmt: skip
        self.text_encoder = Holder(DistilBert(layers=1))
        self.image_projection, self.text_projection = ProjectionHead(5, projection), ProjectionHead(12, projection)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07), dtype=torch.float64))

    def forward(self, images, ids, mask):
        text = self.text_encoder.model(ids, mask)[:, 0]
        return torch.stack([self.image_projection(self.image_encoder.model(images)), self.text_projection(text)])


def soft_targets(embeddings, _=None, temperature=1.0, of_targets=None, detach=False, normalize=False):
    image, text = F.normalize(embeddings, dim=-1) if normalize else embeddings
    logits = text @ image.T / temperature
    targets = ((image @ image.T + text @ text.T) / 2 / (of_targets or 1 / temperature)).softmax(-1)
    if detach:
        targets = targets.detach()
    texts = (-targets * logits.log_softmax(-1)).sum(1)
    images = (-targets.T * logits.T.log_softmax(-1)).sum(1)
    return ((images + texts) / 2).mean()


def symmetric(embeddings, logit_scale):
    image, text = F.normalize(embeddings, dim=-1)
    logits = logit_scale.exp() * image @ text.T
    labels = torch.arange(len(logits))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


# --- cases ------------------------------------------------------------------------------------------------------------


def clip(f):
    lengths = [4, 1, 6, 3]
    f.layer("attention/ragged", Ragged(Attention(8, 2), lengths), (sum(lengths), 8))
    f.layer("attention/one", Ragged(Attention(6, 1), [5]), (5, 6))
    f.layer("block/post", Ragged(Block(8, 4, 12), lengths), (sum(lengths), 8))
    f.layer("block/pre", Ragged(Block(8, 4, 12, pre=True), lengths), (sum(lengths), 8))
    f.layer("projection/head", ProjectionHead(9, 6), (4, 9))

    case = "distilbert/ragged"
    draw, net = Draw(case), DistilBert()
    draw.fill(net)
    f.name(case, "DistilBERT of 2 layers")
    ids, mask = random_ids(draw, lengths, 13)
    y = net(ids, mask)[mask]
    dy = draw.normal(tuple(y.shape))
    y.backward(dy)
    f.add(case, ids=ids, lengths=torch.tensor(lengths), y=y, dy=dy)
    f.add(case, **{f"state.{key}": value for key, value in net.state_dict().items()})
    f.add(case, **{f"grad.{key}": value.grad for key, value in net.named_parameters()})

    nothing = torch.zeros(1)
    f.loss("soft/listing", soft_targets, (2, 5, 4), nothing)
    f.loss("soft/temperature", soft_targets, (2, 5, 4), nothing, temperature=0.5)
    f.loss("soft/detached", soft_targets, (2, 5, 4), nothing, detach=True)
    f.loss("soft/normalized", soft_targets, (2, 6, 3), nothing, normalize=True, temperature=0.3)
    sharp = {"temperature": 0.07, "of_targets": 0.02, "normalize": True}
    f.loss("soft/sharp", soft_targets, (2, 6, 3), nothing, **sharp)
    f.loss("soft/sharp_detached", soft_targets, (2, 6, 3), nothing, detach=True, **sharp)
    f.loss("soft/one_pair", soft_targets, (2, 1, 4), nothing)
    for name, value in {"start": math.log(1 / 0.07), "small": -0.5}.items():
        scale = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        f.loss(f"symmetric/{name}", symmetric, (2, 5, 4), scale)
        f.add(f"symmetric/{name}", scale_grad=scale.grad)

    for name in ("soft", "symmetric"):
        case, steps = f"training/{name}", 20
        draw, net = Draw(case), Clip()
        scale = net.logit_scale.detach().clone()
        draw.fill(net)
        net.logit_scale.data.copy_(scale)
        f.name(case, f"{steps} steps of AdamW on a small CLIP with the {name} loss")
        images = draw.normal((6, 3, 9, 8))
        ids, mask = random_ids(draw, [4, 2, 7, 5, 3, 2], 13)
        f.add(case, images=images, ids=ids, lengths=mask.sum(1))
        f.add(case, **{f"state.{key}": value for key, value in net.state_dict().items()})
        optimizer, losses = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3), []
        for step in range(steps):
            optimizer.zero_grad()
            embeddings = net(images, ids, mask)
            loss = soft_targets(embeddings) if name == "soft" else symmetric(embeddings, net.logit_scale)
            loss.backward()
            optimizer.step()
            net.logit_scale.data.clamp_(max=math.log(100))
            losses.append(loss.item())
        f.add(case, losses=torch.tensor(losses, dtype=torch.float64))


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    fixture, path = Fixture(), HERE / "clip.safetensors"
    clip(fixture)
    content = write_safetensors(fixture.tensors, fixture.metadata)
    if "--check" not in sys.argv:
        path.write_bytes(content)
        print(f"{len(fixture.metadata)} cases, {len(content)} bytes")
        return 0
    lines = differences(path, content)
    print(*lines, f"{len(lines)} differences", sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
