# Two images: `bridge` is worker.py and the command line, `redis` the Redis beside it. docker-compose.yml builds both.
ARG PYTHON_IMAGE=python:3.12-slim
ARG REDIS_IMAGE=redis:8

FROM ${PYTHON_IMAGE} AS build
WORKDIR /app
# With LOCK=tracing it has the extra [otel]. Not otherwise: redis-py imports that SDK wherever it is, at a tenth of a
# second for each command.
ARG LOCK=
COPY requirements.runtime.lock requirements.tracing.lock ./
# An environment without pip: nothing can be installed into what runs.
RUN python -m venv --without-pip /opt/bridge \
    && pip --python /opt/bridge/bin/python install --no-cache-dir --disable-pip-version-check \
       --require-hashes --only-binary :all: -r "requirements.${LOCK:-runtime}.lock"
COPY bridge bridge
COPY worker.py ./
COPY config config
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# As in a checkout: the sources where they are, on the path of the environment, with the command beside them.
RUN /opt/bridge/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
      | while read -r packages; do echo /app > "$packages/bridge.pth"; done \
    && printf '#!/opt/bridge/bin/python\nfrom bridge.cli import main\n\nmain()\n' > /opt/bridge/bin/bridge \
    && chmod 755 /opt/bridge/bin/bridge \
    && /opt/bridge/bin/python -m compileall -q /opt/bridge/lib bridge worker.py

FROM ${PYTHON_IMAGE} AS bridge
LABEL org.opencontainers.image.title="Bridge" \
      org.opencontainers.image.description="Watches TwelveLabs tasks and POSTs signed change events to callback URLs" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/bridge/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
RUN groupadd --gid 10001 bridge && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin bridge
WORKDIR /app
COPY --from=build /opt/bridge /opt/bridge
COPY --from=build /app /app
USER 10001:10001
ENTRYPOINT ["bridge"]
CMD ["worker"]

FROM ${REDIS_IMAGE} AS redis
COPY config/redis.conf config/users.acl /etc/bridge/
COPY config/redis-start.sh /usr/local/bin/redis-start
# What is written here belongs to the group of the bridge's image: others can read no password.
RUN chmod 755 /usr/local/bin/redis-start && mkdir -p /run/bridge && chown 999:10001 /run/bridge && chmod 2750 /run/bridge
USER 999
ENTRYPOINT ["redis-start"]
CMD []
