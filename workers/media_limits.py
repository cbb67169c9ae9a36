"""How much of the outside a worker takes in, and what it says when it does not."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from schemas import DecodeError

MediaReason = Literal[
    "not_allowed", "too_large", "too_slow", "unreachable", "hash_mismatch", "undecodable",
    "too_many_pixels", "unsupported_kind", "empty", "silent", "blank",
]  # fmt: skip
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class MediaError(DecodeError):
    """Content that is not taken. Never retried: the same reference will not get better."""

    def __init__(self, reason: MediaReason, message: str) -> None:
        super().__init__(reason, message)


def path(field: str, name: str = "") -> str:
    """Where a value stands in its record; a reference that is the record has no name."""
    return ".".join(step for step in (field, name) if step) or "data"


class MediaLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From where media are fetched, and how large and slow they may be."""

    allow: list[str] = []
    """prefixes of URIs that may be fetched (file:///srv/media/, https://cdn.example/img/); empty: none"""
    max_bytes: Positive = 32 * 1024 * 1024
    """bytes of one fetched file, at most"""
    inline_bytes: Positive = 2 * 1024 * 1024
    """bytes of one inline media, at most"""
    connect_s: Seconds = 2.0
    """limit of connecting to a server"""
    read_s: Seconds = 5.0
    """limit of waiting for a server's next bytes"""
    total_s: Seconds = 20.0
    """limit of one fetch as a whole, redirects included"""
    redirects: Annotated[int, Meta(ge=0, le=10)] = 3
    """redirects that are followed, each checked against `allow`"""
    tries: Positive = 3
    """how often an unreachable server, or one that answers 5xx, is asked"""
    max_pixels: Positive = 64_000_000
    """pixels of a picture before decoding, at most"""
    image_side: Annotated[int, Meta(ge=32, le=4096)] = 256
    """a decoded picture's shorter side is brought down to this"""
    max_audio_s: Seconds = 60.0
    """seconds of sound that are read; of a longer one only the beginning is"""
    max_video_s: Seconds = 1200.0
    """seconds of a video, at most"""
    max_video_pixels: Positive = 9_000_000
    """pixels of a video's frame, at most"""
    max_video_frames: Positive = 2_000
    """frames that are looked at, at most; of a video with more only its key frames are"""
    video_frames: Annotated[int, Meta(ge=1, le=256)] = 16
    """frames of a video that the encoder sees"""
    video_sampling: Literal["scenes", "uniform"] = "scenes"
    """how these are chosen: from every scene, or evenly over time"""
    max_sensor_channels: Positive = 256
    """channels of sensor readings, at most"""
    max_sensor_values: Positive = 1_000_000
    """values of sensor readings in all their channels, at most"""
    max_text: Positive = 65_536
    """characters of a text, at most"""

    def __post_init__(self) -> None:
        for prefix in self.allow:
            parts = urlsplit(prefix)
            if parts.scheme.lower() not in ("file", "http", "https") or parts.query:
                raise ValueError(f"{prefix!r} is no prefix of file:, http: or https: URIs")
            if parts.scheme.lower() != "file" and (
                not parts.hostname or "@" in parts.netloc
            ):
                raise ValueError(f"{prefix!r} must name a host, and no user")
