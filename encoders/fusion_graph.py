"""Fusion over a graph: an item's own tokens, and what its neighbours have come to.

Nodes are the items of the training and, through them, their slots: edges join items that the
same people touched, and items that are alike in a slot. Vectors are propagated over them
without weights or activation, and the layers averaged (LightGCN, He 2020). What the nodes have
come to is stored in the model: a new item looks up the nodes nearest to it in each slot it
has, so its row is a function of its own content and of the model, and costs nobody a graph.

Shapes:  E = rows,  N = nodes,  M = slots,  K = neighbours by a slot,  D = fused width
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from encoders.fusion_nets import Gates, NetSettings, Rows, SlotSpec, Tokens

ITSELF = 0.999
"""Cosine from which on a node is the item itself."""


class Graph(nn.Module):
    """Own tokens by gates, plus the neighbours' propagated vectors by likeness."""

    def __init__(
        self, slots: Sequence[SlotSpec], settings: NetSettings, *, nodes: int = 0
    ) -> None:
        super().__init__()
        self.slots, self.layers, self.neighbours = (
            slots,
            settings.layers,
            settings.neighbours,
        )
        self.tokens = Tokens(slots, settings)
        self.gates = Gates(len(slots), settings)
        self.sharpness_M = nn.Parameter(torch.full((len(slots),), 10.0))
        self.share_M = nn.Parameter(torch.zeros(len(slots)))
        self.register_buffer("node_ND", torch.zeros(nodes, settings.width))
        self.register_buffer("here_NM", torch.zeros(nodes, len(slots), dtype=torch.bool))
        for m, slot in enumerate(slots):
            sketch_NW = torch.zeros(nodes, slot.width, dtype=torch.half)
            self.register_buffer(f"sketch_{m}", sketch_NW)

    def fit(self, rows: Rows, edge_2P: Tensor, weight_P: Tensor) -> Tensor:
        """Make these rows the nodes, and give the graph of them: N x N, sparse, normalised
        by both ends' degrees. Edges: `edge_2P`, and likeness in each slot."""
        self.get_buffer("here_NM").copy_(rows.present_EM)
        edges, weights = [edge_2P, edge_2P.flip(0)], [weight_P, weight_P]
        for m in range(len(self.slots)):
            self.get_buffer(f"sketch_{m}").copy_(normalize(rows.unit_EW[m], dim=-1).half())
            near_EK, cosine_EK = self._near(
                m, rows, hide_E=torch.ones(len(rows.present_EM)).bool()
            )
            row_EK = torch.arange(len(near_EK))[:, None].expand_as(near_EK)
            alike = cosine_EK > 0
            edges.append(torch.stack([row_EK[alike], near_EK[alike]]))
            weights.append(cosine_EK[alike] / (self.neighbours * len(self.slots)))
        size = len(rows.present_EM)
        graph_NN = torch.sparse_coo_tensor(
            torch.cat(edges, 1), torch.cat(weights), (size, size), check_invariants=True
        ).coalesce()
        degree_N = torch.sparse.sum(graph_NN, dim=1).to_dense().clamp_min(1e-9).rsqrt()
        a_P, b_P = graph_NN.indices()
        even_P = graph_NN.values() * degree_N[a_P] * degree_N[b_P]
        return torch.sparse_coo_tensor(
            graph_NN.indices(), even_P, (size, size), check_invariants=True
        ).coalesce()

    def propagate(self, rows: Rows, graph_NN: Tensor) -> Tensor:
        """N x D: what the nodes come to, after so many layers as there are."""
        layer_ND = self._own(rows)
        total_ND = layer_ND
        for _ in range(self.layers):
            layer_ND = torch.sparse.mm(graph_NN, layer_ND)
            total_ND = total_ND + layer_ND
        return normalize(total_ND, dim=-1)

    def settle(self, rows: Rows, graph_NN: Tensor) -> None:
        """Keep what the nodes have come to: from here on the graph itself is not needed."""
        with torch.no_grad():
            self.get_buffer("node_ND").copy_(self.propagate(rows, graph_NN))

    def forward(
        self, rows: Rows, node_ND: Tensor | None = None, hide_E: Tensor | None = None
    ) -> Tensor:
        """`node_ND`: where the nodes are while they still move. `hide_E`: rows that must do
        without themselves, as a new item has to."""
        node_ND = self.get_buffer("node_ND") if node_ND is None else node_ND
        total_ED, share_EM = self._own(rows), torch.sigmoid(self.share_M) * rows.present_EM
        for m in range(len(self.slots) if len(node_ND) else 0):
            near_EK, cosine_EK = self._near(m, rows, hide_E=hide_E)
            sharp_EK = torch.softmax(cosine_EK * self.sharpness_M[m], dim=1)
            told_ED = (sharp_EK[:, :, None] * node_ND[near_EK]).sum(dim=1)
            total_ED = total_ED + share_EM[:, m, None] * told_ED
        return total_ED

    def _own(self, rows: Rows) -> Tensor:
        token_EMD = self.tokens(rows)
        gate_EM: Tensor = self.gates(token_EMD, rows)
        own_ED: Tensor = (gate_EM[:, :, None] * token_EMD).sum(dim=1)
        return own_ED

    def _near(self, m: int, rows: Rows, *, hide_E: Tensor | None) -> tuple[Tensor, Tensor]:
        """E x K, twice: the nearest nodes by one slot, and their cosines (far below any where
        there are not so many)."""
        with torch.no_grad():
            unit_EW = normalize(rows.unit_EW[m], dim=-1)
            cosine_EN = unit_EW @ self.get_buffer(f"sketch_{m}").float().T
            cosine_EN.masked_fill_(~self.get_buffer("here_NM")[:, m], -10.0)
            if hide_E is not None:
                cosine_EN.masked_fill_((cosine_EN > ITSELF) & hide_E[:, None], -10.0)
            best = cosine_EN.topk(min(self.neighbours, cosine_EN.shape[1]), dim=1)
        return best.indices, best.values
