# The operator. It never contains torch.
#
#   docker build -t dtj-operator:0.1.0 .
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}

# Bytecode is compiled here, since user 1000 could not keep it and each pod would compile it anew.
ENV UV_PROJECT_ENVIRONMENT=/opt/dtj \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_PYTHON_DOWNLOADS=never \
    PATH=/opt/dtj/bin:$PATH \
    PYTHONUNBUFFERED=1
RUN useradd --uid 1000 --create-home dtj
WORKDIR /usr/src/dtj

# What we depend on is a layer below our code: a change of code leaves it alone.
COPY tools/docker pyproject.toml uv.lock ./
RUN ./uv-sync --extra operator --no-install-project

COPY LICENSE README.md ./
COPY operator operator
COPY trainer_image trainer_image
# The project is always built from these files: uv by itself takes a wheel that it made while pyproject.toml was the same.
RUN ./uv-sync --extra operator --no-editable --reinstall-package dtj

WORKDIR /home/dtj
USER 1000
ENTRYPOINT ["dtj-operator"]
CMD ["run"]
