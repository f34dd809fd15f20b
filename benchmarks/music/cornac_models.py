"""Runs in an environment that has cornac: trains its models on pairs, and writes their scores.

    python cornac_models.py FOLDER EPOCHS     # reads FOLDER/log.npz, writes FOLDER/NAME.npy

Nothing of this repository is imported here.
"""

import sys
from pathlib import Path

import numpy as np


def main(folder: str, epochs: str) -> None:
    """Scores of all items for all users, float32 (U, I), of each model."""
    from cornac.data import Dataset, ImageModality
    from cornac.models import BPR, EASE, VBPR, ItemKNN

    log = np.load(Path(folder) / "log.npz")
    users, items = int(log["users"]), int(log["items"])
    # Each user and item once in the maps, whoever trains: numbers here are those of the log.
    uid_map = {str(n): n for n in range(users)}
    iid_map = {str(n): n for n in range(items)}
    pairs = [(str(u), str(i), 1.0) for u, i in zip(log["user"], log["item"], strict=True)]
    data = Dataset.build(pairs, global_uid_map=uid_map, global_iid_map=iid_map)
    images = ImageModality(features=log["x"], ids=[str(n) for n in range(items)], normalized=False)
    images.build(id_map=iid_map)
    data.add_modalities(item_image=images)
    common = {"verbose": False}
    models = {
        "ease": EASE(lamb=100, posB=False, **common),
        "item-knn": ItemKNN(k=items, similarity="cosine", **common),
        "bpr-mf": BPR(
            k=64, max_iter=int(epochs), learning_rate=0.05, lambda_reg=0.001, seed=0, **common
        ),
        "vbpr": VBPR(k=32, k2=32, n_epochs=int(epochs), batch_size=1024, seed=0, **common),
    }
    for name, model in models.items():
        try:
            model.fit(data)
            scores = np.stack([np.asarray(model.score(u)).reshape(-1) for u in range(users)])
        except ImportError as error:  # VBPR needs torch
            (Path(folder) / f"{name}.txt").write_text(str(error))
            continue
        np.save(Path(folder) / f"{name}.npy", scores.astype(np.float32))


if __name__ == "__main__":
    main(*sys.argv[1:])
