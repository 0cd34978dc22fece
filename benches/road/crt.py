"""Sends one file to a bucket with the AWS common runtime: `crt.py FILE BUCKET/KEY`, with what other clients read of the environment."""

import os
import sys
from urllib.parse import urlsplit

from awscrt import auth, http, io, s3

PART_BYTES = 8 * 1024 * 1024

path, place = sys.argv[1:]
region, endpoint = os.environ["AWS_REGION"], urlsplit(os.environ["AWS_ENDPOINT_URL"])
keys = auth.AwsCredentialsProvider.new_static(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
signing = s3.create_default_s3_signing_config(region=region, credential_provider=keys)
client = s3.S3Client(
    bootstrap=io.ClientBootstrap.get_or_create_static_default(),
    region=region,
    signing_config=signing,
    throughput_target_gbps=25,
    part_size=PART_BYTES,
    tls_mode=s3.S3RequestTlsMode.DISABLED,
)
headers = http.HttpHeaders([("host", endpoint.netloc), ("content-length", str(os.path.getsize(path)))])
request = client.make_request(
    type=s3.S3RequestType.PUT_OBJECT,
    request=http.HttpRequest("PUT", f"{endpoint.path}/{place}", headers),
    send_filepath=path,
    signing_config=signing,
    checksum_config=s3.S3ChecksumConfig(algorithm=s3.S3ChecksumAlgorithm.CRC64NVME, location=s3.S3ChecksumLocation.HEADER),
)
request.finished_future.result()
