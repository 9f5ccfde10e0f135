"""The scores: SDR, SIR and SAR of every source of every test track."""
