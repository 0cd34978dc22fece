# An upgrade restarts the service if it runs. The configuration and the queue stay, also when ferryd is removed.
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload || :
    if [ "$1" -ge 1 ]; then
        systemctl try-restart ferryd.service || :
    fi
fi
