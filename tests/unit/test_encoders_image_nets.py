"""VGG, ResNet and EfficientNet: torchvision's own features, by what the weights say they are."""

import json

import msgspec
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

from encoders.config import EncoderConfig
from encoders.content import ImageContent
from encoders.image_nets import ARCHITECTURES, net
from encoders.load import load_encoders
from encoders.specs import SpecError

models = pytest.importorskip("torchvision.models")
scaled = pytest.importorskip("torchvision.transforms.functional").normalize
NONE = EncoderConfig(
    text="none", image="none", audio="none", video="none", sensor="none", device="cpu"
)
CASES = [("resnet18", "fc", 512), ("efficientnet_b0", "classifier", 1280)]


def pictures() -> list[ImageContent]:
    generator = torch.Generator().manual_seed(1)
    return [
        ImageContent(
            torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
        )
        for size in ((224, 224), (90, 130))
    ]


def saved(architecture: str, folder, *, in_metadata: bool = True):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(models, architecture)(weights=None).eval()
    told = {"architecture": architecture}
    if not in_metadata:
        (folder / "config.json").write_text(json.dumps(told))
    save_file(model.state_dict(), folder / "x.safetensors", told if in_metadata else None)
    return model


def load(folder, precision: str = "float32"):
    config = msgspec.structs.replace(NONE, image=f"path:{folder}", precision=precision)
    return load_encoders(config)["image"]


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 3e-2)]
)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_features_are_those_before_the_last_layer(tmp_path, case, precision, tolerance):
    architecture, last, width = case
    model = saved(architecture, tmp_path, in_metadata=architecture == "resnet18")
    setattr(model, last, torch.nn.Identity())
    first = pictures()[0].pixels_3HW.float() / 255
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    with torch.inference_mode():
        theirs = normalize(model(scaled(first, mean, deviation)[None]), dim=-1)
    encoder = load(tmp_path, precision)
    both = encoder.encode(pictures())
    torch.testing.assert_close(both[:1], theirs, atol=tolerance, rtol=0)
    alone = encoder.encode(pictures()[1:])
    torch.testing.assert_close(both[1:], alone, atol=tolerance, rtol=0)
    assert (encoder.width, encoder.encode([]).shape) == (width, (0, width))


@pytest.mark.parametrize("architecture", ["vgg11", "vgg16_bn", "resnet50"])
def test_every_family_has_the_width_of_its_last_hidden_layer(architecture):
    with torch.device("meta"):
        model, width = net(architecture)
        told = model(torch.empty(1, 3, 224, 224))
    assert told.shape == (1, width)
    assert width == (4096 if architecture.startswith("vgg") else 2048)


def test_an_unknown_architecture_is_refused_with_those_that_are_known(tmp_path):
    save_file(
        {"x": torch.zeros(1)}, tmp_path / "x.safetensors", {"architecture": "resnet9"}
    )
    with pytest.raises(SpecError, match="resnet50"):
        load(tmp_path)
    assert "vgg16" in ARCHITECTURES


def test_weights_of_another_net_are_refused(tmp_path):
    save_file(
        {"x": torch.zeros(1)}, tmp_path / "x.safetensors", {"architecture": "resnet18"}
    )
    with pytest.raises(SpecError, match="no resnet18 of torchvision"):
        load(tmp_path)
