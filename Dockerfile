# The STS and the gateway of compose.yaml. `docker build --target sts .` or `--target gateway`.

FROM rust:1.95-bookworm AS build
RUN rustup target add wasm32-unknown-unknown
WORKDIR /src
COPY . .
# The caches live beside the image, so that a changed line rebuilds its crate and no more; dist/ is
# what stays.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo xtask build

FROM debian:bookworm-slim AS sts
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/caracal --shell /usr/sbin/nologin caracal \
    && chmod 700 /var/lib/caracal \
    && install -d -o caracal -m 700 /run/caracal
COPY --from=build /src/dist/caracal /usr/local/bin/caracal
USER caracal
# Database, sealing key and admin token. Losing it means new zones and new secrets.
ENV CARACAL_DATA_DIR=/var/lib/caracal
VOLUME /var/lib/caracal
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --start-interval=1s \
    CMD ["caracal", "health", "--url", "http://127.0.0.1:8080"]
ENTRYPOINT ["caracal"]
CMD ["serve", "--listen", "0.0.0.0:8080"]

FROM envoyproxy/envoy:v1.40.0 AS gateway
WORKDIR /etc/caracal
COPY --from=build /src/dist/caracal.wasm dist/caracal.wasm
COPY envoy.yaml .
# The same configuration with a container's addresses: reachable from outside, and the STS by its
# name. Envoy's admin interface stays on the container's loopback.
RUN chmod 644 dist/caracal.wasm \
    && sed -i \
        -e 's/address: 127.0.0.1, port_value: 8081/address: 0.0.0.0, port_value: 8081/' \
        -e 's/address: 127.0.0.1, port_value: 8080/address: sts, port_value: 8080/' \
        envoy.yaml \
    && grep -q 'address: 0.0.0.0, port_value: 8081' envoy.yaml \
    && grep -q 'address: sts, port_value: 8080' envoy.yaml
EXPOSE 8081
CMD ["envoy", "-c", "envoy.yaml", "--log-level", "warning", "--component-log-level", "wasm:info"]
