"""Prints the SHA-256 of the object of every key that is named, a line each, then how many objects there are, and how many uploads are open."""

import hashlib
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, bucket, key_id, secret, *keys = sys.argv[1:]
config = Config(s3={"addressing_style": "path"}, response_checksum_validation="when_required")
client = boto3.client(
    "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=key_id, aws_secret_access_key=secret, config=config
)
for key in keys:
    body = client.get_object(Bucket=bucket, Key=key)["Body"]
    digest = hashlib.sha256()
    for chunk in iter(lambda: body.read(1024 * 1024), b""):
        digest.update(chunk)
    print(digest.hexdigest())
print(len(client.list_objects_v2(Bucket=bucket).get("Contents", [])))
try:
    print(len(client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])))
except ClientError as error:
    print(error.response["Error"]["Code"])
