# Makes the user that the service of the machine runs as.
getent group ferryd >/dev/null || groupadd --system ferryd
getent passwd ferryd >/dev/null ||
    useradd --system --gid ferryd --home-dir /var/lib/ferryd --shell /usr/sbin/nologin --comment "ferryd, which uploads files" ferryd
