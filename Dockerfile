# syntax=docker/dockerfile:1
# No root, no compiler in the image that runs. Build: docker build -t lbproxy .
# Run:  docker run --read-only --cap-drop ALL --security-opt no-new-privileges \
#         -p 8443:8443 -p 8080:8080 -v ./lbproxy.yaml:/etc/lbproxy/lbproxy.yaml:ro lbproxy

ARG PYTHON=3.13

FROM python:${PYTHON}-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Without debugging information: it is most of a compiled module.
ENV CFLAGS=-g0
COPY requirements-dev.lock ./
# The build's own requirements, pinned, so that the same source makes the same wheel.
RUN pip install --no-cache-dir -c requirements-dev.lock setuptools Cython
COPY LICENSE README.md pyproject.toml setup.py ./
COPY lbproxy ./lbproxy
RUN pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /wheels .
RUN python -m venv /opt/lbproxy \
    && /opt/lbproxy/bin/pip install --no-cache-dir -c requirements-dev.lock /wheels/lbproxy-*.whl \
    && /opt/lbproxy/bin/pip uninstall -y pip \
    && /opt/lbproxy/bin/lbproxy --version

FROM python:${PYTHON}-slim-bookworm
RUN useradd --system --uid 10001 --user-group --home-dir /nonexistent --shell /usr/sbin/nologin lbproxy
COPY --from=build /opt/lbproxy /opt/lbproxy
ENV PATH=/opt/lbproxy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Numbers, not names: an orchestrator can check that this is not root.
USER 10001:10001
WORKDIR /etc/lbproxy
# The ports of conf/; they are above 1024, so no capability is needed.
EXPOSE 8080 8443
# TERM drains and ends; give it longer than `timeouts.drain` (docker stop --time 40).
STOPSIGNAL SIGTERM
# Asks the admin API, which the configuration must open on loopback: admin: {bind: "127.0.0.1:9090"}
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9090/livez', timeout=2)"]
ENTRYPOINT ["lbproxy"]
CMD ["run", "-c", "/etc/lbproxy/lbproxy.yaml"]
