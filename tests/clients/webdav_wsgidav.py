"""Serves a folder by WebDAV, to one user, on any port of the loopback; prints the port."""

import sys

from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp

folder, user, password = sys.argv[1:]
config = {
    "provider_mapping": {"/": folder},
    "simple_dc": {"user_mapping": {"*": {user: {"password": password}}}},
    "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
    "logging": {"enable": False},
    "verbose": 0,
}
server = wsgi.Server(("127.0.0.1", 0), WsgiDAVApp(config))
server.prepare()
print(server.bind_addr[1], flush=True)
server.serve()
