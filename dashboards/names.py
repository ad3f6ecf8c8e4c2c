"""Names that stay: links, provisioning and everything pushed rely on them."""

from __future__ import annotations

from typing import Final

FOLDER_UID: Final = "driftline"
FOLDER_TITLE: Final = "driftline"
DATASOURCE_UID: Final = "driftline-prometheus"
