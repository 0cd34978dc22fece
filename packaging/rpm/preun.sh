# $1 is how many ferryds are installed afterwards: with none, the service stops and is disabled.
if [ "$1" -eq 0 ]; then
    if grep -qs '^ExecStart=/usr/bin/ferryd ' /etc/systemd/system/ferryd.service; then
        /usr/bin/ferryd service uninstall || :
    fi
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now ferryd.service || :
    fi
fi
