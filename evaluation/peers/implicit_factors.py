"""ALS (Hu, Koren, Volinsky 2008) or BPR (Rendle et al. 2009) by the library `implicit`.

    python implicit_factors.py IN.npz OUT.npz '{"model":"als","factors":64,...}'

IN: user_E, item_E, weight_E, shape. OUT: user (U x F) and item (I x F) factors.
"""

import json
import sys

import numpy as np


def main(source: str, target: str, settings: str) -> None:
    from implicit.als import AlternatingLeastSquares  # type: ignore[import-not-found]
    from implicit.bpr import BayesianPersonalizedRanking  # type: ignore[import-not-found]
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

    told = json.loads(settings)
    models = {"als": AlternatingLeastSquares, "bpr": BayesianPersonalizedRanking}
    with np.load(source) as log:
        touched_UI = csr_matrix(
            (log["weight_E"], (log["user_E"], log["item_E"])), shape=tuple(log["shape"])
        )
    model = models[told.pop("model")](num_threads=1, **told)
    model.fit(touched_UI, show_progress=False)
    np.savez(target, user=model.user_factors, item=model.item_factors)


if __name__ == "__main__":
    main(*sys.argv[1:])
