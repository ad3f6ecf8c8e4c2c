"""Drift of embeddings and of image-text agreement against a reference."""

from detectors.drift.agreement import AgreementReference
from detectors.drift.embedding import EmbeddingReference
from detectors.drift.scan import OnsetRow, Scan, Scanned
from detectors.drift.scan_reference import ScanReference

__all__ = ["AgreementReference", "EmbeddingReference", "OnsetRow", "Scan", "ScanReference", "Scanned"]
