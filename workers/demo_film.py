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
TITLE = "The Paper Moon Orchestra"
GENRES = ("Animation", "Children's", "Musical")
DESCRIPTION = (
    "An animated musical for children: toys cut an orchestra out of paper and sail to the "
    "moon to play it a lullaby."
)
QUERY = "an animated musical for children in which toys play music on the moon"
RATE_HZ = 16_000
MELODY = "C5 E5 G5 E5 F5 A5 G5 . E5 G5 C6 B5 A5 G5 E5 C5"
_SEMITONE = {"C": -9, "D": -7, "E": -5, "F": -4, "G": -2, "A": 0, "B": 2}


def upload(*, at_ms: int) -> tuple[Item, Media, Media]:
    """The film, its poster and its melody, as they are produced."""
    item = Item(
        item_id=ITEM_ID,
        title=TITLE,
        description=DESCRIPTION,
        categories=list(GENRES),
        creator="the demo itself",
        attributes={"year": 1998},
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
    """A PNG: a paper moon over the sea, a boat of paper, stars and a row of notes."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), "#12224d")
    draw = ImageDraw.Draw(image)
    for number in range(60):
        x, y = (number * 97) % width, (number * 61) % (height * 2 // 3)
        draw.ellipse((x, y, x + 2, y + 2), fill="#fff6c8")
    draw.ellipse((80, 60, 220, 200), fill="#ffe28a", outline="#f2b632", width=4)
    for x, y in ((120, 110), (170, 105)):
        draw.ellipse((x, y, x + 12, y + 16), fill="#7a5516")
    draw.arc((115, 110, 185, 170), 20, 160, fill="#7a5516", width=4)
    draw.rectangle((0, 340, width, height), fill="#1f7fb5")
    for x in range(0, width, 30):
        draw.arc((x, 330, x + 30, 350), 180, 360, fill="#9fd8f2", width=3)
    draw.polygon(((70, 340), (230, 340), (200, 385), (100, 385)), fill="#f25f5c")
    draw.polygon(((150, 235), (150, 335), (215, 335)), fill="#ffffff")
    draw.polygon(((143, 250), (143, 335), (90, 335)), fill="#ffd9e2")
    for x, y in ((40, 230), (75, 215), (235, 225), (262, 240)):
        draw.ellipse((x, y, x + 14, y + 11), fill="#ffffff")
        draw.line((x + 13, y + 5, x + 13, y - 26, x + 22, y - 18), fill="#ffffff", width=3)
    draw.text((66, 408), TITLE, fill="#ffffff")
    return _bytes_of(lambda file: image.save(file, "PNG"))


def melody(notes: Sequence[str] = MELODY.split(), *, note_s: float = 0.28) -> bytes:
    """FLAC of a glockenspiel, near enough: each note a decaying tone with two overtones."""
    import soundfile

    samples = np.concatenate([_tone(note, note_s) for note in notes])
    return _bytes_of(lambda file: soundfile.write(file, samples, RATE_HZ, format="FLAC"))


def _tone(note: str, seconds: float) -> NDArray[np.float32]:
    time_s = np.arange(int(RATE_HZ * seconds)) / RATE_HZ
    if note == ".":
        return np.zeros(len(time_s), np.float32)
    hertz = 440.0 * 2.0 ** ((_SEMITONE[note[0]] + 12 * (int(note[1:]) - 4)) / 12)
    partials = ((1.0, 0.5), (3.0, 0.16), (5.4, 0.06))
    wave = sum(loud * np.sin(math.tau * hertz * times * time_s) for times, loud in partials)
    return np.asarray(wave * np.exp(-6.0 * time_s), np.float32)


def _bytes_of(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()
