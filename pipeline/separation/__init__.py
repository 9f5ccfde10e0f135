"""A trained model applied to recordings."""

from pipeline.separation.separator import Separator as Separator
