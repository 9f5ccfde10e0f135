"""Adversarial semi-supervised source separation (Stoller, Ewert and Dixon, ICASSP 2018)."""
