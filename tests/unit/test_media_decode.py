"""Media: what the bytes must be, and what becomes of them."""

import io
import struct
import zlib

import av
import numpy as np
import pytest
import torch
from PIL import Image

from schemas import MediaRef
from tests.support.media_bytes import (
    LIMITS,
    image_bytes,
    image_ref,
    refusal,
    sound_bytes,
    tone,
)
from workers.media_decode import decode
from workers.media_limits import MediaLimits


def pixels(data: bytes, **limits) -> torch.Tensor:
    return decode(image_ref(), data, limits=MediaLimits(**limits)).pixels_3HW


RED = (255, 0, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_pictures_are_known_by_their_bytes(kind):
    data = image_bytes(Image.new("RGB", (40, 30), RED), kind)
    ref = MediaRef(kind="image", content_type="text/plain", uri="x.txt")
    found = decode(ref, data, limits=LIMITS).pixels_3HW
    assert (found.shape, found.dtype) == ((3, 30, 40), torch.uint8)
    assert (found.float().mean(dim=(1, 2)) - torch.tensor([255.0, 0, 0])).abs().max() < 6


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (9, 9), RED),
        Image.new("RGBA", (9, 9), (*RED, 255)),
        Image.new("RGB", (9, 9), RED).convert("P"),
        Image.new("RGB", (9, 9), RED).convert("CMYK"),
        Image.new("RGB", (9, 9), RED).convert("YCbCr"),
    ],
    ids=lambda image: image.mode,
)
def test_every_mode_comes_out_as_rgb(image):
    kind = "JPEG" if image.mode in ("CMYK", "YCbCr") else "PNG"
    found = pixels(image_bytes(image, kind)).float().mean(dim=(1, 2))
    assert (found - torch.tensor([255.0, 0, 0])).abs().max() < 6


def test_what_is_transparent_is_white():
    clear = Image.new("RGBA", (9, 9), (0, 0, 0, 0))
    palette = Image.new("P", (9, 9), 0)
    for data in (image_bytes(clear), image_bytes(palette, transparency=0)):
        assert pixels(data).float().mean() == 255


def test_sixteen_bits_are_scaled_and_not_clipped():
    grey = Image.fromarray(np.full((9, 9), 32_768, np.uint16))
    assert abs(float(pixels(image_bytes(grey)).float().mean()) - 128) < 2


def test_a_picture_is_turned_as_its_camera_says():
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.new("RGB", (80, 40))
    assert pixels(image_bytes(wide, "JPEG", exif=exif)).shape == (3, 80, 40)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_what_moves_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, (0, 255, 0))]
    data = image_bytes(frames[0], kind, save_all=True, append_images=frames[1:])
    found = pixels(data).float().mean(dim=(1, 2))
    assert found[0] > 240
    assert found[1] < 15


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_half_a_picture_is_no_picture(kind):
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)
    data = image_bytes(Image.fromarray(noise), kind)
    assert refusal(pixels, data[: len(data) // 2]).reason == "undecodable"


@pytest.mark.parametrize(
    "data",
    [b"x", b"<html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + b"\0" * 50, b"GIF89a"],
)
def test_what_is_no_picture_is_undecodable(data):
    error = refusal(pixels, data)
    assert error.reason == "undecodable"
    assert "JPEG" in str(error)
    assert "BytesIO" not in str(error)  # letters of one reason read alike


def test_pixels_are_counted_before_they_are_decoded():
    honest = image_bytes(Image.new("RGB", (4, 4)))
    claim = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = honest[:12] + claim + struct.pack(">I", zlib.crc32(claim)) + honest[33:]
    assert refusal(pixels, bomb).reason == "too_many_pixels"
    small = image_bytes(Image.new("RGB", (11, 10)))
    assert refusal(pixels, small, max_pixels=109).reason == "too_many_pixels"
    assert pixels(small, max_pixels=110).shape == (3, 10, 11)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1000, 500), (3, 256, 512)),
        ((500, 1000), (3, 512, 256)),
        ((200, 300), (3, 300, 200)),
        ((9000, 10), (3, 10, 1024)),
        ((1, 1), (3, 1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures_are_brought_down_to_what_an_encoder_sees(size, expected, kind):
    assert pixels(image_bytes(Image.new("RGB", size), kind)).shape == expected


def heard(data: bytes, **limits):
    return decode(MediaRef(kind="audio"), data, limits=MediaLimits(**limits))


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_sounds_come_out_mono_at_16_khz(kind, rate):
    stereo = np.stack([tone(1, rate), tone(1, rate)], axis=1)
    content = heard(sound_bytes(stereo, rate, kind))
    assert content.sample_rate == 16_000
    assert content.waveform_T.dtype == torch.float32
    assert abs(len(content.waveform_T) - 16_000) < 2_500  # an MP3 has its margins
    assert not content.cut
    assert float(content.waveform_T.square().mean()) == pytest.approx(0.125, rel=0.2)


def recorded(container: str, codec: str, seconds: float = 1.0) -> bytes:
    """A stereo tone as a telephone or a browser records it."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=container) as out:
        track = out.add_stream(codec, rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            np.stack([tone(seconds, 48_000)] * 2), format="fltp", layout="stereo"
        )
        frame.sample_rate = 48_000
        packets = [*track.encode(frame), *track.encode(None)]
        for packet in packets:
            out.mux(packet)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "aac"), ("ipod", "aac"), ("adts", "aac"), ("webm", "libopus")],
)
def test_what_telephones_and_browsers_record_is_heard(container, codec):
    data = recorded(container, codec)
    content = heard(data)
    assert abs(len(content.waveform_T) - 16_000) < 1_500
    assert float(content.waveform_T.square().mean()) == pytest.approx(0.125, rel=0.2)
    short = heard(data, max_audio_s=0.5)
    assert (len(short.waveform_T), short.cut) == (8_000, True)


def test_of_a_long_sound_only_the_beginning_is_read():
    content = heard(sound_bytes(tone(3)), max_audio_s=1)
    assert len(content.waveform_T) == 16_000
    assert content.cut


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 47_999, 44_101])
def test_odd_rates_cost_no_memory(rate):
    content = heard(sound_bytes(tone(0.5, rate), rate))
    assert abs(len(content.waveform_T) - 8_000) < 60


def test_a_sound_without_samples_is_empty():
    assert refusal(heard, sound_bytes(np.zeros(0, np.float32))).reason == "empty"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(bad):
    samples = tone(0.1)
    samples[7] = bad
    error = refusal(heard, sound_bytes(samples, subtype="FLOAT"))
    assert error.reason == "undecodable"


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"OggS" + b"\0" * 60,
        b"fLaC",
        b"\0\0\0\x18ftypM4A " + b"\0" * 60,
        b"\x1aE\xdf\xa3" + b"\0" * 60,
        b"#EXTM3U\nfile:///etc/passwd\n",
    ],
)
def test_what_is_no_sound_is_undecodable(data):
    assert refusal(heard, data).reason == "undecodable"


def test_a_picture_is_not_a_sound():
    assert refusal(heard, image_bytes(Image.new("RGB", (9, 9)))).reason == "undecodable"


def read(data: bytes, **limits):
    return decode(MediaRef(kind="text"), data, limits=MediaLimits(**limits)).text


def test_texts_are_utf8():
    assert read("\ufeff Grüße 你好\0 ".encode()) == "Grüße 你好"
    assert refusal(read, b"\xff\xfe").reason == "undecodable"


def test_texts_have_a_limit_and_a_beginning():
    assert read(b"12345", max_text=5) == "12345"
    assert refusal(read, b"123456", max_text=5).reason == "too_large"
    assert refusal(read, b" \n ").reason == "empty"


def test_a_kind_without_a_decoder_is_refused():
    assert refusal(decode, MediaRef(kind="smell"), b"x", limits=LIMITS).reason == (
        "unsupported_kind"
    )
