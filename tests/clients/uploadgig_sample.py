"""Uploads a file as the sample program of UploadGig's documentation does: a login by form, then the file as a raw body with its name in `Slug`.

Usage: uploadgig_sample.py SANDBOX [USER PASSWORD], where SANDBOX is http://ADDR. Prints "ok". Needs: pip install requests
"""

import os
import sys
import tempfile

import requests

SIZE = 3_000_001


def login(sandbox, user, password):
    url = sandbox + "/uploadgig/api/get_upload_action"
    return requests.post(url, data={"user": user, "pass": password}, allow_redirects=True, timeout=10).json()


def send(action, path):
    with open(path, "rb") as file:
        return requests.post(action, data=file, headers={"Slug": os.path.basename(path)}).json()["0"]


def send_chunked(action, path):
    # As the document's samples in PHP do: the length is not told, the body comes in pieces.
    def pieces():
        with open(path, "rb") as file:
            while piece := file.read(32_768):
                yield piece

    return requests.post(action, data=pieces(), headers={"Slug": os.path.basename(path)}).json()["0"]


def round_trip(sandbox, user, password, path, send):
    data = login(sandbox, user, password)
    assert data["code"] == "1", data
    action, cmbs = data["result"]["action"], data["result"]["cmbs"]
    assert os.stat(path).st_size / 1024 / 1024 <= cmbs, "the account has no room"
    result = send(action, path)
    assert result["ok"] is True and result["id"] and result["message"], result
    assert result["file_name"] == os.path.basename(path) and result["size"] == SIZE, result
    with open(path, "rb") as file:
        assert requests.get(result["url"]).content == file.read(), "other bytes came back"
    again = send(action, path)
    assert again == {"message": "Invalid identity provided", "ok": False}, again


def main(sandbox, user="me@example.test", password="s3cret-gig"):
    refused = login(sandbox, user, "wrong")
    assert refused == {"code": "0", "result": "Email or password was incorrect!"}, refused
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "MyExampleFile.zip")
        with open(path, "wb") as file:
            file.write(os.urandom(SIZE))
        round_trip(sandbox, user, password, path, send)
        round_trip(sandbox, user, password, path, send_chunked)
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
