"""Scenes in, embeddings, few-shot maps and similar places out, as files that a GIS opens."""

from rs_otl.geo.embedding import embed
from rs_otl.geo.encoder import TileEncoder

__all__ = ["TileEncoder", "embed"]
