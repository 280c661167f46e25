"""Writes the pickles beside this file with torch itself. Run it where torch is installed."""

from __future__ import annotations

from pathlib import Path

import torch

_HERE = Path(__file__).parent


def main() -> None:
    weights = {"w": torch.zeros(8, 8, dtype=torch.bfloat16), "b": torch.zeros(4)}
    torch.save(weights, _HERE / "weights.bin")
    torch.save(weights, _HERE / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(3, 3), _HERE / "module.bin")


if __name__ == "__main__":
    main()
