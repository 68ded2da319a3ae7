# One worker, on a GPU when the container has one. From the top of the repository:
#   docker build -f deploy/containers/atelier-worker.Dockerfile -t atelier-worker .
#   docker run --gpus device=0 -e ATELIER_JOIN_TOKEN -v ~/ComfyUI/models:/models:ro -v atelier-worker:/var/lib/atelier-worker \
#     atelier-worker --master HOST:50188 --models /models
# with the token that `atelier-master token` printed in ATELIER_JOIN_TOKEN.
FROM debian:12.12-slim AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Libraries of a GPU machine (2 GB more) unless told otherwise: --build-arg GPU=--no-gpu
ARG GPU=--gpu
ENV ATELIER_TORCH_ROOT=/opt/torch
WORKDIR /src
COPY deploy/ deploy/
RUN apt-get update \
 && apt-get install -y --no-install-recommends patchelf \
 && rm -rf /var/lib/apt/lists/* \
 && deploy/deps "$GPU"
COPY . .
RUN deploy/build release atelier atelier-master atelier-worker \
 && deploy/package

FROM debian:12.12-slim
COPY --from=build /src/build/packages/ /tmp/packages/
RUN groupadd --gid 1000 atelier-worker \
 && useradd --uid 1000 --gid 1000 --home-dir /var/lib/atelier-worker --shell /usr/sbin/nologin atelier-worker \
 && apt-get update \
 && apt-get install -y --no-install-recommends /tmp/packages/atelier-worker_*.deb \
 && rm -rf /var/lib/apt/lists/* /tmp/packages
COPY --from=build /opt/torch/torch/lib/ /usr/lib/atelier/torch/torch/lib/
COPY --from=build /opt/torch/nvidia/ /usr/lib/atelier/torch/nvidia/
# What the NVIDIA container runtime brings in.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /var/lib/atelier-worker
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/atelier-worker", "--health-listen", "127.0.0.1:50190", "--log-format", "json"]
