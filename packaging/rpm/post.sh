# Its folders, if there are none. Nothing is enabled: the service needs a configuration first, and sends files away.
[ -e /var/lib/ferryd ] || install -d -o ferryd -g ferryd -m 0700 /var/lib/ferryd
[ -e /etc/ferryd ] || install -d -o ferryd -g ferryd -m 0750 /etc/ferryd
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload || :
fi
