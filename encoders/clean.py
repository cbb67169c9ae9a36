"""What is taken off content before it is encoded, and what is not worth encoding.

A function of the content and of `PrepareConfig` alone: the same content gives the same vector
everywhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from encoders.clean_audio import clipped_share, level_db, trimmed, without_offset
from encoders.clean_image import is_blank, keep_frames, same_picture
from encoders.clean_sensor import clean_readings
from encoders.clean_text import repaired, same_text, tidy, without_markup, without_repeats
from encoders.content import (
    AudioContent,
    Content,
    ImageContent,
    SensorContent,
    TextContent,
    VideoContent,
)
from encoders.preparation import Change, Drop, PrepareConfig, Unusable

_CLIPPED = 0.001  # of the samples


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Content as it is to be encoded, and what was done to it or found in it;
    `dropped`: parts of it that were left out (frames, a silent sound track), one word each."""

    content: Content
    changes: tuple[Change, ...] = ()
    dropped: tuple[Drop, ...] = ()


def clean(content: Content, config: PrepareConfig) -> Cleaned:
    """The content without what is no part of it. Raises Unusable."""
    if isinstance(content, TextContent):
        return _text(content, config)
    if isinstance(content, ImageContent):
        return _image(content, config)
    if isinstance(content, AudioContent):
        return Cleaned(*_heard(content, config))
    if isinstance(content, VideoContent):
        return _video(content, config)
    return _sensor(content, config)


def distinct(contents: Sequence[Content | None]) -> list[int]:
    """The places of the contents that are nearly like none before them. None is like none."""
    kept: list[int] = []
    for at, content in enumerate(contents):
        if not any(_alike(contents[other], content) for other in kept):
            kept.append(at)
    return kept


def _text(content: TextContent, config: PrepareConfig) -> Cleaned:
    text, changes = tidy(content.text), list[Change]()
    steps: tuple[tuple[bool, Change, Any], ...] = (
        (config.text_markup, "markup", without_markup),
        (config.text_repair, "repaired", repaired),
        (config.text_repeats, "repeats", without_repeats),
    )
    for wanted, change, step in steps:
        if wanted and (done := step(text)) != text:
            text = done
            changes.append(change)
    if not (text := tidy(text)):
        raise Unusable(
            "empty", "nothing is left of it without markup; send a text in words"
        )
    return Cleaned(TextContent(text), tuple(changes))


def _image(content: ImageContent, config: PrepareConfig) -> Cleaned:
    if config.image_blank and is_blank(
        content.pixels_3HW, spread=config.image_blank_spread
    ):
        raise Unusable(
            "blank",
            "the picture is of one colour; send one that shows something, or set "
            "STREAMREC_PREPARE__IMAGE_BLANK=false",
        )
    return Cleaned(content)


def _heard(
    content: AudioContent, config: PrepareConfig
) -> tuple[AudioContent, tuple[Change, ...]]:
    heard_T, changes = without_offset(content.waveform_T), list[Change]()
    if config.audio_silent and (level := level_db(heard_T)) < config.audio_silent_db:
        raise Unusable(
            "silent",
            f"nothing is heard in it ({level:.0f} dB, less than {config.audio_silent_db:g}); "
            "send a sound, or set STREAMREC_PREPARE__AUDIO_SILENT=false",
        )
    if clipped_share(content.waveform_T) > _CLIPPED:
        changes.append("clipped")
    if not config.audio_trim:
        return content, tuple(changes)
    if float((heard_T - content.waveform_T).abs().max()) > 1e-3:
        changes.append("offset")
    kept_T = trimmed(
        heard_T, sample_rate=content.sample_rate, quiet_db=config.audio_trim_db
    )
    if len(kept_T) < len(heard_T):
        changes.append("trimmed")
    return replace(content, waveform_T=kept_T.contiguous()), tuple(changes)


def _video(content: VideoContent, config: PrepareConfig) -> Cleaned:
    kept, dropped = content, list[Drop]()
    changes: tuple[Change, ...] = ()
    if config.video_black:
        at_K = keep_frames(content.frames_T3HW)
        if not len(at_K):
            raise Unusable(
                "blank",
                "every frame is black or of one colour; send a video that shows something, or "
                "set STREAMREC_PREPARE__VIDEO_BLACK=false",
            )
        dropped += ["black_frame"] * (len(content.frames_T3HW) - len(at_K))
        kept = replace(
            kept, frames_T3HW=content.frames_T3HW[at_K], times_T=content.times_T[at_K]
        )
    if kept.sound is not None:
        try:
            sound, changes = _heard(kept.sound, config)
            kept = replace(kept, sound=sound)
        except Unusable as unusable:
            kept = replace(kept, sound=None)
            dropped.append(unusable.reason)
    return Cleaned(kept, changes, tuple(dropped))


def _sensor(content: SensorContent, config: PrepareConfig) -> Cleaned:
    readings = clean_readings(
        content.values_CT,
        sigmas=config.sensor_sigmas if config.sensor_outliers else math.inf,
        max_gap=config.sensor_max_gap,
    )
    found: tuple[tuple[Change, Tensor], ...] = (
        ("outliers", readings.outlier_CT),
        ("gaps", readings.filled_CT),
        ("stuck", readings.stuck_C),
    )
    changes = tuple(change for change, at in found if bool(at.any()))
    return Cleaned(replace(content, values_CT=readings.value_CT), changes)


def _alike(a: Content | None, b: Content | None) -> bool:
    if isinstance(a, TextContent) and isinstance(b, TextContent):
        return same_text(a.text, b.text)
    if isinstance(a, ImageContent) and isinstance(b, ImageContent):
        return same_picture(a.pixels_3HW, b.pixels_3HW)
    return False
