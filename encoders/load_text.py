"""Which text encoder a spec asks for. What lies in a folder is told by its files, never by
how it is called.

builtin: by name | endpoint: by whoever has a network | package:, path:, hub: by their files
"""

from collections.abc import Callable

import torch

from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.encoder import Encoder
from encoders.specs import encoder_name, find_weights
from encoders.text import load_text_encoder

OpenEndpoint = Callable[[str, EncoderConfig], Encoder[TextContent]]


def load_text(
    spec: str,
    *,
    config: EncoderConfig,
    device: torch.device,
    open_endpoint: OpenEndpoint | None = None,
) -> Encoder[TextContent]:
    """The text encoder of a spec. Raises SpecError with the remedy."""
    weights = find_weights(spec)
    return load_text_encoder(
        weights,
        name=encoder_name("text", spec, weights.digest),
        max_tokens=config.max_tokens,
        device=device,
    )
