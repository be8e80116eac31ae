# The operator's image. The sandbox and its emulators are not in it.
#
#   docker build --tag REGISTRY/gilder:0.1.0 .

FROM python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b AS build

WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/gilder
COPY requirements-runtime.lock ./
RUN pip --python /opt/gilder/bin/python install --require-hashes --only-binary :all: \
      -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator/ operator/
RUN pip --python /opt/gilder/bin/python install --no-deps . \
    && rm -r /opt/gilder/lib/python3.11/site-packages/gilder/sandbox \
    && /opt/gilder/bin/python -m compileall -q /opt/gilder/lib

FROM python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b

# The base image's own pip is of no use here.
RUN python -m pip uninstall --yes --quiet --root-user-action ignore pip setuptools wheel
COPY --from=build /opt/gilder /opt/gilder
# Nothing is written to the file system, so it may be read-only. Two dozen threads would each get a heap
# of their own from the C library, and keep what they once needed.
ENV PATH=/opt/gilder/bin:$PATH \
    MALLOC_ARENA_MAX=2 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["gilder"]
CMD ["run"]
