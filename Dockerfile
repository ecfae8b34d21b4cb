FROM rust:1.95-slim-bookworm AS build
# The allocator is built with it.
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# A static binary needs glibc's own resolver only: files and DNS are built in since glibc 2.34. With an explicit
# target the flags do not reach build scripts and proc macros, which cannot be static.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    set -eu; \
    target=$(rustc -vV | sed -n 's/^host: //p'); \
    RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --bin pingbox --target "$target"; \
    mkdir -p /out/data; \
    cp "target/$target/release/pingbox" /out/pingbox

FROM scratch
LABEL org.opencontainers.image.title="pingbox" \
      org.opencontainers.image.licenses="MIT"
# `multi on`: a name with several lines in /etc/hosts has several addresses.
COPY --from=build /etc/host.conf /etc/host.conf
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build /out/pingbox /pingbox

USER 65532:65532
# Also where SQLite puts its temporary files: with a read-only root nothing else is writable.
WORKDIR /data
VOLUME /data
ENV PINGBOX_DATA__DIR=/data \
    PINGBOX_PUBLIC__LISTEN=0.0.0.0:8080 \
    PINGBOX_API__LISTEN=0.0.0.0:8081
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["/pingbox", "healthcheck"]
ENTRYPOINT ["/pingbox"]
CMD ["serve"]
