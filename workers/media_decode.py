"""From bytes to content in memory. What the bytes are is seen in them, not believed.

Shapes:  H, W = height and width in pixels,  T = samples,  C = channels
"""

import io
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.content import (
    AudioContent,
    Content,
    ImageContent,
    TextContent,
    VideoContent,
)
from schemas import MediaRef
from workers.media_limits import MediaError, MediaLimits, MediaReason, path
from workers.sensor_decode import decode_sensor
from workers.video_decode import decode_video

SAMPLE_RATE = 16_000
_IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_SOUND_BLOCK = 1 << 16
_CHANNELS = 64
_RATES = range(1_000, 384_001)
_OURS = re.compile(r"<_io\.BytesIO[^>]*>")  # what decoders call the bytes


def decode(
    ref: MediaRef, data: bytes, *, limits: MediaLimits, field: str = "media"
) -> Content:
    """The content of these bytes, as the reference's kind. Raises MediaError naming `field`."""
    decoders: dict[str, Callable[[bytes, MediaLimits, str], Content]] = {
        "image": decode_image,
        "audio": decode_audio,
        "text": decode_text,
        "video": _decode_video,
        "sensor": decode_sensor,
    }
    if ref.kind not in decoders:
        raise MediaError(
            "unsupported_kind",
            f"field `{path(field, 'kind')}` is {ref.kind!r}; send one of {', '.join(decoders)}",
        )
    try:
        return decoders[ref.kind](data, limits, field)
    except MediaError:
        raise
    except Exception as error:  # a decoder may raise anything on hostile bytes
        raise _refused(
            "undecodable",
            field,
            data,
            f"no {ref.kind} that we know ({_OURS.sub('these bytes', str(error))}); {_WANTED[ref.kind]}",
        ) from error


def decode_text(data: bytes, limits: MediaLimits, field: str) -> TextContent:
    text = data.decode("utf-8-sig").replace("\0", " ").strip()
    if not text:
        raise _refused("empty", field, data, "send a text")
    if len(text) > limits.max_text:
        raise _refused(
            "too_large",
            field,
            data,
            f"it has {len(text)} characters, {limits.max_text} are allowed",
        )
    return TextContent(text)


def decode_image(data: bytes, limits: MediaLimits, field: str) -> ImageContent:
    """Upright RGB on white, 8 bits, the first frame; the shorter side at most
    `limits.image_side`, the longer at most four times that.
    """
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # ours is checked below, as an error and not a warning
    with Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS) as image:
        width, height = image.size
        if width * height > limits.max_pixels:
            raise _refused(
                "too_many_pixels", field, data,
                f"{width} x {height} pixels, {limits.max_pixels} are allowed; send a smaller one",
            )  # fmt: skip
        side = limits.image_side
        if min(width, height) > side:
            image.draft(
                "RGB", (side, side)
            )  # a JPEG is decoded at the size needed, not whole
        upright = ImageOps.exif_transpose(image)
        rgb = _rgb(upright)
        size = _shrunk(rgb.size, side)
        if size != rgb.size:
            rgb = rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
        pixels_HW3 = torch.from_numpy(np.array(rgb))
    return ImageContent(pixels_HW3.permute(2, 0, 1).contiguous())


def _rgb(image: Any) -> Any:
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits a pixel; converting would clip, not scale
        high_HW = np.asarray(image.convert("I")).clip(0, 65_535) >> 8
        return Image.fromarray(high_HW.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _shrunk(size: tuple[int, int], side: int) -> tuple[int, int]:
    width, height = size
    scale = min(1.0, side / min(width, height))
    longest = 4 * side
    return (
        min(longest, max(1, round(width * scale))),
        min(longest, max(1, round(height * scale))),
    )


def decode_audio(data: bytes, limits: MediaLimits, field: str) -> AudioContent:
    """Mono at 16 kHz; of a sound longer than `limits.max_audio_s` the beginning, and `cut`."""
    container = _container_of(data)
    if container:
        read = _from_container(data, container, limits.max_audio_s)
    else:
        read = _from_file(data, limits.max_audio_s)
    return _sound(read, data, field)


def _decode_video(data: bytes, limits: MediaLimits, field: str) -> VideoContent:
    def track(data: bytes, container: str) -> AudioContent:
        return _sound(_from_container(data, container, limits.max_audio_s), data, field)

    return decode_video(data, limits, field, sound=track)


def _sound(
    read: tuple[NDArray[np.float32], int, bool], data: bytes, field: str
) -> AudioContent:
    mono_T, rate, cut = read
    if not mono_T.size:
        raise _refused("empty", field, data, "send a sound of at least one sample")
    if not np.isfinite(mono_T).all():
        raise ValueError("samples that are no numbers")
    return AudioContent(_resampled(mono_T, rate), SAMPLE_RATE, cut=cut)


def _from_file(data: bytes, max_s: float) -> tuple[NDArray[np.float32], int, bool]:
    """Mono samples, their rate, and whether there were more."""
    import soundfile

    with soundfile.SoundFile(io.BytesIO(data)) as sound:
        if sound.samplerate not in _RATES or sound.channels > _CHANNELS:
            raise ValueError(f"{sound.samplerate} Hz, {sound.channels} channels")
        wanted = math.ceil(max_s * sound.samplerate)
        blocks = sound.blocks(_SOUND_BLOCK, frames=wanted, dtype="float32", always_2d=True)
        mono_T = _joined([b.mean(axis=1) for b in blocks])
        return mono_T, sound.samplerate, sound.frames > wanted


def _container_of(data: bytes) -> str:
    """What telephones and browsers record into, by its first bytes; else nothing. Named, so
    that no play list is opened that leads elsewhere."""
    if data[4:8] == b"ftyp":
        return "mp4"
    if data[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if data[:1] == b"\xff" and data[1:2] and data[1] & 0xF6 == 0xF0:
        return "aac"
    return ""


def _from_container(
    data: bytes, container: str, max_s: float
) -> tuple[NDArray[np.float32], int, bool]:
    """As `_from_file`, of AAC, Opus and what else comes in a container."""
    import av

    wanted, blocks, read = math.ceil(max_s * SAMPLE_RATE), [], 0
    resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
    with av.open(
        io.BytesIO(data), "r", format=container, metadata_errors="ignore"
    ) as opened:
        for frame in opened.decode(audio=0):
            for resampled in resampler.resample(frame):
                blocks.append(resampled.to_ndarray().mean(axis=0))
                read += blocks[-1].size
            if read > wanted:
                break
    return _joined(blocks)[:wanted], SAMPLE_RATE, read > wanted


def _joined(blocks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def _resampled(mono_T: NDArray[np.float32], rate: int) -> Tensor:
    """At 16 kHz. An odd rate is taken for the nearest hundred, which nobody hears: the filter's
    size grows with what the two rates do not share, to gigabytes.
    """
    waveform_T = torch.from_numpy(mono_T)
    if math.gcd(rate, SAMPLE_RATE) < 25:
        rate = round(rate, -2)
    if rate == SAMPLE_RATE:
        return waveform_T
    from torchaudio.functional import resample

    resampled_T: Tensor = resample(waveform_T, rate, SAMPLE_RATE)
    return resampled_T


_WANTED = {
    "image": "send JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF",
    "audio": "send WAV, FLAC, Ogg, MP3, AAC (m4a, mp4) or WebM",
    "text": "send UTF-8",
    "video": "send a whole MP4, MOV, WebM, Matroska or AVI",
    "sensor": "send CSV with a header line, JSON or an .npy array",
}


def _refused(reason: MediaReason, field: str, data: bytes, remedy: str) -> MediaError:
    return MediaError(reason, f"field `{path(field)}` begins {data[:16]!r}; {remedy}")
