"""Uploads files as the sample programs of Kie.ai's documentation do: as a form in both orders of its fields, as base64, and by address.

Usage: kie_sample.py SANDBOX [API_KEY], where SANDBOX is http://ADDR. Prints "ok". Needs: pip install requests
"""

import base64
import os
import sys
import tempfile

import requests

SIZE = 1_000_001


class Uploader:
    def __init__(self, sandbox, api_key):
        self.base = sandbox + "/kie"
        self.headers = {"Authorization": f"Bearer {api_key}"}

    def post(self, call, headers=None, **body):
        reply = requests.post(f"{self.base}/api/{call}", headers={**self.headers, **(headers or {})}, **body)
        assert reply.ok, reply.text
        return reply.json()

    def stream(self, path, upload_path="", file_name=None):
        """The sample in Python. Its library writes the other fields before the file."""
        fields = {}
        if upload_path:
            fields["uploadPath"] = upload_path
        if file_name:
            fields["fileName"] = file_name
        with open(path, "rb") as file:
            return self.post("file-stream-upload", files={"file": (os.path.basename(path), file)}, data=fields)

    def stream_file_first(self, path, upload_path, file_name=None):
        """The samples for curl and in JavaScript: the file is the first field."""
        with open(path, "rb") as file:
            fields = [("file", (os.path.basename(path), file, "image/jpeg")), ("uploadPath", (None, upload_path))]
            if file_name:
                fields.append(("fileName", (None, file_name)))
            return self.post("file-stream-upload", files=fields)

    def json(self, call, what, upload_path="", file_name=None):
        # A name that is not given travels as null, not as nothing: that is what the samples do.
        fields = {**what, "uploadPath": upload_path, "fileName": file_name}
        return self.post(call, headers={"Content-Type": "application/json"}, json=fields)


def stored(reply, data, name=None):
    """The link of a success, when it leads to `data`."""
    assert reply["success"] is True and reply["code"] == 200, reply
    facts = reply["data"]
    assert facts["fileSize"] == len(data) and facts["fileName"] and name in (None, facts["fileName"]), reply
    # The sample prints `fileUrl`, which the page of each call does not have; the document advises `downloadUrl`, which every page has.
    for link in [facts["downloadUrl"], facts.get("fileUrl", facts["downloadUrl"])]:
        assert requests.get(link).content == data, f"{link} leads to other bytes"
    return facts["downloadUrl"]


def main(sandbox, api_key="sk-test"):
    uploader = Uploader(sandbox, api_key)
    refused = requests.post(sandbox + "/kie/api/file-base64-upload", headers={"Authorization": "Bearer wrong"}, json={})
    assert refused.status_code == 401 and refused.json()["success"] is False, refused.text
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file1.jpg")
        data = os.urandom(SIZE)
        with open(path, "wb") as file:
            file.write(data)
        stored(uploader.stream(path, "user-uploads", "file-1-file1.jpg"), data, "file-1-file1.jpg")
        stored(uploader.stream(path, "user-uploads"), data)
        stored(uploader.stream_file_first(path, "images/user-uploads"), data)
        link = stored(uploader.stream_file_first(path, "images/user-uploads", "custom-name.jpg"), data, "custom-name.jpg")
    plain = base64.b64encode(data).decode()
    stored(uploader.json("file-base64-upload", {"base64Data": plain}, "images", "base64-image.png"), data, "base64-image.png")
    stored(uploader.json("file-base64-upload", {"base64Data": "data:image/png;base64," + plain}, "images"), data)
    stored(uploader.json("file-url-upload", {"fileUrl": link}, "downloads", "download-1.jpg"), data, "download-1.jpg")
    stored(uploader.json("file-url-upload", {"fileUrl": link}, "downloads"), data)
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
