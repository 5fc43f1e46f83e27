"""The shipped S3 policies on a server that enforces them: workers neither need nor have the right to delete."""

import json
import stat
import subprocess
import sys

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from deployments.s3.identities import identities
from tests.conftest import make_config
from tests.services import ACCESS_KEY, BUCKET, SECRET_KEY, s3_server
from tests.spreading import undisturbed

KEYS = {
    "admin": (ACCESS_KEY, SECRET_KEY),
    "worker": ("worker-key", "worker-secret"),
    "gc": ("gc-key", "gc-secret"),
}
COMMAND = [sys.executable, "-m", "deployments.s3.identities"]
STORE = f"s3://{BUCKET}/runs"


def variables():
    names = ("ACCESS_KEY", "SECRET_KEY")
    return {f"EVOLVE_{who.upper()}_{n}": key for who, pair in KEYS.items() for n, key in zip(names, pair, strict=True)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """SeaweedFS with the identities as a user makes them."""
    directory = tmp_path_factory.mktemp("policies")
    file = directory / "identities.json"
    file.touch(mode=0o644)
    subprocess.run([*COMMAND, str(file)], check=True, env=variables())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with s3_server(directory, **{"s3.config": str(file)}) as running:
        yield running


def credentials(who):
    access, secret = KEYS[who]
    return {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}


@pytest.fixture(scope="module")
def refused(server):
    """Return True if the server denies a request."""
    session = botocore.session.get_session()

    def client(keys):
        return session.create_client(
            "s3",
            endpoint_url=server.environment["AWS_ENDPOINT_URL_S3"],
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 0}),
        )

    clients = {who: client(keys) for who, keys in KEYS.items()}

    def ask(who, operation, key=None, **arguments):
        with_key = {} if key is None else {"Key": key}
        try:
            getattr(clients[who], operation)(**{"Bucket": BUCKET, **with_key, **arguments})
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
                raise
            return True
        return False

    yield ask
    for made in clients.values():
        made.close()


@pytest.mark.parametrize(("who", "may_release"), [("worker", False), ("gc", True)])
def test_only_the_garbage_collector_deletes_and_only_checkpoints(refused, who, may_release):
    blob, record = f"runs/{who}/blobs/{'0' * 64}.safetensors", f"runs/{who}/gen/000001/COMMIT.json"
    for key in (blob, record):
        assert not refused(who, "put_object", key, Body=b"x", IfNoneMatch="*")
        assert not refused(who, "get_object", key)
    assert refused(who, "delete_object", record)
    assert refused(who, "delete_object", blob) is not may_release
    refused(who, "delete_objects", Delete={"Objects": [{"Key": record}]})  # answers 200, with an error inside
    assert not refused(who, "get_object", record)
    assert refused(who, "put_object", "other/key", Body=b"x")
    assert refused("worker", "get_object", "other/key")
    assert refused(who, "create_bucket", Bucket="another")
    assert refused(who, "delete_bucket")
    assert refused(who, "put_bucket_policy", Policy="{}")
    assert refused(who, "put_bucket_versioning", VersioningConfiguration={"Status": "Suspended"})


@pytest.mark.slow
def test_a_run_needs_no_right_to_delete(server, cli):
    config = make_config()
    cli.environment |= {**server.environment, **credentials("worker"), "EVOLVE_STORE": STORE}
    run = ("run", "--config", cli.config(config), "--run-id", "least", "--workers", "2", "--json")
    done = cli(*run, "--keep-generations", "1")
    assert json.loads(done.stdout)["head"] == undisturbed(config).head
    assert "old checkpoints were not released" in done.stderr and "access denied" in done.stderr
    denied = cli("gc", "least", "--keep-generations", "1", expect=2)
    assert "access denied" in denied.stderr and "check the policy" in denied.stderr
    cli.environment |= credentials("gc")
    assert cli.json("gc", "least", "--keep-generations", "1")["blobs"]


def test_missing_keys_are_named_and_nothing_is_written(tmp_path):
    given = {name: value for name, value in variables().items() if name != "EVOLVE_GC_SECRET_KEY"}
    done = subprocess.run([*COMMAND, str(tmp_path / "file")], capture_output=True, text=True, env=given)
    assert done.returncode == 2 and "set EVOLVE_GC_SECRET_KEY" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_policies_differ_only_in_the_right_to_delete():
    worker, collector = (json.loads(policy["content"])["Statement"] for policy in identities(KEYS)["policies"])
    assert [statement for statement in collector if statement not in worker] == [collector[-1]]
    assert collector[-1]["Action"] == "s3:DeleteObject" and collector[-1]["Resource"].endswith("/blobs/*")
    assert not any("Delete" in str(statement["Action"]) for statement in worker)
