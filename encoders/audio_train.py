"""A net for sounds, trained on sounds with labels; saved as one safetensors file.

    sounds, labels -> log-mel once -> epochs of crops -> the net, and how it labels

The labels are learned by their directions (softmax over scaled cosines; Wang et al. 2018,
"CosFace", without its margin), for cosines are what the vectors are compared by afterwards.
`augment` is asked for each crop: SpecAugment (Park et al. 2019) has its place there.

Shapes:  E = sounds,  F = frames,  M = bands,  D = 128,  L = labels
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from encoders.audio_nets import WIDTH, heard, net, together
from encoders.content import AudioContent

Augment = Callable[[Tensor, Generator], Tensor]
"""A crop's F x M into another F x M."""
_SCALE = 12.0  # of the cosines: sharp enough to be sure of a label


@dataclass(frozen=True, slots=True)
class TrainedAudio:
    """A net, the labels it knows, and the direction of each."""

    architecture: str
    model: nn.Module
    labels: tuple[str, ...]
    head_LD: Tensor

    def label(self, sounds: Sequence[AudioContent]) -> list[tuple[str, float]]:
        """The likeliest label of each sound, and how sure it is (0 to 1)."""
        with torch.inference_mode():
            vector_ED = self.model(*together([heard(sound) for sound in sounds]))
            sure_E, at_E = _logits(vector_ED, self.head_LD).softmax(dim=-1).max(dim=-1)
        pairs = zip(at_E.tolist(), sure_E.tolist(), strict=True)
        return [(self.labels[at], sure) for at, sure in pairs]


def train_audio(
    sounds: Sequence[AudioContent],
    labels: Sequence[str],
    *,
    architecture: str,
    seed: int = 0,
    epochs: int = 30,
    batch: int = 32,
    crop_frames: int = 100,
    learning_rate: float = 3e-3,
    augment: Augment | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> TrainedAudio:
    """Train on crops of a second (`crop_frames` of 10 ms); a shorter sound is repeated.

    The same arguments give the same net on the same machine. `on_epoch` is told the number
    and the mean loss of each. Raises ValueError where there is nothing to tell apart.
    """
    names = tuple(sorted(set(labels)))
    if len(sounds) != len(labels) or len(names) < 2:
        raise ValueError(
            f"{len(sounds)} sounds, {len(labels)} labels of {len(names)} kinds; send one label "
            "a sound, of two kinds at least"
        )
    generator = Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = net(architecture)
        head_LD = nn.Parameter(torch.randn(len(names), WIDTH))
    mels = [heard(sound) for sound in sounds]
    wanted_E = torch.tensor([names.index(label) for label in labels])
    learner = torch.optim.Adam([*model.parameters(), head_LD], lr=learning_rate)
    for epoch in range(epochs):
        losses = []
        order = torch.randperm(len(mels), generator=generator)
        for rows in order.split(batch):
            if len(rows) < 2:  # of one alone, the batch norm has no deviation
                continue
            crops = [_crop(mels[row], crop_frames, generator) for row in rows.tolist()]
            crops = [augment(c, generator) for c in crops] if augment else crops
            loss = cross_entropy(_logits(model(*together(crops)), head_LD), wanted_E[rows])
            learner.zero_grad()
            loss.backward()
            learner.step()
            losses.append(float(loss.detach()))
        if on_epoch:
            on_epoch(epoch, sum(losses) / max(1, len(losses)))
    model.eval().requires_grad_(False)
    return TrainedAudio(architecture, model, names, head_LD.detach())


def save_audio(trained: TrainedAudio, folder: Path) -> Path:
    """Write model.safetensors into the folder; `path:` that folder is the encoder."""
    from safetensors.torch import save_file

    tensors = dict(trained.model.state_dict()) | {"head.weight": trained.head_LD}
    told = {
        "format": "pt",
        "architecture": trained.architecture,
        "labels": json.dumps(trained.labels),
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.safetensors"
    save_file({n: t.contiguous() for n, t in tensors.items()}, file, told)
    return file


def _logits(vector_ED: Tensor, head_LD: Tensor) -> Tensor:
    return _SCALE * normalize(vector_ED, dim=-1) @ normalize(head_LD, dim=-1).T


def _crop(mel_FM: Tensor, frames: int, generator: Generator) -> Tensor:
    if len(mel_FM) < frames:
        mel_FM = mel_FM.repeat(-(-frames // len(mel_FM)), 1)
    room = len(mel_FM) - frames + 1
    first = int(torch.randint(room, (1,), generator=generator))
    return mel_FM[first : first + frames]
