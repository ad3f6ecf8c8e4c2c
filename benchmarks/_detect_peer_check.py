"""Run by the peer's own interpreter: alibi-detect's statistics on given rows, and its random choices.

    python _detect_peer_check.py IN.npz OUT.npz WINDOW RUN_LENGTH BOOTSTRAPS

IN holds ``reference`` float32[n, d] and ``stream`` float32[t, d]. OUT gets the statistics, the orders that
``_detect_peers`` needs for the same choices, and the seconds taken. Imports nothing of driftline.
"""

from __future__ import annotations

import sys
import time

import numpy as np


def main() -> None:
    import alibi_detect
    import torch
    from alibi_detect.cd import LSDDDriftOnline, MMDDriftOnline

    source, target, window, run_length, bootstraps = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with np.load(source) as given:
        reference, stream = given["reference"], given["stream"]
    found: dict[str, object] = {"version": alibi_detect.__version__}
    for name, kind in (("mmd", MMDDriftOnline), ("lsdd", LSDDDriftOnline)):
        begun = time.process_time()
        peer = kind(
            reference, ert=run_length, window_size=window, backend="pytorch", n_bootstraps=bootstraps, verbose=False
        )
        inner = peer._detector
        found[f"{name}_configure_seconds"] = time.process_time() - begun
        begun = time.process_time()
        found[name] = np.array([inner.score(row) for row in stream])
        found[f"{name}_update_seconds"] = (time.process_time() - begun) / len(stream)
        known, first = inner.ref_inds.numpy(), inner.init_test_inds.numpy()
        if name == "mmd":
            found["mmd_order"] = _order(known, first, len(reference))
        else:
            centres, others = inner.c_inds.numpy(), inner.non_c_inds.numpy()
            found["lsdd_order"] = np.concatenate([centres, others[_order(known, first, len(others))]])
    np.savez(target, **found)


def _order(known: np.ndarray, first: np.ndarray, n: int) -> np.ndarray:
    """Known rows, the rest, then those that begin the window."""
    rest = np.setdiff1d(np.arange(n), np.concatenate([known, first]))
    return np.concatenate([known, rest, first])


if __name__ == "__main__":
    main()
