"""Media: what may be fetched, how much of it, and what the bytes must be."""

import hashlib
import io
import os
import struct
import zlib

import av
import msgspec
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from schemas import MediaRef
from tests.support.media_server import media_server
from workers.media import fetch, fetch_once
from workers.media_allow import NotAllowed, allowed_path, allowed_url
from workers.media_decode import decode
from workers.media_limits import MediaError, MediaLimits
from workers.ports import TransientError

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


@pytest.fixture
def server():
    with media_server() as running:
        running.files["/img/a.bin"] = b"content"
        yield running


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "a.bin").write_bytes(b"content")
    (tmp_path / "allowed-not").mkdir()
    (tmp_path / "allowed-not" / "b.bin").write_bytes(b"secret")
    (tmp_path / "secret.bin").write_bytes(b"secret")
    return tmp_path


def image_ref(uri: str = "", **fields) -> MediaRef:
    return MediaRef(kind="image", uri=uri, **fields)


def within(folder_or_url, **limits) -> MediaLimits:
    prefix = folder_or_url if isinstance(folder_or_url, str) else folder_or_url.as_uri()
    return MediaLimits(allow=[prefix], **limits)


# --- the allow-list ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri", ["file:///etc/passwd", "http://127.0.0.1/", "https://a.b/c"]
)
def test_nothing_is_allowed_unless_somebody_allows_it(uri):
    assert refusal(fetch, image_ref(uri), limits=LIMITS).reason == "not_allowed"


def test_a_file_under_an_allowed_folder_is_read(folder):
    ref = image_ref((folder / "allowed" / "a.bin").as_uri())
    assert fetch(ref, limits=within(folder / "allowed")) == b"content"


@pytest.mark.parametrize(
    "path",
    [
        "allowed/../secret.bin",
        "allowed/%2e%2e/secret.bin",
        "allowed/..%2fsecret.bin",
        "allowed/./../secret.bin",
        "allowed-not/b.bin",
        "secret.bin",
        "allowed/a.bin%00.png",
    ],
)
def test_a_file_outside_the_allowed_folder_is_not_read(folder, path):
    ref = image_ref(f"{folder.as_uri()}/{path}")
    assert refusal(fetch, ref, limits=within(folder / "allowed")).reason == "not_allowed"


def test_a_link_out_of_the_allowed_folder_is_not_followed(folder):
    (folder / "allowed" / "link").symlink_to(folder / "secret.bin")
    (folder / "allowed" / "dir").symlink_to(folder / "allowed-not")
    for name in ("link", "dir/b.bin"):
        ref = image_ref(f"{(folder / 'allowed').as_uri()}/{name}")
        assert (
            refusal(fetch, ref, limits=within(folder / "allowed")).reason == "not_allowed"
        )


def test_an_allowed_folder_may_itself_be_a_link(folder):
    (folder / "way").symlink_to(folder / "allowed")
    ref = image_ref((folder / "way" / "a.bin").as_uri())
    assert fetch(ref, limits=within(folder / "way")) == b"content"


def test_a_pipe_or_a_folder_is_not_a_file(folder):
    os.mkfifo(folder / "allowed" / "pipe")
    (folder / "allowed" / "folder").mkdir()
    for name in ("pipe", "folder"):
        ref = image_ref((folder / "allowed" / name).as_uri())
        assert refusal(fetch, ref, limits=within(folder / "allowed")).reason in (
            "not_allowed",
            "unreachable",
        )


def test_a_file_that_is_not_there_is_unreachable(folder):
    ref = image_ref((folder / "allowed" / "none.bin").as_uri())
    assert refusal(fetch, ref, limits=within(folder / "allowed")).reason == "unreachable"


@pytest.mark.parametrize("host", ["", "localhost", "LOCALHOST"])
def test_a_file_uri_may_name_this_machine(folder, host):
    path = (folder / "allowed" / "a.bin").as_posix()
    assert allowed_path(f"FILE://{host}{path}", [folder.as_uri()]).name == "a.bin"


@pytest.mark.parametrize("uri", ["file://elsewhere/x", "file:x", "file:///x?y", "file:"])
def test_other_file_uris_are_refused(uri):
    with pytest.raises(NotAllowed):
        allowed_path(uri, ["file:///"])


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        ("https://good.example/img/a.png", "https://good.example/img/"),
        ("https://good.example/img/a.png", "https://good.example/img"),
        ("https://good.example/img/a.png?size=2", "https://good.example"),
        ("HTTPS://GOOD.Example/img/a.png", "https://good.example/img/"),
        ("https://good.example:443/img/a.png", "https://good.example/img/"),
        ("https://good.example/img/a.png", "HTTPS://Good.example:443/img/"),
        ("https://good.example/img/a%20b.png", "https://good.example/img/"),
        ("https://good.example/img/a.png?to=../x", "https://good.example/img/"),
    ],
)
def test_a_url_below_a_prefix_is_allowed(uri, prefix):
    assert allowed_url(uri, ["file:///x", prefix]).host == "good.example"


@pytest.mark.parametrize(
    "uri",
    [
        "http://good.example/img/a.png",
        "https://good.example.evil.example/img/a.png",
        "https://good.example@evil.example/img/a.png",
        "https://good.example:pw@evil.example/img/a.png",
        "https://user@good.example/img/a.png",
        "https://@good.example/img/a.png",
        "https://evil.example#@good.example/img/a.png",
        "https://evil.example\\@good.example/img/a.png",
        "https://good.example\\.evil.example/img/a.png",
        "https://good.example:444/img/a.png",
        "https://good.example./img/a.png",
        "https://good.example/img-not/a.png",
        "https://good.example/img/../a.png",
        "https://good.example/img/%2e%2e/a.png",
        "https://good.example/img/%2E./a.png",
        "https://good.example/img/..%2fa.png",
        "https://good.example/img/%252e%252e/a.png",
        "https://good.example/img/./a.png",
        "https://good.example/IMG/a.png",
        "https://good.example/",
        " https://good.example/img/a.png",
        "https://good.example/img/a\n.png",
        "https:///img/a.png",
        "https:good.example/img/a.png",
        "ftp://good.example/img/a.png",
        "data:image/png;base64,AAAA",
        "//good.example/img/a.png",
        "",
        "https://[::1/img/",
    ],
)
def test_a_url_that_is_not_below_a_prefix_is_refused(uri):
    with pytest.raises(NotAllowed):
        allowed_url(uri, ["https://good.example/img"])


@pytest.mark.parametrize(
    "prefix",
    ["cdn.example", "ftp://x/", "http://", "http://u@x/", "https://x/?a=b", "/srv"],
)
def test_a_prefix_that_would_not_mean_what_it_says_stops_the_start(prefix):
    with pytest.raises(msgspec.ValidationError, match=r"prefix|host"):
        msgspec.convert({"allow": [prefix]}, MediaLimits)


# --- fetching ------------------------------------------------------------------------------


def test_a_url_is_fetched(server):
    assert (
        fetch(image_ref(f"{server.url}/img/a.bin"), limits=within(server.url)) == b"content"
    )


def test_a_redirect_is_followed_where_it_is_allowed(server):
    ref = image_ref(f"{server.url}/redirect?to=/img/a.bin")
    assert fetch(ref, limits=within(server.url)) == b"content"


def test_a_redirect_to_elsewhere_is_not_followed(server):
    with media_server() as other:
        other.files["/x"] = b"secret"
        for target in (
            f"{other.url}/x",
            "file:///etc/passwd",
            f"//127.0.0.1:{other.port}/x",
        ):
            ref = image_ref(f"{server.url}/redirect?to={target}")
            assert refusal(fetch, ref, limits=within(server.url)).reason == "not_allowed"
        assert other.asked == []


def test_redirects_without_an_end_have_one(server):
    twice = f"{server.url}/redirect?to={server.url}/redirect%3Fto=/img/a.bin"
    assert fetch(image_ref(twice), limits=within(server.url, redirects=2)) == b"content"
    error = refusal(fetch, image_ref(twice), limits=within(server.url, redirects=1))
    assert error.reason == "not_allowed"
    assert "redirects" in str(error)


def test_a_server_that_is_busy_is_asked_again(server):
    server.busy, waits = 2, []
    ref = image_ref(f"{server.url}/img/a.bin")
    assert fetch(ref, limits=within(server.url), wait=waits.append) == b"content"
    assert waits == [0.2, 0.4]


def test_a_server_that_stays_busy_is_given_up(server):
    server.busy = 9
    ref = image_ref(f"{server.url}/img/a.bin")
    assert (
        refusal(fetch, ref, limits=within(server.url), wait=no_wait).reason == "unreachable"
    )
    assert len(server.asked) == 3


def test_one_try_says_that_another_may_succeed(server):
    server.busy = 1
    with pytest.raises(TransientError):
        fetch_once(image_ref(f"{server.url}/img/a.bin"), limits=within(server.url))


def test_what_is_not_there_is_not_asked_for_again(server):
    ref = image_ref(f"{server.url}/none")
    assert (
        refusal(fetch, ref, limits=within(server.url), wait=no_wait).reason == "unreachable"
    )
    assert server.asked == ["/none"]


def test_a_server_that_is_not_there_is_unreachable():
    with media_server() as gone:
        url = gone.url
    error = refusal(fetch, image_ref(f"{url}/x"), limits=within(url), wait=no_wait)
    assert error.reason == "unreachable"


@pytest.mark.parametrize("path", ["/drip", "/drip-headers", "/silent"])
def test_a_slow_server_costs_no_more_than_the_limit(server, path):
    limits = within(server.url, total_s=0.3, read_s=5)
    error = refusal(fetch, image_ref(f"{server.url}{path}"), limits=limits, wait=no_wait)
    assert error.reason == "too_slow"
    assert len(server.asked) == 1


def test_a_silent_server_costs_no_more_than_one_read(server):
    limits = within(server.url, total_s=30, read_s=0.1)
    error = refusal(fetch, image_ref(f"{server.url}/silent"), limits=limits)
    assert error.reason == "too_slow"


@pytest.mark.parametrize("path", ["/drip", "/silent"])
def test_a_fetch_is_given_up_when_we_stop(server, path):
    limits = within(server.url, total_s=60, read_s=60)
    error = refusal(
        fetch, image_ref(f"{server.url}{path}"), limits=limits, wait=lambda _: True
    )
    assert error.reason == "unreachable"
    assert "we stop" in str(error)


def test_reading_stops_at_the_limit_of_bytes(server):
    limits = within(server.url, max_bytes=100_000)
    for path in ("/endless", "/says-huge"):
        error = refusal(fetch, image_ref(f"{server.url}{path}"), limits=limits)
        assert error.reason == "too_large"


def test_a_body_longer_than_its_length_says_is_cut_there(server):
    ref = image_ref(f"{server.url}/says-less")
    assert fetch(ref, limits=within(server.url, max_bytes=100)) == b"x" * 10


def test_a_body_shorter_than_its_length_says_is_unreachable(server):
    ref = image_ref(f"{server.url}/says-more")
    assert (
        refusal(fetch, ref, limits=within(server.url), wait=no_wait).reason == "unreachable"
    )


def test_what_a_server_packs_is_not_unpacked(server):
    ref = image_ref(f"{server.url}/packed")
    assert fetch(ref, limits=within(server.url)).startswith(b"\x1f\x8b")


def test_a_file_over_the_limit_of_bytes_is_too_large(folder):
    ref = image_ref((folder / "allowed" / "a.bin").as_uri())
    limits = within(folder / "allowed", max_bytes=6)
    assert refusal(fetch, ref, limits=limits).reason == "too_large"


def test_inline_bytes_are_taken_up_to_their_limit():
    limits = MediaLimits(inline_bytes=4)
    assert fetch(image_ref(data=b"four"), limits=limits) == b"four"
    assert refusal(fetch, image_ref(data=b"fives"), limits=limits).reason == "too_large"


def test_content_must_have_the_hash_that_was_told(folder):
    told = hashlib.sha256(b"content").hexdigest()
    ref = image_ref((folder / "allowed" / "a.bin").as_uri(), sha256=told.upper())
    assert fetch(ref, limits=within(folder)) == b"content"
    for wrong in (told[:-1] + "x", "abc"):
        bad = msgspec.structs.replace(ref, sha256=wrong)
        error = refusal(fetch, bad, limits=within(folder), field="media[3]")
        assert error.reason == "hash_mismatch"
        assert "media[3].sha256" in str(error)


@pytest.mark.parametrize("kind", ["smell", "Video", ""])
def test_a_kind_that_nobody_decodes_is_refused_before_it_is_fetched(server, kind):
    ref = MediaRef(kind=kind, uri=f"{server.url}/img/a.bin")
    assert refusal(fetch, ref, limits=within(server.url)).reason == "unsupported_kind"
    assert server.asked == []


def test_a_reference_to_nothing_is_empty(folder):
    (folder / "allowed" / "none").write_bytes(b"")
    assert refusal(fetch, image_ref(), limits=LIMITS).reason == "empty"
    ref = image_ref((folder / "allowed" / "none").as_uri())
    assert refusal(fetch, ref, limits=within(folder)).reason == "empty"


def test_a_refusal_names_field_value_and_remedy():
    error = refusal(
        fetch, image_ref("http://x/" + "y" * 900), limits=LIMITS, field="media[1]"
    )
    assert "media[1].uri" in str(error)
    assert "'http://x/yyy" in str(error)
    assert "STREAMREC_MEDIA__ALLOW" in str(error)
    assert len(str(error)) < 300


# --- pictures ------------------------------------------------------------------------------


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


# --- sounds --------------------------------------------------------------------------------


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


# --- texts ---------------------------------------------------------------------------------


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
