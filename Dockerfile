# One image for every role; the command names the role.
FROM node:22-slim AS web
WORKDIR /app/frontend
COPY frontend/package.json frontend/package-lock.json frontend/.npmrc ./
RUN npm ci --no-audit --no-fund
COPY frontend ./
RUN npm run build

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 loggia \
    && mkdir -p /data && chown loggia /data
WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY proto ./proto
COPY backend ./backend
COPY projections ./projections
COPY workers ./workers
RUN mkdir -p backend/contracts/generated \
    && python -m grpc_tools.protoc -Iproto --python_out=backend/contracts/generated \
        --pyi_out=backend/contracts/generated $(find proto/loggia -name '*.proto') \
    && pip install --no-cache-dir --no-deps --no-build-isolation -e .
COPY --from=web /app/frontend/dist ./frontend/dist
USER loggia
ENV LOGGIA_DATA_DIR=/data LOGGIA_CACHE_DIR=/data/cache LOGGIA_LOG_FORMAT=json PYTHONUNBUFFERED=1
VOLUME /data
ENTRYPOINT ["loggia"]
