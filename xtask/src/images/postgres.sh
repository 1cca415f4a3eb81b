#!/bin/sh
# What a container of this image runs: makes a cluster where there is none, and serves it. Takes the variables of the
# official image: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, POSTGRES_HOST_AUTH_METHOD, POSTGRES_INITDB_ARGS, PGDATA.
# Has no folder of scripts that are run at first.
set -eu

for programs in /usr/lib/postgresql/*/bin; do
    PATH=$programs:$PATH
done
export PATH

case "${1:-}" in
    '' | -*) set -- postgres "$@" ;;
    postgres) ;;
    *) exec "$@" ;;
esac

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /run/postgresql
    chmod 700 "$PGDATA"
    chown -R postgres:postgres "$PGDATA" /run/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
        echo 'Error: set POSTGRES_PASSWORD, or POSTGRES_HOST_AUTH_METHOD=trust' >&2
        exit 1
    fi

    password=$(mktemp)
    printf '%s\n' "${POSTGRES_PASSWORD:-}" > "$password"
    if [ -z "${POSTGRES_PASSWORD:-}" ]; then
        : > "$password"
    fi
    # The arguments are words of a shell, as in the official image. Its output goes to the other stream: what says that
    # the server is ready is to be the only thing of its kind on this one.
    with_password=
    if [ -s "$password" ]; then
        with_password='--pwfile="$password"'
    fi
    eval "initdb --username=\"\$user\" $with_password ${POSTGRES_INITDB_ARGS:-} --pgdata=\"\$PGDATA\""
    rm -f "$password"

    echo "host all all all $method" >> "$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
    if [ "$database" != postgres ]; then
        # Without a server: nobody can take this one for the one to come.
        quoted=$(printf '%s' "$database" | sed 's/"/""/g')
        echo "CREATE DATABASE \"$quoted\"" | postgres --single -D "$PGDATA" postgres > /dev/null
    fi
fi

exec "$@"
