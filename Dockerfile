# Serves a model over HTTP. Build it here, then mount the artifact: see docs/serving.md and compose.yaml.
FROM python:3.11.13-slim-bookworm AS build

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
COPY setup.cfg setup.py pyproject.toml constraints.txt README.md LICENSE cryptoenv_rl.py ./
COPY synthetic synthetic
COPY cryptoenv cryptoenv
COPY pretrain pretrain
COPY agents agents
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir -c constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu ".[agents,serve]"

FROM python:3.11.13-slim-bookworm

# libgomp: of torch. A version of Debian's package is the base image's affair.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin cryptoenv
COPY --from=build /opt/venv /opt/venv
# The root is mounted read-only: what numba and matplotlib keep goes to a tmpfs.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/tmp/numba \
    CRYPTOENV_CACHE=/tmp/cryptoenv \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=2).read()"]
# SIGTERM is answered by draining. Beyond the container it listens only with a key: mount one, mode 600, at this path.
STOPSIGNAL SIGTERM
ENTRYPOINT ["cryptoenv", "serve"]
CMD ["/models/current", "--host", "0.0.0.0", "--port", "8000", "--keys", "/run/keys/serve"]
