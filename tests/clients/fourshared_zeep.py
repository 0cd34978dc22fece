"""Uploads a file to a host that speaks 4shared's protocol, by means that know nothing of ours: zeep for the calls, requests for the parts.

Usage: fourshared_zeep.py BASE_URL [LOGIN PASSWORD], where BASE_URL is that of the SOAP endpoint, as in the configuration:
http://ADDR/4shared/jax3/DesktopApp. Prints "ok". Needs: pip install zeep requests
"""

import hashlib
import os
import sys

import requests
import zeep

SIZE = 3_000_001
PART = 2_000_000


def main(base, login="me@example.test", password="s3cret"):
    service = zeep.Client(base + "?wsdl").service
    me = (login, password)
    name = "a ü & <b>.bin"
    data = os.urandom(SIZE)
    md5 = hashlib.md5(data).hexdigest()

    assert not service.login(*me), "the login is refused"
    assert service.login(login, "wrong"), "a wrong password is taken"
    assert service.isExistsLoginPassword(*me) is True
    assert service.isExistsLoginPassword(login, "wrong") is False
    assert service.isAccountActive(*me) is True
    assert service.isAccountBanned(*me) is False
    assert service.hasRightUpload() is True
    free = service.getFreeSpace(*me)
    assert free >= SIZE and service.getMaxFileSize(*me) >= SIZE
    try:
        service.getFreeSpace(login, "wrong")
        raise AssertionError("a wrong password is taken")
    except zeep.exceptions.Fault as fault:
        assert "login" in fault.message, fault.message

    folder = service.createNewFolder(*me, -1, "zeep-" + os.urandom(4).hex())
    assert folder > 0
    key = service.createUploadSessionKey(*me, folder)
    center = service.getNewFileDataCenter(*me)
    url = service.getUploadFormUrl(center, key)
    assert url.startswith("http"), url
    file_id = service.uploadStartFile(*me, folder, name, SIZE)
    assert file_id > 0
    assert service.uploadStartedFileExists(*me, file_id) is True

    for first in range(0, SIZE, PART):
        fields = {"resumableFileId": str(file_id), "resumableFirstByte": str(first)}
        part = {"FilePart": ("FilePart", data[first : first + PART], "application/octet-stream")}
        reply = requests.post(url, data=fields, files=part, timeout=60)
        assert reply.status_code == 200 and "error" not in reply.text, reply.text

    assert service.uploadFinishFile(*me, file_id, "0" * 32), "a wrong md5 is taken"
    assert not service.uploadFinishFile(*me, file_id, md5)
    assert service.uploadStartedFileExists(*me, file_id) is False
    assert service.getFreeSpace(*me) == free - SIZE

    info = service.getFileInfo(*me, file_id)
    assert (info.id, info.name, info.size, info.md5) == (file_id, name, SIZE, md5), info
    assert not info.removed and not info.directory and info.parentId == folder
    link = service.getFileDownloadLink(*me, file_id)
    assert link == info.downloadLink
    assert requests.get(link, timeout=60).content == data
    # zeep takes the wrapper of the array off.
    assert [item.id for item in service.getItems(*me, folder)] == [file_id]

    simple = service.simpleUploadStart(*me, folder, "b.bin", 5)
    assert simple.fileId > 0 and simple.uploadUrl.startswith("http") and not simple.message
    service.uploadCancelFile(*me, simple.fileId)
    assert service.uploadStartedFileExists(*me, simple.fileId) is False
    assert service.uploadStartFileUpdate(*me, file_id, name, 5) > 0
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
