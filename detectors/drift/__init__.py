"""Drift of embeddings and of image-text agreement against a reference."""

from detectors.drift.agreement import AgreementReference
from detectors.drift.embedding import EmbeddingReference

__all__ = ["AgreementReference", "EmbeddingReference"]
