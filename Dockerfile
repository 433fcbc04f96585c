# Image of the service: `make image`, or
#     docker build --build-arg REVISION="$(git rev-parse HEAD)" -t credit_risk_model_service:0.5.0 .
# Docker, Buildah and Podman all build it. All stages use the same base, so packages that one stage installs run in the
# others. `--target scoring` (`make scoring-image`) builds the image that scores files. A tag can be moved, a digest
# can't: BASE_IMAGE=python:3.11-slim-bookworm@sha256:... pins the base.
ARG BASE_IMAGE=python:3.11-slim-bookworm


FROM ${BASE_IMAGE} AS build

WORKDIR /service
COPY service_requirements.txt ./

# All requirements are pinned, so nothing is resolved here (--no-deps), and each download must match one of the SHA-256
# digests below the package's name. awk selects entries with the lines below them. NumPy, SciPy and narwhals are in the
# file because LightGBM's Python package needs them. The service calls LightGBM's compiled library without that package
# (credit_risk_model/booster.py), so they are left out, which saves some 220 MB. Byte code is compiled here, since the
# root filesystem is read-only later. It is not checked against the source, so file times do not matter.
RUN awk '/^[a-z]/ { kept = !/^(numpy|scipy|narwhals)==/ } kept' service_requirements.txt > image_requirements.txt \
    && python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --no-compile \
        --no-deps --target packages --require-hashes --requirement image_requirements.txt \
    && rm -rf packages/bin

COPY configuration configuration
COPY credit_risk_model credit_risk_model
# Service and scoring are moved aside, each for its own image.
RUN python -m compileall -q --invalidation-mode unchecked-hash packages credit_risk_model \
    && mv credit_risk_model/service credit_risk_model/scoring . \
    && chmod -R a+rX .


# Packages that read and write files of loans, with the same pins; without the HTTP server, and without Arrow's tests
# and C headers.
FROM build AS scoring-build

COPY scoring_requirements.txt ./
RUN awk '/^[a-z]/ { kept = !/^(scipy|narwhals)==/ } kept' scoring_requirements.txt > image_requirements.txt \
    && python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --no-compile \
        --no-deps --target scoring_packages --require-hashes --requirement image_requirements.txt \
    && rm -rf scoring_packages/bin scoring_packages/pyarrow/include scoring_packages/pyarrow/tests \
    && python -m compileall -q --invalidation-mode unchecked-hash scoring_packages \
    && chmod -R a+rX .


# The common part of both images.
FROM ${BASE_IMAGE} AS runtime

# LightGBM's library needs GCC's OpenMP runtime, which slim images lack. The public Python images have no byte code for
# the standard library; where it exists, compileall skips it. Modules that the service never imports, some of them
# broken on purpose, are not compiled. pip is removed (Debian's package, or the public image's own build, which has a
# folder for its packages alone), and so are setuid and setgid bits. Caches and logs are removed, since they differ with
# every build.
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

# HOME: the user has no entry in /etc/passwd, and only /tmp is writable.
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
ARG VERSION=0.5.0
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

# Fails the build if a package is missing.
RUN python -m credit_risk_model.scoring --help > /dev/null
CMD ["python", "-m", "credit_risk_model.scoring", "--help"]


# The last stage is the default target.
FROM runtime AS service

COPY --from=build /service/packages packages
COPY --from=build /service/service credit_risk_model/service
LABEL org.opencontainers.image.title="Credit Risk Model Service" \
      org.opencontainers.image.description="Predicts whether a running loan is risky as it stands now."

# Fails the build if the configured archive can't be loaded.
RUN python -c 'import os, yaml; from rest_model_service import configuration, helpers; \
        settings = configuration.ServiceConfiguration(**yaml.safe_load(open(os.environ["REST_CONFIG"]))); \
        helpers.create_app(settings, wait_for_model_creation=True)'

EXPOSE 8000

# One process, as PID 1, so that it gets SIGTERM: it drains (drain_timeout_seconds of the configuration), finishes
# accepted requests within 20 seconds, and ends. The Deployment's grace period is longer than these and its preStop
# sleep together. The service writes its own access log.
CMD ["python", "-m", "credit_risk_model.service", "--host", "0.0.0.0", "--port", "8000"]
