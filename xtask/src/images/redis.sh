#!/bin/sh
# What a container of this image runs: redis-server, as the official image has it, with the arguments that follow the
# name of the image.
set -eu

case "${1:-}" in
    '' | -* | *.conf) set -- redis-server "$@" ;;
    redis-server) ;;
    *) exec "$@" ;;
esac

if [ "$(id -u)" = 0 ]; then
    mkdir -p /data
    chown -R redis:redis /data
    exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
fi

case "${2:-}" in
    --version | -v | --help | -h) exec "$@" ;;
esac

shift
# First a file, if there is one; what comes later wins. A container is reached through its published port only, so
# that it listens on all addresses and asks for no password unless told to.
file=
case "${1:-}" in
    *.conf)
        file=$1
        shift
        ;;
esac
exec redis-server ${file:+"$file"} --bind '* -::*' --protected-mode no --dir /data "$@"
