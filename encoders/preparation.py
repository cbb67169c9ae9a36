"""How content is prepared before it is encoded: settings, words for what happened, a version.

Values only. What is done is in encoders/clean.py; the version stands beside each slot, so that
its content is encoded anew after a change.
"""

import hashlib
from typing import Annotated, Literal, get_args

import msgspec

_RULES = 1  # counts changes of what the functions do: slots are made anew after one
_OWN = {"video": ("video_", "image_", "audio_")}  # a video has pictures and a sound

Refusal = Literal["empty", "silent", "blank"]
Drop = Literal[Refusal, "duplicate", "black_frame"]
Change = Literal[
    "markup", "repaired", "repeats", "offset", "trimmed", "clipped", "outliers", "gaps",
    "stuck",
]  # fmt: skip
DROPS: tuple[Drop, ...] = get_args(Drop)
CHANGES: tuple[Change, ...] = get_args(Change)


class PrepareConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How content is cleaned before it is encoded. After a change of a modality's settings its
    content is encoded anew when its record comes again."""

    text_markup: bool = True
    """HTML and Markdown are taken off texts, scripts and styles dropped"""
    text_repair: bool = True
    """wrongly decoded UTF-8 is put right, Unicode normalised (NFC), unseen characters dropped"""
    text_repeats: bool = True
    """a sentence or line that comes again is left out"""
    image_blank: bool = True
    """pictures of one colour are refused (blank)"""
    image_blank_spread: Annotated[float, msgspec.Meta(ge=0, le=128)] = 2.0
    """of one colour: no channel's deviation over the pixels reaches this (of 255)"""
    audio_silent: bool = True
    """sounds in which nothing is heard are refused (silent)"""
    audio_silent_db: Annotated[float, msgspec.Meta(le=0)] = -60.0
    """nothing is heard below this level, dB of full scale (root mean square)"""
    audio_trim: bool = True
    """a constant offset, and silence before and after a sound, are taken off"""
    audio_trim_db: Annotated[float, msgspec.Meta(gt=0)] = 50.0
    """silence is what is so many dB below the loudest 20 ms of the sound"""
    video_black: bool = True
    """frames that are black or of one colour are left out"""
    sensor_outliers: bool = True
    """readings far from their neighbours become those (Hampel's filter)"""
    sensor_sigmas: Annotated[float, msgspec.Meta(gt=0)] = 3.0
    """far: so many robust standard deviations"""
    sensor_max_gap: Annotated[int, msgspec.Meta(ge=0)] = 5
    """so many missing readings in a row are interpolated"""
    duplicates: bool = True
    """of pictures or texts of one item that are nearly the same only the first counts"""


class Unusable(ValueError):
    """Content that is not worth encoding. `reason` is counted; the message has the remedy."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason: Refusal = reason


def prepare_version(modality: str, config: PrepareConfig) -> str:
    """8 hex: the settings and rules by which content of this modality is prepared."""
    own = _OWN.get(modality, (f"{modality}_",))
    told = msgspec.structs.asdict(config)
    named = sorted((n, v) for n, v in told.items() if n.startswith(own))
    return hashlib.sha256(repr((_RULES, named)).encode()).hexdigest()[:8]
