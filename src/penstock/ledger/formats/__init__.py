"""How facts are written: epoch records as JSON, state segments as checked files of Arrow parts. See docs/formats.md."""

from __future__ import annotations
