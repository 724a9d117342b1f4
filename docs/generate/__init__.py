"""What in docs/ comes out of code: `python -m docs.generate` writes it, tests/docs holds it to the code."""

from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
