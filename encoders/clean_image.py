"""Pictures that show nothing, frames that are black, and pictures that are there twice.

Shapes:  H, W = height and width in pixels,  T = frames
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

_LUMA_3 = (0.299, 0.587, 0.114)  # ITU-R BT.601


def is_blank(pixels_3HW: Tensor, *, spread: float) -> bool:
    """Whether a picture is of one colour: in each channel the standard deviation over the pixels
    is below `spread` (of 255). A picture with one small mark on it is not blank to people, and a
    mark over 1/1000 of the area in full contrast is not blank here."""
    return bool((pixels_3HW.flatten(1).float().std(dim=1, correction=0) < spread).all())


def keep_frames(frames_T3HW: Tensor, *, black: float = 20.0, spread: float = 2.0) -> Tensor:
    """The numbers of the frames that show something, ascending, int64: not black (mean luma
    below `black` of 255 and hardly any pixel above it) and not of one colour. May be empty: then
    there is nothing to see in the video."""
    if not len(frames_T3HW):
        return torch.empty(0, dtype=torch.int64)
    weight_3 = torch.tensor(_LUMA_3)
    kept = []
    for at, frame_3HW in enumerate(frames_T3HW):  # one at a time: a video is large
        luma_HW = (frame_3HW.float() * weight_3[:, None, None]).sum(dim=0)
        lit = float((luma_HW > 2 * black).double().mean())
        dark = float(luma_HW.mean()) < black and lit < 0.02
        if not dark and not is_blank(frame_3HW, spread=spread):
            kept.append(at)
    return torch.tensor(kept, dtype=torch.int64)


def dhash(pixels_3HW: Tensor) -> int:
    """64 bits of how brightness changes from left to right in an 8 x 8 grid (difference hash,
    Krawetz 2013). Other sizes, qualities and brightness of one picture differ in a few bits."""
    luma_HW = (pixels_3HW.float() * torch.tensor(_LUMA_3)[:, None, None]).sum(dim=0)
    small_89 = interpolate(luma_HW[None, None], (8, 9), mode="area")[0, 0]
    bits = (small_89[:, 1:] > small_89[:, :-1]).flatten().tolist()
    return sum(bit << at for at, bit in enumerate(bits))


def same_picture(
    a_3HW: Tensor, b_3HW: Tensor, *, bits: int = 4, colour: float = 12.0
) -> bool:
    """Whether two pictures are one: their hashes differ in at most `bits`, and their mean colours
    by at most `colour` (of 255) in each channel: the hash does not see colour, and a shirt in red
    and in blue is two pictures."""
    if (dhash(a_3HW) ^ dhash(b_3HW)).bit_count() > bits:
        return False
    mean_23 = torch.stack([p.flatten(1).float().mean(dim=1) for p in (a_3HW, b_3HW)])
    return bool(((mean_23[0] - mean_23[1]).abs() <= colour).all())
