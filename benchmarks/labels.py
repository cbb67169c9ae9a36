"""How well do label heads and zero-shot labels tell a film's genres, and does augmentation help?

70 % of the films of MovieLens-100k train (titles with the year; posters where a folder has them),
the other 30 % are asked. "noisy": three words in ten left out of the titles; posters cropped,
turned, recoloured and with noise. "augmented": trained on such a copy of each film beside it.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from msgspec.structs import replace  # noqa: E402
from torch import Generator, Tensor  # noqa: E402

from benchmarks.report import write  # noqa: E402
from encoders import augment  # noqa: E402
from encoders.clean import clean  # noqa: E402
from encoders.config import EncoderConfig  # noqa: E402
from encoders.content import ImageContent, TextContent  # noqa: E402
from encoders.label_fit import Fit, Rows, common_labels, fit_labels, targets  # noqa: E402
from encoders.labels import Source, zero_shots  # noqa: E402
from encoders.load import load_encoders  # noqa: E402
from encoders.preparation import PrepareConfig  # noqa: E402
from schemas import MediaRef  # noqa: E402
from workers.contents import item_text  # noqa: E402
from workers.media_decode import decode  # noqa: E402
from workers.media_limits import MediaLimits  # noqa: E402
from workers.movielens import Film, fetch, item_of, read  # noqa: E402

COPIES = 1
ROUNDS = 300  # of the bootstrap over films
NOISE: dict[str, Any] = {
    "text": partial(augment.drop_words, share=0.3),
    "image": augment.compose(
        [augment.crop, augment.rotate, augment.colour, partial(augment.noise, sigma=25.0)]
    ),
}


@dataclass(frozen=True)
class Films:
    """Vectors of every film, by slot; films without a poster have zeros and are not asked."""

    genres: list[tuple[str, ...]]
    has_N: Tensor
    test_N: Tensor
    plain: dict[str, Tensor]
    noisy: dict[str, Tensor]
    copies: list[dict[str, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posters", type=Path, help="folder of NUMBER.jpg")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/streamrec/data")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    encoders = load_encoders(EncoderConfig(audio="none", video="none", sensor="none"))
    listed = [film for film in read(fetch(cache=asked.cache)).films.values() if film.genres]
    films = prepared(listed, encoders, asked.posters, seed=asked.seed)
    train = Rows(films.plain["text"], films.genres, torch.arange(len(listed)))
    kept = ~films.test_N
    names = common_labels(
        Rows(train.vector_NW[kept], [g for g, k in zip(films.genres, kept, strict=True) if k],
             train.item_N[kept]), least=10,
    )  # fmt: skip
    truth_NL = targets(films.genres, names)
    asked_N = films.test_N & films.has_N
    rows, fits = [], {}
    rows.append(
        _row("class prior", truth_NL[kept].mean(0).expand_as(truth_NL), truth_NL, asked_N)
    )
    for augmented in (False, True):
        fits[augmented] = heads = trained(
            films, encoders, augmented=augmented, seed=asked.seed
        )
        for kind, vectors in (("", films.plain), (", noisy", films.noisy)):
            said = {f.head.slot: confidence(f.head, vectors, names) for f in heads}
            said |= (
                {"both": torch.stack(list(said.values())).mean(0)} if len(said) > 1 else {}
            )
            label = ", augmented" if augmented else ""
            rows += [
                _row(f"{slot} head{label}{kind}", found, truth_NL, asked_N)
                for slot, found in said.items()
            ]
    rows += zero_shot_rows(films, encoders, names, truth_NL, asked_N)
    write("labels", "How well are a film's genres told from its title and poster?", rows,
          *_notes(films, fits, names, asked_N))  # fmt: skip
    aucs = {
        f.head.slot: auc(confidence(f.head, films.plain, names)[asked_N], truth_NL[asked_N])
        for f in fits[False]
    }
    each = [
        {"genre": name, "films asked": int(truth_NL[asked_N, at].sum()),
         "share": f"{float(truth_NL[asked_N, at].mean()):.3f}"}
        | {f"AUC {slot}": f"{float(auc_L[at]):.3f}" for slot, auc_L in aucs.items()}
        for at, name in enumerate(names)
    ]  # fmt: skip
    write(
        "labels-by-genre",
        "Which genres are told from a title, and which from a poster?",
        each,
    )


def prepared(
    listed: Sequence[Film], encoders: Mapping[str, Any], posters: Path | None, *, seed: int
) -> Films:
    """Every film's contents, plain, noisy and in copies, through the encoders."""
    generator = torch.Generator().manual_seed(seed)
    contents: dict[str, list[Any]] = {"text": [_text(film) for film in listed]}
    if posters is not None:
        contents["image"] = [_poster(posters / f"{film.number}.jpg") for film in listed]
    test_N = torch.zeros(len(listed), dtype=torch.bool)
    order_N = torch.randperm(len(listed), generator=generator)
    test_N[order_N[round(0.7 * len(listed)) :]] = True
    has_N = torch.tensor(
        [all(c[n] is not None for c in contents.values()) for n in range(len(listed))]
    )
    vectors = [
        {slot: encoded(encoders[slot], [c if k else None for c, k in zip(of_slot, kept, strict=True)],
                       NOISE[slot] if noisy else None, generator)
         for slot, of_slot in contents.items()}
        for noisy, kept in ((False, [True] * len(listed)), (True, test_N.tolist()),
                            *[(True, (~test_N).tolist())] * COPIES)
    ]  # fmt: skip
    genres = [film.genres for film in listed]
    return Films(genres, has_N, test_N, vectors[0], vectors[1], vectors[2:])


def encoded(
    encoder: Any, contents: Sequence[Any], change: Any, generator: Generator
) -> Tensor:
    """N x W; zeros where there is no content."""
    vector_NW = torch.zeros(len(contents), encoder.width)
    here = [n for n, content in enumerate(contents) if content is not None]
    for at in range(0, len(here), 64):
        batch = [contents[n] for n in here[at : at + 64]]
        if change is not None:
            batch = [change(content, generator=generator) for content in batch]
        vector_NW[here[at : at + 64]] = encoder.encode(batch)
    return vector_NW


def trained(
    films: Films, encoders: Mapping[str, Any], *, augmented: bool, seed: int
) -> list[Fit]:
    """Heads of the training films."""
    at_K = torch.nonzero(~films.test_N & films.has_N).flatten()
    genres = [films.genres[n] for n in at_K.tolist()]
    versions = [films.plain, *(films.copies if augmented else [])]
    slots = {
        slot: Rows(
            torch.cat([version[slot][at_K] for version in versions]),
            genres * len(versions),
            at_K.repeat(len(versions)),
        )
        for slot in films.plain
    }
    with tempfile.TemporaryDirectory() as folder:
        return fit_labels(
            slots,
            encoders={slot: encoders[slot].name for slot in slots},
            out=Path(folder),
            generator=torch.Generator().manual_seed(seed),
        )


def confidence(
    source: Source, vectors: Mapping[str, Tensor], names: Sequence[str]
) -> Tensor:
    """N x L in the order of `names`; 0 for labels that the source does not know."""
    found_NK = source.confidence(vectors[source.slot])
    said_NL = torch.zeros(len(found_NK), len(names))
    for k, name in enumerate(source.labels):
        if name in names:
            said_NL[:, names.index(name)] = found_NK[:, k]
    return said_NL


def zero_shot_rows(
    films: Films, encoders: Mapping[str, Any], names: Sequence[str], truth_NL: Tensor,
    asked_N: Tensor,
) -> list[dict[str, object]]:  # fmt: skip
    rows = []
    for template in (EncoderConfig().zero_shot_template, "A {} film."):
        for temperature in (0.02, 0.05):
            for source in zero_shots(
                names, encoders, template=template, temperature=temperature
            ):
                said_NL = confidence(source, films.plain, names)
                name = f"{source.slot} zero-shot, `{template}`, temperature {temperature}"
                rows.append(_row(name, said_NL, truth_NL, asked_N))
    return rows


def _row(
    name: str, said_NL: Tensor, truth_NL: Tensor, asked_N: Tensor
) -> dict[str, object]:
    said, truth = said_NL[asked_N], truth_NL[asked_N]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(said), (ROUNDS, len(said)), generator=generator)
    maps = torch.tensor(
        [float(average_precision(said[d], truth[d]).nanmean()) for d in drawn]
    )
    low, high = torch.quantile(maps, torch.tensor([0.025, 0.975])).tolist()
    sure = said >= 0.5
    hits = float(truth[sure].mean()) if sure.any() else float("nan")
    best = truth.gather(1, said.argmax(1, keepdim=True)).mean()
    return {
        "labels by": name,
        "mAP": f"{float(average_precision(said, truth).nanmean()):.3f}",
        "95 %": f"{low:.3f}-{high:.3f}",
        "AUC": f"{float(auc(said, truth).nanmean()):.3f}",
        "surest is right": f"{float(best):.3f}",
        "told at 0.5, a film": f"{float(sure.float().sum(1).mean()):.2f}",
        "of these right": f"{hits:.3f}",
        "calibration error": f"{calibration_error(said, truth):.3f}",
    }


def auc(said_NL: Tensor, truth_NL: Tensor) -> Tensor:
    """L: the odds that a film with the label is surer than one without; ties count half."""
    out = []
    for said, truth in zip(said_NL.T, truth_NL.T.bool(), strict=True):
        with_it, without = said[truth][:, None], said[~truth][None]
        wins = (with_it > without).double() + 0.5 * (with_it == without).double()
        out.append(wins.mean() if wins.numel() else torch.tensor(torch.nan))
    return torch.stack([value.double() for value in out])


def average_precision(said_NL: Tensor, truth_NL: Tensor) -> Tensor:
    """L: the mean precision at each film that has the label, surest first. Films of equal
    confidence share their precision, so that a constant gets the share of films."""
    out = []
    for said, truth in zip(said_NL.T, truth_NL.T, strict=True):
        values, place = torch.unique(-said, return_inverse=True)
        films = torch.zeros(len(values), dtype=torch.double).index_add_(
            0, place, torch.ones(len(said), dtype=torch.double)
        )
        right = torch.zeros_like(films).index_add_(0, place, truth.double())
        precision = right.cumsum(0) / films.cumsum(0)
        out.append((precision * right).sum() / right.sum())
    return torch.stack(out)


def calibration_error(said_NL: Tensor, truth_NL: Tensor, bins: int = 10) -> float:
    """How far confidence is from the share that is right, over equally wide bins (Guo 2017)."""
    said, truth = said_NL.flatten(), truth_NL.flatten()
    place = (said * bins).long().clamp(max=bins - 1)
    return sum(
        float((said[place == b].mean() - truth[place == b].mean()).abs())
        * int((place == b).sum()) / len(said)
        for b in range(bins)
        if (place == b).any()
    )  # fmt: skip


def _notes(
    films: Films, fits: Mapping[bool, list[Fit]], names: Sequence[str], asked_N: Tensor
) -> list[str]:
    told = [
        f"{f.head.slot} head{', augmented' if augmented else ''}: temperature "
        f"{f.head.temperature:.2f}; held-out cross-entropy {f.loss:.4f} "
        f"({f.loss_uncalibrated:.4f} without the temperature, {f.loss_of_prior:.4f} by the prior)"
        for augmented, heads in fits.items()
        for f in heads
    ]
    trained_on = int((~films.test_N & films.has_N).sum())
    return [
        f"{trained_on} films train, {int(asked_N.sum())} are asked (those that have every slot)",
        f"{len(names)} genres with at least 10 training films; intervals by bootstrap over films",
        *told,
    ]


def _text(film: Film) -> TextContent:
    item = replace(item_of(film), categories=[])  # else the answer stands in the question
    text = f"{item_text(item)} ({film.year})" if film.year else item_text(item)
    content = clean(TextContent(text), PrepareConfig()).content
    assert isinstance(content, TextContent)
    return content


def _poster(file: Path) -> ImageContent | None:
    if not file.is_file():
        return None
    content = decode(MediaRef(kind="image"), file.read_bytes(), limits=MediaLimits())
    assert isinstance(content, ImageContent)
    return content


if __name__ == "__main__":
    main()
