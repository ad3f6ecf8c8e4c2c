# driftline in a container: `docker build -t driftline .`; for open_clip encoders add --build-arg EXTRAS=clip
FROM python:3.11.14-slim-bookworm AS build
ARG EXTRAS=""
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY monitor monitor
COPY detectors detectors
COPY samplers samplers
COPY alerts alerts
COPY dashboards dashboards
RUN python -m venv /opt/driftline \
 && /opt/driftline/bin/pip install --no-cache-dir -c constraints.txt ".${EXTRAS:+[$EXTRAS]}"

FROM python:3.11.14-slim-bookworm
RUN useradd --uid 10001 --create-home driftline && mkdir -p /data /shared && chown driftline /data /shared
COPY --from=build /opt/driftline /opt/driftline
ENV PATH=/opt/driftline/bin:$PATH PYTHONUNBUFFERED=1
USER driftline
WORKDIR /data
VOLUME /data
EXPOSE 8420
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8420/healthz', timeout=4)"]
ENTRYPOINT ["driftline"]
CMD ["run", "--config", "/etc/driftline/driftline.yaml"]
