"""The stages: thin commands that read parameters, call pipeline/ and write. No DVC needed."""
