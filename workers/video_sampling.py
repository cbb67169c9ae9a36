"""Which frames of a video stand for it. Pure: thumbnails in, numbers of frames out.

Shapes:  T = frames,  H, W = height and width of a thumbnail,  B = bins of a histogram
"""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.intp]

_DARK = 0.1  # of full brightness: FFmpeg's blackdetect calls a pixel black below this,
_BLACK = 0.98  # and a picture with so many black pixels
_LEVELS = 4  # of each colour: histograms of 64 bins
_DEVIATIONS = 3.0
_LEAST_CHANGE = 0.25  # of the pixels, or it is no cut, however still the rest


def lit(thumb_THW3: Bytes) -> Numbers:
    """The frames that are not black; all of them where none is."""
    bright_T = thumb_THW3.max(axis=-1).reshape(len(thumb_THW3), -1) > _DARK * 255
    lit_T = np.flatnonzero(1 - bright_T.mean(axis=1) < _BLACK)
    return lit_T if len(lit_T) else np.arange(len(thumb_THW3))


def evenly(frames: int, *, wanted: int) -> Numbers:
    """`wanted` of so many frames, each from the middle of its share; all where there are fewer."""
    if frames <= wanted:
        return np.arange(frames)
    middle_T = (np.arange(wanted) + 0.5) * frames / wanted
    return middle_T.astype(np.intp)


def by_scene(thumb_THW3: Bytes, *, wanted: int) -> Numbers:
    """`wanted` frames, at least one of each scene; of more scenes the longest ones.

    A scene ends where the colour histograms of two frames differ by more than the mean
    difference and three deviations (Zhang, Kankanhalli and Smoliar 1993, "Automatic
    partitioning of full-motion video": their threshold for an abrupt cut).
    """
    frames = len(thumb_THW3)
    if frames <= wanted:
        return np.arange(frames)
    bounds = np.concatenate([[0], cuts(thumb_THW3), [frames]])
    lengths = np.diff(bounds)
    longest = np.sort(np.argsort(-lengths, kind="stable")[:wanted])
    shares = _shares(lengths[longest], wanted)
    chosen = [
        bounds[scene] + evenly(int(lengths[scene]), wanted=int(share))
        for scene, share in zip(longest, shares, strict=True)
    ]
    return np.concatenate(chosen)


def cuts(thumb_THW3: Bytes) -> Numbers:
    """The first frames of the scenes after the first."""
    histogram_TB = _histograms(thumb_THW3)
    change_T = np.abs(np.diff(histogram_TB, axis=0)).sum(axis=1) / 2  # 0 to 1
    if not len(change_T):
        return np.zeros(0, np.intp)
    threshold = max(_LEAST_CHANGE, change_T.mean() + _DEVIATIONS * change_T.std())
    # A cut among few frames moves the deviation itself; nearly all pixels changed is one, too.
    return np.flatnonzero(change_T >= min(threshold, 0.9)) + 1


def _histograms(thumb_THW3: Bytes) -> NDArray[np.float64]:
    """T x B, each row adding up to one."""
    level_THW3 = thumb_THW3.astype(np.intp) * _LEVELS // 256
    bin_TP = (level_THW3 @ np.array([_LEVELS**2, _LEVELS, 1])).reshape(len(thumb_THW3), -1)
    bins = _LEVELS**3
    row_T1 = np.arange(len(bin_TP))[:, None] * bins
    counts = np.bincount((bin_TP + row_T1).ravel(), minlength=len(bin_TP) * bins)
    share_TB: NDArray[np.float64] = counts.reshape(len(bin_TP), bins) / bin_TP.shape[1]
    return share_TB


def _shares(lengths: Numbers, wanted: int) -> Numbers:
    """How many frames each scene gives: one, and the rest by length, never more than it has."""
    shares = np.ones(len(lengths), np.intp)
    while shares.sum() < min(wanted, lengths.sum()):
        per_frame = np.where(shares < lengths, lengths / shares, 0.0)
        shares[per_frame.argmax()] += 1
    return shares
