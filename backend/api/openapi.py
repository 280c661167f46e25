"""`python -m backend.api.openapi [FILE]` writes the description of the API."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from litestar.serialization import decode_json, encode_json

from backend.api.app import create_api
from backend.api.description import description

FILE = Path(__file__).resolve().parents[2] / "frontend" / "openapi.json"


def document() -> str:
    """The OpenAPI document, as it is committed."""
    schema = decode_json(encode_json(description(create_api()).to_schema()))
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else FILE).write_text(document())
