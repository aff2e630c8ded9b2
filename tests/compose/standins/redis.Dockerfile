# Redis from Debian, to stand in for the public `redis` image where it cannot be had: same user and folder.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends redis-server >/dev/null \
    && rm -rf /var/lib/apt/lists/* && install -d -o redis -g redis -m 0700 /data
WORKDIR /data
USER redis
CMD ["redis-server"]
