"""Which text encoder a spec asks for. What lies in a folder is told by its files, never by
how it is called.

    builtin:NAME           by its name
    endpoint:URL#MODEL     by whoever has a network (workers/embeddings.py)
    package: path: hub:    by their files: a .txt of word vectors; the layouts of the packages
                           of GloVe and the Universal Sentence Encoder; a safetensors file of
                           `rec encoders fit`, told by its metadata; by the model_type in
                           config.json: BERT in plain torch, others by transformers
"""

from collections.abc import Callable, Mapping

import torch

from encoders.bag_of_words import BagOfWords
from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.encoder import Encoder
from encoders.glove import glove_matrix, load_glove_package, load_glove_text
from encoders.hub import hub_weights, model_type, tower_name
from encoders.specs import (
    SpecError,
    Weights,
    encoder_name,
    find_place,
    known_file,
    unpinned,
)
from encoders.text import load_text_encoder
from encoders.tf_idf import KIND as TF_IDF
from encoders.tf_idf import tf_idf
from encoders.universal import load_universal, universal_weights
from encoders.word2vec import KIND as WORD2VEC
from encoders.word2vec import word2vec
from encoders.word_file import read

OpenEndpoint = Callable[[str, EncoderConfig], Encoder[TextContent]]
Load = Callable[..., Encoder[TextContent]]
_BY_SUFFIX: Mapping[str, Load] = {
    ".txt": load_glove_text,
    ".npy": load_glove_package,
    ".npz": load_universal,
}
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_text(
    spec: str,
    *,
    config: EncoderConfig,
    device: torch.device,
    open_endpoint: OpenEndpoint | None = None,
) -> Encoder[TextContent]:
    """The text encoder of a spec. Raises SpecError with the remedy."""
    named, sha256 = unpinned(spec)
    kind = named.partition(":")[0]
    if kind in ("builtin", "endpoint") and sha256:
        raise SpecError(
            f"text encoder {spec!r}: no file to check a hash of; leave @sha256 out"
        )
    if kind == "builtin":
        if named != "builtin:bag-of-words":
            raise SpecError(
                f"text encoder {spec!r}: the builtin one is builtin:bag-of-words"
            )
        return BagOfWords(config.max_tokens)
    if kind == "endpoint":
        if open_endpoint is None:
            raise SpecError(f"text encoder {spec!r}: only a worker can ask an endpoint")
        return open_endpoint(spec, config)
    return _of_files(spec, config=config, device=device)


def text_weights(spec: str) -> Weights:
    """The file of a package:, path: or hub: spec, its hash checked. Raises SpecError."""
    place = find_place(spec)
    if place.suffix == ".txt" and place.is_file():
        return known_file(spec, place)
    packaged = glove_matrix(place) or universal_weights(place)
    return hub_weights(spec) if packaged is None else known_file(spec, packaged)


def _of_files(
    spec: str, *, config: EncoderConfig, device: torch.device
) -> Encoder[TextContent]:
    weights, max_tokens = text_weights(spec), config.max_tokens
    name = encoder_name("text", spec, weights.digest)
    if weights.file.suffix in _BY_SUFFIX:
        return _BY_SUFFIX[weights.file.suffix](weights, name=name, max_tokens=max_tokens)
    if (told := read(weights)) is not None:
        fitted: Mapping[str, Load] = {TF_IDF: tf_idf, WORD2VEC: word2vec}
        if told.kind not in fitted:
            raise SpecError(
                f"text weights in {weights.file}: kind {told.kind!r} is not known, only "
                f"{', '.join(fitted)}; fit them again with `rec encoders fit`"
            )
        return fitted[told.kind](told, name=name, max_tokens=max_tokens)
    if model_type(weights.folder) not in ("", "bert"):
        from encoders.hub_text import load_hub_text

        return load_hub_text(
            weights,
            name=tower_name("text", spec, weights, config.precision),
            max_tokens=max_tokens,
            device=device,
            precision=config.precision,
        )
    return load_text_encoder(
        weights,
        name=encoder_name("text", spec, weights.digest, precision=config.precision),
        max_tokens=max_tokens,
        device=device,
        precision=_PRECISIONS[config.precision],
    )
