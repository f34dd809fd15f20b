"""`ls data` and `data get` with images that have masks."""

import numpy as np


def masks(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    x = np.zeros((4, 6, 6), np.uint8)
    y = np.arange(x.size, dtype=np.uint8).reshape(x.shape) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)


def test_ls_data_lists_masks_apart_from_rows_wherever_they_are(cli, tmp_path, monkeypatch):
    masks(tmp_path / "mine.npz")
    masks(tmp_path / "segmentation" / "cells.npz")
    monkeypatch.setenv("PEERLEARN_DATA", str(tmp_path))
    others, listed = cli("ls", "data").out.split("for styles-segment\n")
    for name in ("digits-scenes", "mine", "cells"):
        assert f"\n{name} " in listed
        assert f"\n{name} " not in others
    assert str(tmp_path / "segmentation" / "cells.npz") in listed
    assert "1×48×48" in listed


def test_data_get_finds_masks(cli, tmp_path):
    masks(tmp_path / "segmentation" / "cells.npz")
    said = cli("data", "get", "cells", "--root", tmp_path)
    assert said == (0, f"{tmp_path / 'segmentation' / 'cells.npz'}\n", "")
    refused = cli("data", "get", "digits-scenes")
    assert refused.status == 2
    assert "there is nothing to download" in refused.err
