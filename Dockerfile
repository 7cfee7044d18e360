# camixersr as a service: the page and the HTTP interface on port 8000.
#
#   docker build -t camixersr .
#   docker run -p 8000:8000 -v camixersr:/data -v ./tokens:/run/secrets/tokens:ro camixersr
#
# Others than this machine need a token: /run/secrets/tokens has one a line, of 16 characters or more.
# Any other command works, too:
#
#   docker run --rm -v "$PWD:/work" -w /work --user "$(id -u):$(id -g)" camixersr upscale photo.jpg

FROM python:3.11.14-slim-bookworm AS build
# the compiler makes the native core; it stays in this stage
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python -m venv /opt/camixersr
COPY constraints.txt ./
COPY pyproject.toml hatch_build.py README.md LICENSE NOTICE ./
COPY src ./src
# for GPUs and others' checkpoints: --build-arg EXTRAS=serve,research (PyTorch, some gigabytes)
ARG EXTRAS=serve
RUN /opt/camixersr/bin/pip install --no-cache-dir --constraint constraints.txt ".[$EXTRAS]"

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/camixersr /opt/camixersr
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin camixersr \
    && install --directory --owner=camixersr --group=camixersr /data
ENV PATH=/opt/camixersr/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CAMIXERSR_CACHE=/data/cache \
    CAMIXERSR_CONFIG=off
USER 10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["camixersr"]
CMD ["serve", "--host", "0.0.0.0", "--data", "/data/service", "--token-file", "/run/secrets/tokens"]
