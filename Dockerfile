# One image for every service of ours; which one it is, its command says (docker-compose.yml).
FROM python:3.12-slim-bookworm AS build
WORKDIR /build
COPY requirements.lock requirements.image.lock ./
RUN pip install --no-cache-dir "$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.lock)" && python -m venv --without-pip /opt/venv
# Before the code, so that a change of code does not fetch the libraries again.
RUN uv pip sync --python /opt/venv/bin/python --require-hashes --no-cache --compile-bytecode requirements.image.lock
COPY pyproject.toml README.md LICENSE ./
COPY order_pipeline order_pipeline
# Also what builds the wheel comes from the lock.
RUN uv build --wheel --no-cache --build-constraints requirements.lock --require-hashes --out-dir /build/wheel \
 && uv pip install --python /opt/venv/bin/python --no-cache --no-deps --compile-bytecode /build/wheel/order_pipeline-*.whl

FROM python:3.12-slim-bookworm
# What LightGBM is linked against, and the slim image lacks.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
# A number, as Kubernetes cannot tell from a name that it is not root. The folder is where the volume is mounted.
RUN useradd --uid 10001 --create-home pipeline && install --directory --owner=10001 /app /app/.order_pipeline
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY dagster.yaml workspace.grpc.yaml ./
ENV PATH=/opt/venv/bin:$PATH DAGSTER_HOME=/app PYTHONUNBUFFERED=1
USER 10001
CMD ["order-pipeline", "--help"]
