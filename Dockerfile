# The experiment in a container: docs/container.md. Needs BuildKit, which current engines use by default.
# CUDA comes with the pinned packages, so a slim Python image is base enough for GPU and CPU alike.
ARG BASE=python:3.11-slim-bookworm

# ------------------------------------------------------------------ the installer; it stays behind
FROM ${BASE} AS installer
RUN --mount=type=bind,source=requirements/bootstrap.txt,target=/run/bootstrap.txt \
    --mount=type=secret,id=package-index \
    if [ -s /run/secrets/package-index ]; then PIP_INDEX_URL=$(cat /run/secrets/package-index); export PIP_INDEX_URL; fi \
    && python -m venv /opt/installer \
    && /opt/installer/bin/pip install --quiet --no-cache-dir --disable-pip-version-check \
       --require-hashes -r /run/bootstrap.txt

# ------------------------------------------------------------------------------------- the image
FROM ${BASE}
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log

# DVC and git refuse a checkout of another owner, and libgit2 reads this from files only. The second
# line is for versions of it that do not know the first.
RUN git config --system --add safe.directory '*' \
    && git config --system --add safe.directory /experiment \
    && useradd --uid 1000 --user-group --create-home --shell /bin/bash experiment

# The requirements are a layer of their own. The installer and its cache are mounted: neither stays, and
# the packages are written once.
RUN --mount=type=bind,from=installer,source=/opt/installer,target=/run/installer \
    --mount=type=bind,source=requirements/runtime.txt,target=/run/runtime.txt \
    --mount=type=cache,target=/run/uv-cache \
    --mount=type=tmpfs,target=/tmp \
    --mount=type=secret,id=package-index \
    if [ -s /run/secrets/package-index ]; then UV_DEFAULT_INDEX=$(cat /run/secrets/package-index); export UV_DEFAULT_INDEX; fi \
    && python -m venv --without-pip /opt/venv \
    && UV_LINK_MODE=copy /run/installer/bin/uv pip install --quiet --cache-dir /run/uv-cache \
       --compile-bytecode --require-hashes --python /opt/venv/bin/python -r /run/runtime.txt \
    && rm -f /opt/venv/.lock

ENV PATH=/opt/venv/bin:$PATH \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    DVC_NO_ANALYTICS=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# NVIDIA_VISIBLE_DEVICES is left to `--gpus`: so the entry point knows whether a GPU was asked for.

# The code comes last. A checkout mounted at /experiment goes before it.
WORKDIR /opt/adversarial-separation
COPY --chmod=755 pipeline pipeline
COPY --chmod=755 stages stages
COPY --chmod=755 networks networks
COPY --chmod=755 container container
RUN pwd > "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/experiment.pth"

WORKDIR /experiment
USER experiment
HEALTHCHECK --interval=60s --timeout=10s CMD ["/opt/venv/bin/python", "-I", "-m", "container", "health"]
# -I: what is mounted cannot stand in for the entry point.
ENTRYPOINT ["/opt/venv/bin/python", "-I", "-m", "container"]
CMD ["dvc", "repro"]
