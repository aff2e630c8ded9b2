# Python from Debian, to stand in for the public `python:3.11-slim` image where it cannot be had.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends python3.11 python3.11-venv ca-certificates \
    >/dev/null && rm -rf /var/lib/apt/lists/*
