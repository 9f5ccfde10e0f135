"""An hour of accidents: `make campaign` kills, damages and starves the pipeline, and counts."""
