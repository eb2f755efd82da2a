# syntax=docker/dockerfile:1
# The command `oneforall` with its shipped configs.
#
#   docker build -t oneforall .                               for a CPU
#   docker build -t oneforall --build-arg DEVICE=cuda .       for NVIDIA GPUs: run it with --gpus all
#
# Data and runs are in /work, which is meant to be a folder of yours: 
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" oneforall fit ...
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

# cpu: the smaller wheels of torch's own index. cuda: those of PyPI, which bring their CUDA libraries with them
ARG DEVICE=cpu
# Extras of pyproject.toml, separated by commas
ARG EXTRAS=report,sentencepiece,tensorboard,wandb

WORKDIR /src
RUN if [ "$DEVICE" = cpu ]; then \
        pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu; \
    fi
COPY . .
RUN pip install --no-cache-dir ".[${EXTRAS}]" && rm -rf /src/*

# A user without rights on the host; `--user` lets it write into your folder, and makes the runs yours
RUN useradd --create-home oneforall && mkdir /work && chown oneforall /work
USER oneforall
WORKDIR /work
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib

# Ctrl-C and `docker stop` reach the program, which saves before it ends
STOPSIGNAL SIGTERM
ENTRYPOINT ["oneforall"]
CMD ["--help"]
