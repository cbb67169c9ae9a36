"""The film that the demo uploads half way. There is none: picture and sound are made here.

The poster is drawn with shapes, the melody is synthesised; both are ours, so that nobody's
rights are in the way, and the demo says so. The same bytes every time.
"""

import io
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas import Item, Media

ITEM_ID = "film-new"
TITLE = "Night at the Paper Moon"
GENRES = ("Horror", "Thriller")
DESCRIPTION = "A thriller about a haunted cinema."
QUERY = "a horror film about a haunted cinema at night"
RATE_HZ = 16_000
MELODY = "A4 C5 E5 . D#5 E5 C5 A4 F4 A4 C5 . B4 G#4 A4 A4"
_SEMITONE = {
    "C": -9,
    "D": -7,
    "D#": -6,
    "E": -5,
    "F": -4,
    "G": -2,
    "G#": -1,
    "A": 0,
    "B": 2,
}


def upload(*, at_ms: int) -> tuple[Item, Media, Media]:
    """The film, its poster and its melody, as they are produced."""
    item = Item(
        item_id=ITEM_ID,
        title=TITLE,
        description=DESCRIPTION,
        categories=list(GENRES),
        attributes={"year": 1998, "made_by": "the demo itself"},
        language="en",
        published_at_ms=at_ms,
    )
    picture = Media(
        media_id="media-poster",
        item_id=ITEM_ID,
        kind="image",
        data=poster(),
        content_type="image/png",
        at_ms=at_ms,
    )
    sound = Media(
        media_id="media-melody",
        item_id=ITEM_ID,
        kind="audio",
        data=melody(),
        content_type="audio/flac",
        at_ms=at_ms,
    )
    return item, picture, sound


def poster(*, width: int = 300, height: int = 450) -> bytes:
    """A PNG: a paper moon over a cinema whose door is open, and who looks out of it."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), "#0d1026")
    draw = ImageDraw.Draw(image)
    for number in range(60):
        x, y = (number * 97) % width, (number * 61) % (height // 2)
        draw.ellipse((x, y, x + 2, y + 2), fill="#cfd3ff")
    draw.ellipse((160, 30, 260, 130), fill="#f4e6b0", outline="#b99b45", width=3)
    draw.line((160, 80, 130, 0), fill="#8a8fb8", width=1)  # it hangs on threads
    draw.line((260, 80, 285, 0), fill="#8a8fb8", width=1)
    draw.rectangle((40, 190, 260, 450), fill="#241733", outline="#4a2f66", width=4)
    draw.polygon(((25, 190), (275, 190), (250, 150), (50, 150)), fill="#3a2452")
    draw.rectangle((60, 205, 240, 245), fill="#f6f1da", outline="#b3261e", width=4)
    draw.text((76, 219), TITLE.upper(), fill="#b3261e")
    for x in range(62, 240, 16):
        draw.ellipse((x, 250, x + 7, 257), fill="#ffcf5c")
    draw.rectangle((110, 290, 190, 450), fill="#ffcf5c")
    draw.pieslice((122, 310, 178, 380), 180, 360, fill="#ffffff")
    draw.rectangle((122, 344, 178, 420), fill="#ffffff")
    draw.polygon(
        ((122, 419), (136, 440), (150, 419), (164, 440), (178, 419)), fill="#ffffff"
    )
    for x in (136, 157):
        draw.ellipse((x, 336, x + 9, 350), fill="#0d1026")
    draw.ellipse((144, 358, 158, 376), fill="#0d1026")
    return _bytes_of(lambda file: image.save(file, "PNG"))


def melody() -> bytes:
    """The whole of it, on a celesta, near enough."""
    return _played(MELODY.split(), note_s=0.32)


def hummed() -> bytes:
    """The first half, slower and two tones lower, as somebody may remember it."""
    return _played(MELODY.split()[:8], note_s=0.40, lower=4)


def _played(notes: Sequence[str], *, note_s: float, lower: int = 0) -> bytes:
    """FLAC: each note a decaying tone with two overtones. `lower`: by so many semitones."""
    import soundfile

    samples = np.concatenate([_tone(note, note_s, lower=lower) for note in notes])
    return _bytes_of(lambda file: soundfile.write(file, samples, RATE_HZ, format="FLAC"))


def _tone(note: str, seconds: float, *, lower: int) -> NDArray[np.float32]:
    time_s = np.arange(int(RATE_HZ * seconds)) / RATE_HZ
    if note == ".":
        return np.zeros(len(time_s), np.float32)
    semitones = _SEMITONE[note[:-1]] + 12 * (int(note[-1]) - 4) - lower
    hertz = 440.0 * 2.0 ** (semitones / 12)
    partials = ((1.0, 0.5), (3.0, 0.16), (5.4, 0.06))
    wave = sum(loud * np.sin(math.tau * hertz * times * time_s) for times, loud in partials)
    return np.asarray(wave * np.exp(-6.0 * time_s), np.float32)


def _bytes_of(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()
