"""A small npm package of icon sets, as `@iconify/json` lays them out."""

import json
from pathlib import Path
from typing import Any

import numpy as np

CONCEPTS = ["anchor", "bell", "cake", "drum", "fish", "gift", "harp", "iron"]
SETS = 12


def body(concept: int, one: int) -> str:
    """Eight bars at random places, others for each concept and set."""
    rng = np.random.default_rng([concept, one])
    bars = rng.uniform((0, 0, 2, 2), (16, 16, 8, 8), (8, 4)).round(2)
    return "".join(
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}"/>' for x, y, width, height in bars
    )


def write_package(folder: Path, **changes: Any) -> Path:
    """Twelve sets in the package's format; all draw the first four concepts, ten draw the rest."""
    (folder / "json").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"version": "9.9.9"}))
    for one in range(SETS):
        known = CONCEPTS if one < 10 else CONCEPTS[:4]
        content = {
            "prefix": f"set{one:02}",
            "info": {
                "name": f"Set {one}",
                "author": {"name": "Somebody", "url": "https://example.org"},
                "license": {"title": "MIT", "spdx": "MIT"},
                "version": "1.0.0",
                "category": "UI 24px",
                "palette": False,
            },
            "icons": {
                f"{name}-outline": {"body": body(place, one)} for place, name in enumerate(known)
            },
            "width": 24,
            "height": 24,
            **changes,
        }
        path = folder / "json" / f"set{one:02}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    return folder
