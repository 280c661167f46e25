"""An S3 store that speaks S3 over HTTP: moto's server, with one bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import boto3
import httpx
from moto.server import ThreadedMotoServer


class S3Store:
    """One bucket and the keys to it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        # Its servers of one process share what they keep.
        self.bucket = f"bucket-{uuid4().hex}"
        self.key = "test-key"
        self.secret = "test-secret"
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=self.bucket)

    def put(self, name: str, content: bytes) -> None:
        """Puts an object."""
        self.client.put_object(Bucket=self.bucket, Key=name, Body=content)

    def names(self) -> list[str]:
        """Every object's name."""
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return sorted(item["Key"] for item in found)

    def unfinished(self) -> list[str]:
        """Names of uploads in parts that nobody has ended."""
        found = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return sorted(item["Key"] for item in found)


@contextmanager
def s3_store() -> Iterator[S3Store]:
    """A store of its own, empty."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        store = S3Store(f"http://{host}:{port}")
        store.client.get_bucket_location(Bucket=store.bucket)
        yield store
        # What one server keeps, the next one in this process would show.
        httpx.post(f"{store.endpoint}/moto-api/reset", timeout=10).raise_for_status()
    finally:
        server.stop()
