# One image for workers, beat, Flower and the emulators. The command selects the process.
FROM python:3.11-slim AS build
# Google Cloud needs worker,monitor. The emulators need local.
ARG EXTRAS=worker,monitor
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/uv && python -m venv --without-pip /opt/promptmill \
    && grep -A 40 '^uv==' requirements.lock | sed '/^uv==/!{/^[a-z]/,$d}' > uv.lock \
    && /opt/uv/bin/pip install --no-cache-dir --require-hashes -r uv.lock
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY producers producers
COPY cli cli
COPY workers workers
COPY local local
COPY emulator emulator
# The lock file constrains the versions and hashes of the extras and of the build.
RUN /opt/uv/bin/uv pip install --no-cache --python /opt/promptmill/bin/python --compile-bytecode \
    --constraints requirements.lock --build-constraints requirements.lock ".[${EXTRAS}]"

FROM python:3.11-slim
COPY --from=build /opt/promptmill /opt/promptmill
ENV PATH=/opt/promptmill/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 promptmill \
    && mkdir /var/lib/promptmill && chown promptmill /var/lib/promptmill
USER promptmill
WORKDIR /home/promptmill
ENTRYPOINT ["promptmill"]
CMD ["--help"]
