# The image of the service: `make image`, or
#     docker build --build-arg REVISION="$(git rev-parse HEAD)" -t credit_risk_model_service:0.4.0 .
# Docker, Buildah and Podman build it alike. All stages start from the same base, so that what one installs runs in the
# others. With `--target scoring` (`make scoring-image`) it is the image that scores files. A tag can be moved, a digest
# can't: BASE_IMAGE=python:3.11-slim-bookworm@sha256:... pins the base.
ARG BASE_IMAGE=python:3.11-slim-bookworm


FROM ${BASE_IMAGE} AS build

WORKDIR /service
COPY service_requirements.txt ./

# The requirements are pinned to the last package, so nothing is resolved here (--no-deps), and what is fetched must have
# one of the SHA-256 digests below the package's name; awk takes an entry with the lines below it. NumPy, SciPy and
# narwhals stand among them because LightGBM's Python package needs them; the service calls LightGBM's compiled library
# without that package (credit_risk_model/booster.py), so they stay out, and with them some 220 MB. Byte code is compiled
# here, since the root filesystem is read-only later; it is valid unchecked, whatever times a builder gives the files.
RUN awk '/^[a-z]/ { kept = !/^(numpy|scipy|narwhals)==/ } kept' service_requirements.txt > image_requirements.txt \
    && python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --no-compile \
        --no-deps --target packages --require-hashes --requirement image_requirements.txt \
    && rm -rf packages/bin

COPY configuration configuration
COPY credit_risk_model credit_risk_model
# Service and scoring stand aside, each for its own image.
RUN python -m compileall -q --invalidation-mode unchecked-hash packages credit_risk_model \
    && mv credit_risk_model/service credit_risk_model/scoring . \
    && chmod -R a+rX .


# What reads and writes files of loans, by the same pins as everywhere; without the HTTP server, and without the tests and C
# headers of Arrow.
FROM build AS scoring-build

COPY scoring_requirements.txt ./
RUN awk '/^[a-z]/ { kept = !/^(scipy|narwhals)==/ } kept' scoring_requirements.txt > image_requirements.txt \
    && python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --no-compile \
        --no-deps --target scoring_packages --require-hashes --requirement image_requirements.txt \
    && rm -rf scoring_packages/bin scoring_packages/pyarrow/include scoring_packages/pyarrow/tests \
    && python -m compileall -q --invalidation-mode unchecked-hash scoring_packages \
    && chmod -R a+rX .


# What both images have.
FROM ${BASE_IMAGE} AS runtime

# LightGBM's library is linked with GCC's OpenMP runtime, which slim images lack. The public Python images come without
# the standard library's byte code; where it is there, compileall leaves it alone. What the service never imports, some
# of it broken on purpose, stays as it is. pip goes, by whichever way it came (Debian's package or the public image's own
# build, which has its packages in a folder that nothing else uses), and so do the bits that let a program run as root.
# What caches and logs hold differs with every build.
# hadolint ignore=DL3008  # Debian's archive keeps one version only, the one with the security fixes
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && apt-get purge --yes --auto-remove python3-pip \
    && standard="$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && added="$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    && rm -rf "${standard:?}/ensurepip" "${added:?}"/* /usr/local/bin/pip* /usr/local/bin/wheel \
    && python -m compileall -q -x '/(site-packages|dist-packages|idlelib|lib2to3|test|turtledemo)/' "$standard" \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/cache/ldconfig/* /var/log/*

WORKDIR /service
COPY --from=build /service/configuration configuration
COPY --from=build /service/credit_risk_model credit_risk_model
COPY LICENSE ./

# HOME: the user has no entry in /etc/passwd, and /tmp is the only place that it may write to.
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/service:/service/packages \
    PYTHONUNBUFFERED=1 \
    REST_CONFIG=/service/configuration/rest_configuration.yaml

USER 10001:10001

ARG BASE_IMAGE
ARG BUILD_DATE=1970-01-01T00:00:00Z
ARG REVISION=""
ARG SOURCE_URL=""
ARG VERSION=0.4.0
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.created="${BUILD_DATE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="${SOURCE_URL}"


FROM runtime AS scoring

COPY --from=scoring-build /service/scoring_packages packages
COPY --from=scoring-build /service/scoring credit_risk_model/scoring
LABEL org.opencontainers.image.title="Credit Risk Model Scoring" \
      org.opencontainers.image.description="Scores files of running loans, whole or in shards."

# An image that lacks a package for it is not built.
RUN python -m credit_risk_model.scoring --help > /dev/null
CMD ["python", "-m", "credit_risk_model.scoring", "--help"]


# The last stage is what is built where none is asked for.
FROM runtime AS service

COPY --from=build /service/packages packages
COPY --from=build /service/service credit_risk_model/service
LABEL org.opencontainers.image.title="Credit Risk Model Service" \
      org.opencontainers.image.description="Predicts whether a running loan is risky as it stands now."

# An image that can't load the archive that it is configured for is not built.
RUN python -c 'import os, yaml; from rest_model_service import configuration, helpers; \
        settings = configuration.ServiceConfiguration(**yaml.safe_load(open(os.environ["REST_CONFIG"]))); \
        helpers.create_app(settings, wait_for_model_creation=True)'

EXPOSE 8000

# One process, PID 1 itself, so that SIGTERM reaches it: it drains (drain_timeout_seconds of the configuration), finishes
# what it has accepted within 20 seconds, and ends. The Deployment's grace period is longer than these and its preStop sleep
# together. The service writes a log line of its own for each request.
CMD ["python", "-m", "credit_risk_model.service", "--host", "0.0.0.0", "--port", "8000"]
