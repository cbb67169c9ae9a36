"""Videos by frames and sound: what the vector is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from encoders.audio import LogMelEncoder
from encoders.config import EncoderConfig
from encoders.content import AudioContent, ImageContent, VideoContent
from encoders.load import load_encoders
from encoders.specs import SpecError
from encoders.video import frames_encoder

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Corners:
    """An image encoder: what the four corners of a picture are."""

    width: int = 12
    name: str = "image/corners@1"
    modality: str = "image"

    def cost(self, content: ImageContent) -> int:
        return content.pixels_3HW[0].numel()

    def encode(self, batch: Sequence[ImageContent]) -> Tensor:
        rows = [
            content.pixels_3HW[:, ::47, ::63].flatten().float() + 1 for content in batch
        ]
        return normalize(torch.stack(rows), dim=-1)


def video(seed: int, frames: int = 3, *, heard: bool = False) -> VideoContent:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(
        0, 256, (frames, 3, 48, 64), generator=generator, dtype=torch.uint8
    )
    sound = AudioContent(torch.randn(4_000, generator=generator), 16_000) if heard else None
    return VideoContent(pixels, torch.arange(float(frames)), sound)


def test_without_an_audio_encoder_it_is_the_mean_of_the_frames():
    content = video(0)
    encoder = frames_encoder(Corners(), None, "mean")
    frames = Corners().encode([ImageContent(frame) for frame in content.frames_T3HW])
    expected = normalize(frames.mean(dim=0), dim=0)
    torch.testing.assert_close(encoder.encode([content])[0], expected)
    assert encoder.cost(content) == 3 * 48 * 64


def test_the_maximum_stands_beside_the_mean_where_it_is_asked_for():
    content = video(0)
    encoder = frames_encoder(Corners(), None, "mean+max")
    told_W = encoder.encode([content])[0]
    frames = Corners().encode([ImageContent(frame) for frame in content.frames_T3HW])
    torch.testing.assert_close(
        normalize(told_W[12:], dim=0), normalize(frames.amax(dim=0), dim=0)
    )
    assert (encoder.width, float(told_W.norm())) == (24, pytest.approx(1.0))
    assert encoder.name != frames_encoder(Corners(), None, "mean").name


def test_a_quarter_of_it_is_heard_and_nothing_where_there_is_no_sound():
    encoder = frames_encoder(Corners(), LogMelEncoder(CPU), "mean")
    loud, silent = encoder.encode([video(0, heard=True), video(0)])
    assert float(loud[12:].square().sum()) == pytest.approx(0.25, abs=1e-4)
    assert not silent[12:].any()
    torch.testing.assert_close(normalize(loud[:12], dim=0), silent[:12])


def test_a_row_does_not_depend_on_its_neighbours():
    encoder = frames_encoder(Corners(), LogMelEncoder(CPU), "mean")
    batch = [video(0), video(1, 7, heard=True), video(2, 1), video(3, 2, heard=True)]
    for content, vector_W in zip(batch, encoder.encode(batch), strict=True):
        torch.testing.assert_close(vector_W, encoder.encode([content])[0])
    assert encoder.encode([]).shape == (0, 268)


def test_a_vector_wider_than_a_slot_is_refused_before_any_video():
    with pytest.raises(SpecError, match="8192 are allowed"):
        frames_encoder(Corners(width=4_096), LogMelEncoder(CPU), "mean+max")


def test_without_an_image_encoder_there_is_none_for_videos():
    config = EncoderConfig(text="none", image="none", device="cpu")
    assert set(load_encoders(config)) == {"audio", "sensor"}
    none = msgspec.structs.replace(config, audio="none", sensor="none")
    assert load_encoders(none) == {}
