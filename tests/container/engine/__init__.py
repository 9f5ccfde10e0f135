"""The image on a real engine: `make docker-test`. Not part of `make test`, which needs no engine."""
