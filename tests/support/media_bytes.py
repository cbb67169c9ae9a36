"""Pictures and sounds as bytes, references to them, and what a refusal says."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from schemas import MediaRef
from workers.media_limits import MediaError, MediaLimits

LIMITS = MediaLimits()


def refusal(call, *args, **kwargs) -> MediaError:
    with pytest.raises(MediaError) as caught:
        call(*args, **kwargs)
    return caught.value


def no_wait(_seconds: float) -> None: ...


def image_bytes(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def sound_bytes(samples, rate: int = 16_000, kind: str = "WAV", **options) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, **options)
    return stream.getvalue()


def tone(seconds: float, rate: int = 16_000):
    return (0.5 * np.sin(np.arange(int(seconds * rate)) * 0.1)).astype(np.float32)


def image_ref(uri: str = "", **fields) -> MediaRef:
    return MediaRef(kind="image", uri=uri, **fields)


def within(folder_or_url, **limits) -> MediaLimits:
    prefix = folder_or_url if isinstance(folder_or_url, str) else folder_or_url.as_uri()
    return MediaLimits(allow=[prefix], **limits)
