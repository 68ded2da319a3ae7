# The master with the atelier command. From the top of the repository:
#   docker build -f deploy/containers/atelier-master.Dockerfile -t atelier-master .
#   docker run -p 127.0.0.1:50188:50188 -v atelier-state:/var/lib/atelier atelier-master
FROM debian:12.12-slim AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
COPY deploy/debian-packages.txt deploy/debian-packages.txt
RUN apt-get update \
 && sed -e '/^# checks/,$d' -e 's/#.*//' deploy/debian-packages.txt | xargs apt-get install -y --no-install-recommends \
 && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DATELIER_TORCH=OFF -DATELIER_TESTS=OFF \
 && cmake --build build --target atelier atelier-master \
 && deploy/package

FROM debian:12.12-slim
COPY --from=build /src/build/packages/ /tmp/packages/
# The user has a number that manifests can name; the package brings folders and settings.
RUN groupadd --gid 1000 atelier \
 && useradd --uid 1000 --gid 1000 --home-dir /var/lib/atelier --shell /usr/sbin/nologin atelier \
 && apt-get update \
 && apt-get install -y --no-install-recommends /tmp/packages/atelier-master_*.deb \
 && rm -rf /var/lib/apt/lists/* /tmp/packages
USER 1000:1000
WORKDIR /var/lib/atelier
VOLUME /var/lib/atelier
EXPOSE 50188 50189
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/atelier-master", "--config", "/etc/atelier/cluster.yaml"]
