"""A server of the S3 protocol for tests, in this process, on 127.0.0.1."""

import logging
import tracemalloc  # noqa: F401 - pytest imports it at a warning; two threads that do so at once see half of it
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "arwx-test"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """The server with an empty bucket; gives the environment that reaches it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket=BUCKET)
    client.close()
    yield environment
    server.stop()
    assert server._server is not None
    server._server.server_close()
