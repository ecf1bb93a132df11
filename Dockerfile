# The service and its command line, on a CPU.
#
#   docker build -t circumplex .
#   docker run --rm -v circumplex:/home/circumplex/data circumplex demo --no-serve
#   docker run --rm -v circumplex:/home/circumplex/data -p 127.0.0.1:8000:8000 circumplex

FROM python:3.11-slim AS build

# The CPU wheel index of PyTorch, if your pip would fetch a CUDA build (some gigabytes more):
#   docker build --build-arg PIP_EXTRA_INDEX_URL=... -t circumplex .
# pip reads the variable of this name by itself.
ARG PIP_EXTRA_INDEX_URL=""

RUN python -m venv /opt/circumplex
ENV PATH=/opt/circumplex/bin:$PATH
WORKDIR /source

# What the project depends on, before its own code: a layer that outlives changes of the code.
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
RUN pip install --no-cache-dir -c constraints.txt ".[cpu,postgres]"

COPY models models
COPY training training
COPY service service
COPY migrations migrations
COPY cli cli
COPY bench bench
RUN pip install --no-cache-dir --no-deps --force-reinstall .


FROM python:3.11-slim

# 1000 is the first user of most Linux machines, so that a mounted home folder is writable as it is.
RUN useradd --uid 1000 --create-home circumplex \
    && install --directory --owner=circumplex --group=circumplex /home/circumplex/data

COPY --from=build /opt/circumplex /opt/circumplex

# Everything that is ever written lies in the volume; the rest may be mounted read-only.
ENV PATH=/opt/circumplex/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CIRCUMPLEX_HOME=/home/circumplex/data \
    CIRCUMPLEX_CACHE=/home/circumplex/data/cache
VOLUME /home/circumplex/data
WORKDIR /home/circumplex
USER 1000:1000

EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["circumplex"]
CMD ["serve", "--host", "0.0.0.0"]
