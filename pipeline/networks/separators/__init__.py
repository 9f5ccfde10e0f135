"""The separators, a file each; its name is the one that params.yaml gives."""
