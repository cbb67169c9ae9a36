"""Slots into one vector by a net that learned how: six ways, one signature.

| kind | how | after |
| --- | --- | --- |
| weighted | gates by content, quality and presence over the slots' tokens | gated multimodal units, Arevalo 2017 |
| joint | attention over modality tokens and a summary token | Vaswani 2017; as MMBT, Kiela 2019 |
| cascade | the first slot's coarse vector, refined by one residual after the other | residual nets, He 2015 |
| sample | one net over all raw features; what is missing has a learned stand-in | early fusion |
| adversarial | tokens that a discriminator cannot tell by their modality | gradient reversal, Ganin 2015 |
| graph | propagation over neighbours; in `encoders/fusion_graph.py` | LightGCN, He 2020 |

A row depends on its own slots alone (and, of the graph, on what it learned). Every net begins
as the untrained projections and learns from there.

Shapes:  E = rows,  M = slots that were trained for,  W = a slot's width,  D = the fused width
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from encoders.fusion import SlotColumn, projection

Kind = Literal["weighted", "joint", "cascade", "sample", "adversarial", "graph"]


class SlotSpec(msgspec.Struct, frozen=True):
    """A slot that a net was trained for: its name, its width and whose vectors they were."""

    name: str
    width: int
    encoder: str = ""


class NetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a net looks like. Its weights fit no other."""

    kind: Kind = "weighted"
    width: int = 128
    """width of the fused vector"""
    components: int = 64
    """principal components of a slot that are learned from"""
    components_slots: dict[str, int] = {}
    """the same for a slot by its name, where it differs"""
    hidden: int = 128
    """width of hidden layers"""
    layers: int = 1
    """layers of attention (joint), or of propagation (graph)"""
    heads: int = 4
    """heads of attention"""
    neighbours: int = 20
    """of an item, by each slot (graph)"""
    order: tuple[str, ...] = ()
    """slots from coarse to fine (cascade); those not named come after"""
    dropout: float = 0.1
    """share of a token's features that is left out while training"""


@dataclass(frozen=True, slots=True)
class Rows:
    """Slots in the order in which a net knows them; zeros where `present_EM` is false.
    `quality_EM` is log(1 + length): what an encoder is sure of, it says louder."""

    unit_EW: tuple[Tensor, ...]
    quality_EM: Tensor
    present_EM: Tensor

    def at(self, index_E: Tensor) -> "Rows":
        """Some of the rows."""
        return Rows(
            tuple(unit_EW[index_E] for unit_EW in self.unit_EW),
            self.quality_EM[index_E],
            self.present_EM[index_E],
        )

    def only(self, present_EM: Tensor) -> "Rows":
        """The same rows, with what this mask leaves of their slots."""
        present_EM = present_EM & self.present_EM
        units = tuple(
            torch.where(present_EM[:, m, None], unit_EW, 0.0)
            for m, unit_EW in enumerate(self.unit_EW)
        )
        return Rows(units, self.quality_EM * present_EM, present_EM)


def rows_of(columns: Sequence[SlotColumn], slots: Sequence[SlotSpec], *, rows: int) -> Rows:
    """Columns as a net wants them. A column of another width or encoder than was trained for
    is masked; one whose encoder is not said is believed. Never raises for what is absent."""
    units, qualities, presents = [], [], []
    for slot in slots:
        unit_EW = torch.zeros(rows, slot.width)
        length_E, present_E = torch.zeros(rows), torch.zeros(rows, dtype=torch.bool)
        for column in columns:
            told = column.encoder or slot.encoder
            fits = (column.name, column.vector_EW.shape[1], told)
            if fits != (slot.name, slot.width, slot.encoder or told):
                continue
            vector_EW = torch.where(
                column.present_E[:, None], column.vector_EW.float(), 0.0
            )
            here_E = column.present_E & (vector_EW != 0).any(dim=-1)
            unit_EW = torch.where(here_E[:, None], normalize(vector_EW, dim=-1), unit_EW)
            length_E = torch.where(here_E, vector_EW.norm(dim=-1), length_E)
            present_E = present_E | here_E
        units.append(unit_EW)
        qualities.append(torch.log1p(length_E))
        presents.append(present_E)
    if not units:
        return Rows((), torch.zeros(rows, 0), torch.zeros(rows, 0, dtype=torch.bool))
    return Rows(tuple(units), torch.stack(qualities, 1), torch.stack(presents, 1))


class Reduce(nn.Module):
    """Each slot centred and on its principal components, longest first, of length about one:
    far fewer numbers to learn from than an image encoder gives, fitted once, then fixed."""

    def __init__(self, slots: Sequence[SlotSpec], settings: NetSettings) -> None:
        super().__init__()
        self.widths = [
            min(slot.width, settings.components_slots.get(slot.name, settings.components))
            for slot in slots
        ]
        for m, (slot, width) in enumerate(zip(slots, self.widths, strict=True)):
            self.register_buffer(f"mean_{m}", torch.zeros(slot.width))
            self.register_buffer(f"basis_{m}", torch.eye(slot.width, width))

    def fit(self, rows: Rows) -> None:
        """Take means and components of these rows. A slot that none of them has, stays."""
        for m, unit_EW in enumerate(rows.unit_EW):
            here_EW = unit_EW[rows.present_EM[:, m]].double()
            if not len(here_EW):
                continue
            mean_W = here_EW.mean(dim=0)
            apart_EW = here_EW - mean_W
            _, vector_WW = torch.linalg.eigh(apart_EW.T @ apart_EW)
            basis_WR = vector_WW.flip(1)[:, : self.widths[m]]
            # of a component and its opposite the one whose largest entry is positive
            largest_R = basis_WR.gather(0, basis_WR.abs().argmax(dim=0, keepdim=True))
            basis_WR = basis_WR * torch.sign(largest_R)
            length = (apart_EW @ basis_WR).norm(dim=1).mean().clamp_min(1e-9)
            self.get_buffer(f"mean_{m}").copy_(mean_W)
            self.get_buffer(f"basis_{m}").copy_(basis_WR / length)

    def forward(self, rows: Rows) -> Rows:
        units = tuple(
            torch.where(
                rows.present_EM[:, m, None],
                (unit_EW - self.get_buffer(f"mean_{m}")) @ self.get_buffer(f"basis_{m}"),
                0.0,
            )
            for m, unit_EW in enumerate(rows.unit_EW)
        )
        return Rows(units, rows.quality_EM, rows.present_EM)


class Tokens(nn.Module):
    """Each slot projected: E x M x D, unit length, zero where absent. Begins as the seeded
    projection of `encoders/fusion.py`."""

    def __init__(self, slots: Sequence[SlotSpec], settings: NetSettings) -> None:
        super().__init__()
        self.maps = nn.ModuleList()
        for slot in slots:
            linear = nn.Linear(slot.width, settings.width)
            start_WD = projection(slot.name, slot.width, width=settings.width, seed=0)
            with torch.no_grad():
                linear.weight.copy_(start_WD.T)
                linear.bias.zero_()
            self.maps.append(linear)
        self.drop = nn.Dropout(settings.dropout)

    def forward(self, rows: Rows) -> Tensor:
        tokens = [
            linear(self.drop(unit_EW))
            for linear, unit_EW in zip(self.maps, rows.unit_EW, strict=True)
        ]
        token_EMD = normalize(torch.stack(tokens, dim=1), dim=-1)
        return torch.where(rows.present_EM[:, :, None], token_EMD, 0.0)


class Gates(nn.Module):
    """E x M that add up to one over what is present: how much of each slot is believed."""

    def __init__(self, slots: int, settings: NetSettings) -> None:
        super().__init__()
        self.said = nn.Linear(settings.width, 1)
        self.known = nn.Sequential(
            nn.Linear(2 * slots, settings.hidden),
            nn.GELU(),
            nn.Linear(settings.hidden, slots),
        )
        _begin_at_zero(self.said, self.known[-1])

    def forward(self, token_EMD: Tensor, rows: Rows) -> Tensor:
        known_EM = self.known(torch.cat([rows.quality_EM, rows.present_EM.float()], dim=1))
        logit_EM = self.said(token_EMD)[:, :, 0] + known_EM
        # a finite floor: a row without any slot is masked later, and must not be NaN till then
        return torch.softmax(logit_EM.masked_fill(~rows.present_EM, -1e9), dim=1)


class Weighted(nn.Module):
    """Tokens by learned gates, and a small correction by a net over their mean."""

    def __init__(self, slots: Sequence[SlotSpec], settings: NetSettings) -> None:
        super().__init__()
        self.tokens = Tokens(slots, settings)
        self.gates = Gates(len(slots), settings)

    def forward(self, rows: Rows) -> Tensor:
        token_EMD = self.tokens(rows)
        return _weighed(token_EMD, self.gates(token_EMD, rows))


class Adversarial(nn.Module):
    """As `Weighted`; while training, a discriminator pulls the modalities' spaces together by
    the gradient that it is refused."""

    def __init__(self, slots: Sequence[SlotSpec], settings: NetSettings) -> None:
        super().__init__()
        self.tokens = Tokens(slots, settings)
        self.gates = Gates(len(slots), settings)
        self.discriminator = nn.Sequential(
            nn.Linear(settings.width, settings.hidden),
            nn.GELU(),
            nn.Linear(settings.hidden, max(len(slots), 1)),
        )

    def forward(self, rows: Rows) -> Tensor:
        token_EMD = self.tokens(rows)
        return _weighed(token_EMD, self.gates(token_EMD, rows))

    def confusion(self, rows: Rows, *, strength: float) -> Tensor:
        """The discriminator's cross-entropy; the tokens learn its opposite, `strength` times."""
        token_EMD = self.tokens(rows)
        reversed_TD = _Reversed.apply(token_EMD[rows.present_EM], strength)
        modality_EM = torch.arange(rows.present_EM.shape[1]).expand_as(rows.present_EM)
        return nn.functional.cross_entropy(
            self.discriminator(reversed_TD), modality_EM[rows.present_EM]
        )


class Joint(nn.Module):
    """A summary token attends to the tokens of what is present; their mean stays beside it."""

    def __init__(self, slots: Sequence[SlotSpec], settings: NetSettings) -> None:
        super().__init__()
        self.tokens = Tokens(slots, settings)
        self.gates = Gates(len(slots), settings)
        self.kind_MD = nn.Parameter(0.1 * torch.randn(len(slots), settings.width))
        self.summary_D = nn.Parameter(0.1 * torch.randn(settings.width))
        layer = nn.TransformerEncoderLayer(
            settings.width,
            settings.heads,
            settings.hidden,
            dropout=settings.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.attention = nn.TransformerEncoder(
            layer, settings.layers, enable_nested_tensor=False
        )
        self.out = nn.Linear(settings.width, settings.width)
        _begin_at_zero(self.out)

    def forward(self, rows: Rows) -> Tensor:
        token_EMD = self.tokens(rows)
        summary_E1D = self.summary_D.expand(len(token_EMD), 1, -1)
        told_ELD = torch.cat([summary_E1D, token_EMD + self.kind_MD], dim=1)
        absent_EL = torch.cat(
            [rows.present_EM.new_zeros(len(token_EMD), 1), ~rows.present_EM], 1
        )
        seen_ED = self.attention(told_ELD, src_key_padding_mask=absent_EL)[:, 0]
        mean_ED = _weighed(token_EMD, self.gates(token_EMD, rows))
        output_ED: Tensor = mean_ED + self.out(seen_ED)
        return output_ED


class Cascade(nn.Module):
    """Coarse by the first slot, then refined: each next one adds what it knows, as far as what
    is there already lets it. The order is `settings.order`, then the slots'."""

    def __init__(self, slots: Sequence[SlotSpec], settings: NetSettings) -> None:
        super().__init__()
        self.tokens = Tokens(slots, settings)
        names = [slot.name for slot in slots]
        first = [names.index(name) for name in settings.order if name in names]
        self.order = first + [m for m in range(len(names)) if m not in first]
        self.gates = nn.ModuleList(nn.Linear(2 * settings.width + 1, 1) for _ in slots)
        self.refine = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * settings.width, settings.hidden),
                nn.GELU(),
                nn.Linear(settings.hidden, settings.width),
            )
            for _ in slots
        )
        _begin_at_zero(*self.gates, *(list(net.children())[-1] for net in self.refine))

    def forward(self, rows: Rows) -> Tensor:
        token_EMD = self.tokens(rows)
        coarse_ED = torch.zeros_like(token_EMD[:, 0])
        for m in self.order:
            gate, refine = self.gates[m], self.refine[m]
            both_ED = torch.cat([normalize(coarse_ED, dim=-1), token_EMD[:, m]], dim=1)
            open_E1 = 2 * torch.sigmoid(
                gate(torch.cat([both_ED, rows.quality_EM[:, m, None]], 1))
            )
            finer_ED = coarse_ED + open_E1 * (token_EMD[:, m] + refine(both_ED))
            coarse_ED = torch.where(rows.present_EM[:, m, None], finer_ED, coarse_ED)
        return coarse_ED


class Sample(nn.Module):
    """All raw features side by side into one net, with what is present as bits. The sum of
    the tokens stays beside it, and each missing slot has a stand-in that was learned."""

    def __init__(self, slots: Sequence[SlotSpec], settings: NetSettings) -> None:
        super().__init__()
        self.tokens = Tokens(slots, settings)
        self.missing = nn.ParameterList(nn.Parameter(torch.zeros(s.width)) for s in slots)
        total = sum(slot.width for slot in slots) + 2 * len(slots)
        self.net = nn.Sequential(
            nn.Linear(total, settings.hidden),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden, settings.width),
        )
        _begin_at_zero(self.net[-1])

    def forward(self, rows: Rows) -> Tensor:
        features = [
            torch.where(rows.present_EM[:, m, None], unit_EW, missing_W)
            for m, (unit_EW, missing_W) in enumerate(
                zip(rows.unit_EW, self.missing, strict=True)
            )
        ]
        raw_EF = torch.cat([*features, rows.quality_EM, rows.present_EM.float()], dim=1)
        output_ED: Tensor = self.tokens(rows).sum(dim=1) + self.net(raw_EF)
        return output_ED


class _Reversed(torch.autograd.Function):
    """Forward nothing, backward the opposite (Ganin 2015)."""

    @staticmethod
    def forward(ctx: Any, token_TD: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return token_TD.view_as(token_TD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def _weighed(token_EMD: Tensor, gate_EM: Tensor) -> Tensor:
    return (gate_EM[:, :, None] * token_EMD).sum(dim=1)


def _begin_at_zero(*layers: nn.Module) -> None:
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
