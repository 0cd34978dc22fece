"""Uploads a file as the sample program of CloudKP's documentation does: the same requests, from five threads, then the finish.

Usage: cloudkp_sample.py SANDBOX, where SANDBOX is http://ADDR. Prints "ok". Needs: pip install requests
"""

import json
import math
import os
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import requests

SIZE = 9 * 131_072 + 4_321
# Just where the ladder takes its first step, so that chunks have twice the size.
LARGE_SIZE = 104_857_600


def post(url, fields, chunk):
    # With None for the file, requests sends a form without a file part.
    reply = requests.post(url, data=fields, files={"file": chunk})
    assert reply.status_code == 200, reply.text
    return reply.text


def chunk_size(size):
    if size >= 786_432_000:
        return 131_072 * 4
    if size >= 104_857_600:
        return 131_072 * 2
    return 131_072


def upload(url, path):
    size = os.stat(path).st_size
    step = chunk_size(size)
    count = math.ceil(size / step)
    session = "".join(str(random.randint(0, 9)) for _ in range(20))
    sent = []
    with ThreadPoolExecutor(max_workers=5) as pool, open(path, "rb") as file:
        for index in range(count):
            fields = {"dzuuid": session, "dzchunkindex": index, "dztotalchunkcount": count, "dztotalfilesize": size}
            sent.append(pool.submit(post, url, fields, file.read(step)))
    for chunk in sent:
        # The sample never looks at these answers; a chunk that failed would only be missed at the finish.
        answer = chunk.result()
        assert not answer.startswith("{") or json.loads(answer)["error"] is None, answer
    fields = {"dzuuid": session, "complete": "yes", "file_name": os.path.basename(path), "dztotalchunkcount": count}
    return file_id(post(url, fields, None))


def file_id(text):
    # The sample is wrong against its own document: it takes any answer with the word "error" for a failure, and the answer the document
    # describes for a success has a field of that name, which is null. So that answer is read first; the rest is as the sample has it.
    if text.startswith("{"):
        fields = json.loads(text)
        assert fields["error"] is None, text
        return fields["file_id"]
    assert "error" not in text, text
    return text


def round_trip(sandbox, folder, size):
    path = os.path.join(folder, f"sample-{size}.bin")
    data = os.urandom(size)
    with open(path, "wb") as file:
        file.write(data)
    found = upload(sandbox + "/cloudkp/upload", path)
    assert requests.get(sandbox + "/cloudkp?c=" + found).content == data, f"{size} bytes came back as others"


def main(sandbox):
    with tempfile.TemporaryDirectory() as folder:
        round_trip(sandbox, folder, SIZE)
        round_trip(sandbox, folder, 131_072)
        round_trip(sandbox, folder, LARGE_SIZE)
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
