"""Uploads with boto3, in one request and in parts, and reads back what it has uploaded."""

import base64
import hashlib
import sys

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

MIB = 1024 * 1024

config = Config(
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
client = boto3.client(
    "s3",
    endpoint_url=sys.argv[1],
    region_name="eu-central-1",
    aws_access_key_id="AKIDEXAMPLE1234567",
    aws_secret_access_key="s3cret-object-store-key",
    config=config,
)

small = b"content"
client.put_object(Bucket="practice", Key="a b/ü+.txt", Body=small, ContentType="text/plain", Metadata={"colour": "blue"})
found = client.get_object(Bucket="practice", Key="a b/ü+.txt")
assert found["Body"].read() == small and found["ContentType"] == "text/plain" and found["Metadata"] == {"colour": "blue"}

large = bytes(range(256)) * (11 * MIB // 256) + b"end"
with open("large", "wb") as file:
    file.write(large)
client.upload_file("large", "practice", "large", Config=TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=6 * MIB))
head = client.head_object(Bucket="practice", Key="large")
assert head["ContentLength"] == len(large) and head["ETag"].endswith('-2"')
assert client.get_object(Bucket="practice", Key="large")["Body"].read() == large

sha256 = base64.b64encode(hashlib.sha256(small).digest()).decode()
checked = client.put_object(Bucket="practice", Key="checked", Body=small, ChecksumSHA256=sha256)
assert checked["ETag"] == '"9a0364b9e99bb480dd25e1f0284c8555"' and checked["ChecksumSHA256"] == sha256, checked

try:
    client.put_object(Bucket="practice", Key="checked", Body=b"other", IfNoneMatch="*")
    raise AssertionError("the key is taken")
except ClientError as error:
    assert error.response["Error"]["Code"] == "PreconditionFailed", error

upload = client.create_multipart_upload(Bucket="practice", Key="given-up")["UploadId"]
client.upload_part(Bucket="practice", Key="given-up", UploadId=upload, PartNumber=1, Body=b"x" * 5 * MIB)
parts = client.list_parts(Bucket="practice", Key="given-up", UploadId=upload)["Parts"]
assert [(part["PartNumber"], part["Size"]) for part in parts] == [(1, 5 * MIB)]
assert [found["Key"] for found in client.list_multipart_uploads(Bucket="practice")["Uploads"]] == ["given-up"]
client.abort_multipart_upload(Bucket="practice", Key="given-up", UploadId=upload)
assert "Uploads" not in client.list_multipart_uploads(Bucket="practice")

print("ok")
