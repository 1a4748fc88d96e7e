# shellcheck shell=bash
# The parts of ci/demo.

PORT=${CARDX_PORT:-8443}
OPS_PORT=${CARDX_OPS_PORT:-$((PORT + 1000))}
HOST=${CARDX_HOST:-127.0.0.1}
BUILD=${CARDX_BUILD:-$ROOT/build}
PG_BIN=/usr/lib/postgresql/15/bin

say() { echo "ci/demo: $*" >&2; }

die() {
    say "$*"
    exit 1
}

# --- users -----------------------------------------------------------------

# Nothing but nginx's master runs as root: postgres must not, and nginx's own
# workers do not either.
if [ "$(id -u)" = 0 ]; then
    PG_USER=postgres
    RUN_USER=www-data
else
    PG_USER=$(id -un)
    RUN_USER=$PG_USER
fi

# as USER COMMAND...
as() {
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid="$user" --regid="$(id -gn "$user")" --init-groups \
            --reset-env env PATH="$PATH" LC_ALL=C.UTF-8 TZ=UTC "$@"
    else
        env LC_ALL=C.UTF-8 TZ=UTC "$@"
    fi
}

# A folder, or the nearest above it that exists.
nearest() {
    local folder=$1
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    echo "$folder"
}

# Whether a user can go into it.
reaches() { as "$1" test -x "$(nearest "$2")" 2>/dev/null; }

# Who may not be reached is a checkout below a closed home: then the data
# stand beside the machine's other data, one folder per checkout.
choose_var() {
    VAR=${CARDX_VAR:-$ROOT/var}
    case $VAR in
    /*) ;;
    *) VAR=$PWD/$VAR ;;
    esac

    if [ -z "${CARDX_VAR-}" ] && id "$PG_USER" >/dev/null 2>&1 \
        && ! { reaches "$PG_USER" "$VAR" && reaches "$RUN_USER" "$VAR"; }; then
        VAR=/var/tmp/cardx-$(stat -c %d.%i "$ROOT")
    fi

    PIDS=$VAR/pids
    LOG=$VAR/log
    RUN=$VAR/run
    PG_SOCKETS=$VAR/pgrun
    SECRETS=$VAR/secrets
}

# --- processes -------------------------------------------------------------

program() {
    case $1 in
    postgres) echo $PG_BIN/postgres ;;
    redis) readlink -f "$(command -v redis-server)" ;;
    nginx) readlink -f "${CARDX_NGINX:-$(command -v nginx || echo /usr/sbin/nginx)}" ;;
    cardxd) cat "$VAR/cardxd.path" 2>/dev/null ;;
    esac
}

pid_of() { cat "$PIDS/$1.pid" 2>/dev/null; }

# Whether the process a pid file names runs, and is what it says.
running() {
    local pid exe
    pid=$(pid_of "$1") || return 1
    [ -n "$pid" ] && exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 1
    [ "${exe% (deleted)}" = "$(program "$1")" ]
}

# Whether a process still runs: a zombie that nobody has reaped has no exe.
there() { readlink "/proc/$1/exe" >/dev/null 2>&1; }

# ended NAME SIGNAL SECONDS: whether it ends of that in time.
ended() {
    local pid i
    running "$1" || return 0
    pid=$(pid_of "$1")
    kill "-$2" "$pid" 2>/dev/null
    for ((i = 0; i < $3 * 20; i++)); do
        there "$pid" || return 0
        sleep 0.05
    done
    say "$1 ($pid) did not end of $2 within $3 s"
    return 1
}

# end NAME SIGNAL SECONDS [SIGNAL SECONDS]: and KILL after that.
end() {
    local name=$1 pid
    pid=$(pid_of "$1")
    shift
    until ended "$name" "$1" "$2"; do
        shift 2
        [ $# -gt 0 ] || {
            kill -KILL "$pid"
            break
        }
    done
    rm -f "$PIDS/$name.pid"
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local i limit=$(($1 * 20))
    shift
    for ((i = 0; i < limit; i++)); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.05
    done
    return 1
}

# failed WHAT LOG: says so, with the log's end.
failed() {
    say "$1; the end of $2:"
    tail -n 15 "$2" 2>/dev/null | sed 's/^/    /' >&2
    return 1
}

# --- checks ----------------------------------------------------------------

busy() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

check() {
    local longest=$PG_SOCKETS/.s.PGSQL.5432 user n

    for user in "$PG_USER" "$RUN_USER"; do
        id "$user" >/dev/null 2>&1 \
            || die "there is no user $user: ci/deps installs what makes it"
        reaches "$user" "$VAR" || die "user $user can't go into" \
            "$(nearest "$VAR"): choose another folder by CARDX_VAR=..."
    done

    [ ${#longest} -le 107 ] || die "the path $VAR is too long for sockets:" \
        "at most $((107 - ${#longest} + ${#VAR})) characters; choose" \
        "another folder by CARDX_VAR=..."

    n=$(ulimit -Hn)
    [ "$n" = unlimited ] || [ "$n" -ge 1024 ] \
        || die "only $n open files are allowed: raise it, \`ulimit -n 8192\`"
    ulimit -Sn "$n" 2>/dev/null

    nginx_orphans
    if ! running nginx; then
        for n in "$PORT" "$OPS_PORT"; do
            ! busy "$n" || die "port $n is in use: choose others by" \
                "CARDX_PORT=... and CARDX_OPS_PORT=..."
        done
    fi
}

# --- what is made once -----------------------------------------------------

folders() {
    mkdir -p "$VAR" "$LOG" "$PIDS" "$RUN" "$PG_SOCKETS" "$SECRETS" \
        "$VAR/conf" "$VAR/redis" "$VAR/sms" "$VAR/tmp" "$VAR/cache" || exit 1
    chmod 755 "$VAR"
    chmod 750 "$RUN" "$PG_SOCKETS" "$SECRETS" "$VAR/sms"

    # The socket's folder is the lock on the database: whoever gets in is
    # trusted.
    if [ "$(id -u)" = 0 ]; then
        chown "$RUN_USER:$RUN_USER" "$LOG" "$PIDS" "$RUN" "$SECRETS" \
            "$VAR/redis" "$VAR/sms" "$VAR/tmp" "$VAR/cache"
        chown "$PG_USER:$RUN_USER" "$PG_SOCKETS"
    fi
}

secret() {
    [ -s "$SECRETS/$1" ] && return
    (umask 077 && openssl rand -hex 32 >"$SECRETS/$1.new") || exit 1
    [ "$(id -u)" != 0 ] || chown "$RUN_USER:$RUN_USER" "$SECRETS/$1.new"
    mv "$SECRETS/$1.new" "$SECRETS/$1"
}

# A certificate authority of its own, and a certificate for HOST by it.
certificate() {
    local dir=$VAR/tls name=DNS:$HOST
    [ "$(cat "$dir/host" 2>/dev/null)" != "$HOST" ] || return 0
    mkdir -p "$dir"
    case $HOST in
    *[!0-9.]*) ;;
    *) name=IP:$HOST ;;
    esac
    (
        umask 077
        cd "$dir" || exit 1
        [ -s ca.key ] || openssl req -x509 -newkey ec -nodes -days 3650 \
            -pkeyopt ec_paramgen_curve:prime256v1 -keyout ca.key -out ca.pem \
            -subj "/CN=cardx demo CA" \
            -addext "keyUsage=critical,keyCertSign,cRLSign" || exit 1
        openssl req -newkey ec -nodes -pkeyopt ec_paramgen_curve:prime256v1 \
            -keyout server.key -out server.csr -subj "/CN=cardx demo" || exit 1
        printf 'subjectAltName=%s,DNS:localhost,IP:127.0.0.1,IP:::1\n' \
            "$name" >server.ext
        printf 'extendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' \
            >>server.ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key \
            -CAcreateserial -days 825 -extfile server.ext -out server.pem \
            || exit 1
        chmod 644 ca.pem server.pem
    ) 2>"$LOG/openssl.log" || {
        failed "no certificate" "$LOG/openssl.log"
        return 1
    }
    chmod 755 "$dir"
    echo "$HOST" >"$dir/host"
}

# Programs that the workers' user can run: those of the build, or copies.
programs() {
    local folder=$BUILD
    if ! as "$RUN_USER" test -x "$BUILD/cardxd" 2>/dev/null; then
        folder=$VAR/bin
        mkdir -p "$folder"
        install -m 755 "$BUILD"/cardx* "$folder/" || exit 1
    fi
    readlink -f "$folder/cardxd" >"$VAR/cardxd.path"

    WEB=$ROOT/web
    if [ -d "$WEB" ] && ! as "$RUN_USER" test -r "$WEB" 2>/dev/null; then
        rm -rf "$VAR/web"
        cp -r "$WEB" "$VAR/web"
        WEB=$VAR/web
    fi
}

# A file from its template, put in place whole; values have no newline.
render() {
    local from=$1 to=$2 script='' pair
    shift 2
    for pair; do
        script+="s|@${pair%%=*}@|$(printf %s "${pair#*=}" \
            | sed 's/[&|\\]/\\&/g')|g;"
    done
    sed "$script" "$from" >"$to.new" && mv "$to.new" "$to"
}

# One directive or setting replaces that of its name.
settings() {
    local file=$VAR/conf/cardx.conf line name
    {
        echo "# Made by ci/demo; conf/cardx.conf explains each."
        echo "public_url https://$HOST:$PORT"
        echo "run_dir $RUN"
        echo "pid_dir $PIDS"
        echo "postgresql host=$PG_SOCKETS dbname=cardx user=cardx_api"
        echo "postgresql_fanout host=$PG_SOCKETS dbname=cardx" \
            "user=cardx_fanout"
        if [ -n "${CARDX_REDIS_CLUSTER-}" ]; then
            echo "redis $CARDX_REDIS_CLUSTER"
            echo "redis_cluster on"
        else
            echo "redis $RUN/redis.sock"
        fi
        echo "id_key_file $SECRETS/id_key"
        echo "master_key_file $SECRETS/master_key"
        echo "workers_fast 2"
        echo "workers_slow 2"
        echo "workers_miss 2"
        echo "sms_gateway log"
        echo "sms_log $VAR/sms/sms.log"
        echo "sms_secret_file $SECRETS/sms_secret"
        echo "sms_per_address 1000"
        echo "default_region CN"
    } >"$file.new"

    while read -r line; do
        [ -n "$line" ] || continue
        name=${line%% *}
        sed -i "/^$name /d" "$file.new"
        echo "$line" >>"$file.new"
    done <<<"${CARDX_SETTINGS-}"
    mv "$file.new" "$file"

    : >>"$VAR/sms/sms.log"
    [ "$(id -u)" != 0 ] || chown "$RUN_USER:$RUN_USER" "$VAR/sms/sms.log"
}

nginx_conf() {
    local redis=unix:$RUN/redis.sock
    local load='' user='' files listen module=$BUILD/ngx_http_cardx_module.so
    [ -n "${CARDX_NGINX-}" ] || load="load_module $module;"
    [ "$(id -u)" != 0 ] || user="user $RUN_USER $(id -gn "$RUN_USER");"
    files=$(ulimit -n)
    [ "$files" != unlimited ] && [ "$files" -le 65536 ] || files=65536
    listen=127.0.0.1:$PORT
    case $HOST in
    127.0.0.1 | localhost) ;;
    *) listen=$PORT ;;
    esac
    [ -z "${CARDX_REDIS_CLUSTER-}" ] || redis="$CARDX_REDIS_CLUSTER cluster"

    render "${CARDX_NGINX_CONF:-$ROOT/conf/nginx.conf}" \
        "$VAR/conf/nginx.conf" \
        "LOAD_MODULE=$load" "USER=$user" \
        "PROCESSES=${CARDX_NGINX_PROCESSES:-2}" "FILES=$files" \
        "CONNECTIONS=$((files * 3 / 4))" "PIDS=$PIDS" "LOG=$LOG" \
        "TMP=$VAR/tmp" "CACHE=$VAR/cache" "RUN=$RUN" \
        "REDIS=$redis" "ID_KEY=$SECRETS/id_key" \
        "LISTEN=$listen" "OPS_LISTEN=127.0.0.1:$OPS_PORT" \
        "CERTIFICATE=$VAR/tls/server.pem" \
        "REFUSALS=${CARDX_REFUSALS:-rate=20r/s burst=2000}" \
        "SIGN_IN_RATE=50r/s" "SIGN_IN_BURST=2000" \
        "CERTIFICATE_KEY=$VAR/tls/server.key" "WEB=$WEB"
}

# --- PostgreSQL ------------------------------------------------------------

psql_demo() {
    psql -X -q -v ON_ERROR_STOP=1 -h "$PG_SOCKETS" -U postgres "$@"
}

postgres_init() {
    local data=$VAR/pg
    [ ! -s "$data/PG_VERSION" ] || return 0
    rm -rf "$data"
    if [ -s "${CARDX_TEMPLATE-}/pg/PG_VERSION" ]; then
        cp -a "$CARDX_TEMPLATE/pg" "$data" \
            && cp "$CARDX_TEMPLATE/migrated" "$VAR/migrated"
        return
    fi
    rm -f "$VAR/migrated"
    mkdir "$data"
    [ "$(id -u)" != 0 ] || chown "$PG_USER" "$data"
    (cd "$data" && as "$PG_USER" $PG_BIN/initdb -D "$data" -A trust \
        -U postgres -E UTF8 --locale=C.UTF-8 --no-sync) \
        >"$LOG/initdb.log" 2>&1 || {
        failed "initdb failed" "$LOG/initdb.log"
        rm -rf "$data"
        return 1
    }
    echo "include 'cardx.conf'" >>"$data/postgresql.conf"
}

pg_start() {
    (cd "$VAR/pg" && as "$PG_USER" $PG_BIN/pg_ctl -D "$VAR/pg" -s -w -t 60 \
        -l "$LOG/postgres.log" -o "-c listen_addresses='' \
        -c fsync=${CARDX_FSYNC:-on} -c unix_socket_permissions=0777 \
        -c unix_socket_directories='$PG_SOCKETS'" start) </dev/null
}

postgres_start() {
    local data=$VAR/pg log=$LOG/postgres.log
    ! running postgres || return 0
    postgres_init || return 1
    cp conf/postgresql.conf "$data/cardx.conf"
    : >>"$log"
    [ "$(id -u)" != 0 ] || chown "$PG_USER" "$log" "$data/cardx.conf"

    # After a kill -9 the processes it left must notice first.
    wait_for 10 pg_start || {
        failed "PostgreSQL does not start" "$log"
        return 1
    }
    head -n 1 "$data/postmaster.pid" >"$PIDS/postgres.pid"
}

# Deploys what the database has not got; nothing if migrations/ is as it was.
migrate() {
    local sum
    sum=$(cat migrations/*.plan migrations/*/*.sql 2>/dev/null | sha256sum)
    [ "$(cat "$VAR/migrated" 2>/dev/null)" != "$sum" ] || return 0
    {
        [ -n "$(psql_demo -At -c "select 1 from pg_database
            where datname = 'cardx'" postgres)" ] \
            || psql_demo -c 'create database cardx' postgres
    } >"$LOG/migrate.log" 2>&1 || {
        failed "no database" "$LOG/migrate.log"
        return 1
    }
    (cd migrations && HOME=$VAR/tmp SQITCH_FULLNAME=cardx \
        SQITCH_EMAIL=cardx@example.org SQITCH_USER_CONFIG=/dev/null \
        sqitch deploy --verify \
        "db:pg://postgres@/cardx?host=$PG_SOCKETS") \
        >>"$LOG/migrate.log" 2>&1 </dev/null \
        && psql_demo -c 'alter role cardx_api login' \
            -c 'alter role cardx_fanout login' cardx >>"$LOG/migrate.log" 2>&1 \
        || {
            failed "the migrations do not deploy" "$LOG/migrate.log"
            return 1
        }
    echo "$sum" >"$VAR/migrated"
}

# A migrated database to copy from, put in place whole.
demo_template() {
    local to=$1 sum
    sum=$(cat migrations/*.plan migrations/*/*.sql 2>/dev/null | sha256sum)
    [ "$(cat "$to/migrated" 2>/dev/null)" != "$sum" ] || return 0
    VAR=$(mktemp -d /tmp/cx.XXXXXX) || exit 1
    CARDX_VAR=$VAR CARDX_FSYNC=off choose_var
    # shellcheck disable=SC2064 # now: nothing of it is known at the end
    trap "end postgres INT 20; rm -rf '$VAR' '$to.new'" EXIT
    CARDX_FSYNC=off
    folders && postgres_start && migrate || exit 1
    psql_demo -c 'create extension if not exists pgtap' cardx || exit 1
    end postgres INT 20
    rm -rf "$to.new"
    mkdir -p "$to.new" && mv "$VAR/pg" "$VAR/migrated" "$to.new/" || exit 1
    rm -rf "$to"
    mv "$to.new" "$to"
}

# --- the others ------------------------------------------------------------

# CARDX_REDIS_CLUSTER names nodes of a cluster that is there already.
redis_start() {
    [ -z "${CARDX_REDIS_CLUSTER-}" ] || return 0
    ! running redis || return 0
    cp conf/redis.conf "$VAR/conf/redis.conf"
    as "$RUN_USER" redis-server "$VAR/conf/redis.conf" </dev/null \
        >/dev/null 2>&1 --port 0 --unixsocket "$RUN/redis.sock" \
        --unixsocketperm 770 --daemonize yes --dir "$VAR/redis" \
        --pidfile "$PIDS/redis.pid" --logfile "$LOG/redis.log"
    { wait_for 10 redis-cli -s "$RUN/redis.sock" ping \
        && wait_for 2 running redis; } || failed "Redis does not start" \
        "$LOG/redis.log"
}

cardxd_start() {
    ! running cardxd || return 0
    : >>"$LOG/cardxd.log"
    [ "$(id -u)" != 0 ] || chown "$RUN_USER" "$LOG/cardxd.log"
    (cd "$VAR" && as "$RUN_USER" setsid -f "$(program cardxd)" \
        "$VAR/conf/cardx.conf") \
        >>"$LOG/cardxd.log" 2>&1 </dev/null
    wait_for 10 running cardxd || failed "cardxd does not start" \
        "$LOG/cardxd.log"
}

gone() { ! there "$1"; }

# nginx's workers outlive a master that was killed, and keep the ports; ours
# are known by our log.
nginx_orphans() {
    local pid
    running nginx && return
    for pid in $(pgrep -x nginx); do
        if [ -n "$(find "/proc/$pid/fd" -lname "$LOG/nginx-access.log" \
            2>/dev/null)" ]; then
            kill -TERM "$pid"
            wait_for 5 gone "$pid"
        fi
    done
}

nginx_run() {
    "$(program nginx)" -p "$VAR" -e "$LOG/nginx-error.log" \
        -c "$VAR/conf/nginx.conf" "$@" \
        >>"$LOG/nginx-start.log" 2>&1 </dev/null
}

nginx_start() {
    ! running nginx || return 0
    : >"$LOG/nginx-start.log"
    { nginx_run && wait_for 10 running nginx; } || failed "nginx does not start" \
        "$LOG/nginx-start.log"
}

healthy() { curl -sf -m 5 "http://127.0.0.1:$OPS_PORT/healthz"; }

# Whether denials can be confirmed: not until Redis has known for a second
# which caches there are.
settled() {
    local since one=${CARDX_REDIS_CLUSTER-}
    one=${one%% *}
    local -a where=(-s "$RUN/redis.sock")
    [ -z "$one" ] || where=(-c -h "${one%:*}" -p "${one##*:}")
    since=$(redis-cli "${where[@]}" hget 'cardx:{zones}' since) \
        && [ "${since#* }" -lt "$(($(date +%s%3N) - 1000))" ]
}

# Only PostgreSQL with the schema, for tests of that.
demo_database() {
    choose_var
    check
    folders
    postgres_start && migrate || return 1
    psql_demo -c 'create extension if not exists pgtap' cardx
}

# --- commands --------------------------------------------------------------

demo_start() {
    choose_var
    if [ -z "${CARDX_READY-}" ]; then
        ci/deps || exit 1
        choose_var
        make -s -j"$(nproc)" programs module >/dev/null || exit 1
    fi
    check
    folders
    secret id_key
    secret master_key
    secret sms_secret
    certificate && programs && settings || return 1
    (umask 077 && demo_assignments >"$VAR/demo.env")

    redis_start && postgres_start && migrate && nginx_conf && cardxd_start \
        && nginx_start || return 1

    wait_for 30 healthy || {
        say "it does not get healthy: $(curl -s -m 5 \
            "http://127.0.0.1:$OPS_PORT/healthz")"
        failed "see $LOG" "$LOG/cardxd.log"
        return 1
    }
    wait_for 10 settled || failed "Redis does not know its caches" \
        "$LOG/nginx-error.log"
}

demo_stop() {
    [ -n "${VAR-}" ] || choose_var
    end nginx QUIT 5 TERM 5
    nginx_orphans
    end cardxd TERM 20
    end redis TERM 10
    end postgres INT 20
}

demo_reload() {
    choose_var
    . "$VAR/demo.env"
    running cardxd && running nginx || die "it does not run"
    programs
    settings
    nginx_conf
    nginx_run -t || failed "nginx refuses its configuration" \
        "$LOG/nginx-start.log" || exit 1
    kill -HUP "$(pid_of cardxd)" "$(pid_of nginx)"
}

demo_status() {
    local name pid bad=0
    choose_var
    for name in postgres redis nginx cardxd; do
        if running $name; then
            printf '%-12s %s\n' $name "$(pid_of $name)"
        else
            printf '%-12s %s\n' $name "does not run"
            bad=1
        fi
    done
    for pid in "$PIDS"/*.pid; do
        name=$(basename "$pid" .pid)
        case $name in
        postgres | redis | nginx | cardxd | '*') ;;
        *) printf '%-12s %s\n' "$name" "$(cat "$pid")" ;;
        esac
    done
    [ ! -s "$VAR/demo.env" ] || . "$VAR/demo.env"
    if curl -sf -m 5 "${CARDX_OPS_URL-}/healthz" >/dev/null; then
        echo healthy
    else
        echo "not healthy"
        bad=1
    fi
    return $bad
}

demo_reset() {
    choose_var
    demo_stop
    rm -rf "${VAR:?}"/{pg,pgrun,run,redis,log,sms,tmp,cache,conf,bin,web} \
        "$VAR"/{secrets,tls,pids,migrated,demo.env,cardxd.path}
}

demo_assignments() {
    cat <<END
CARDX_URL='https://$HOST:$PORT'
CARDX_CA='$VAR/tls/ca.pem'
CARDX_OPS_URL='http://127.0.0.1:$OPS_PORT'
CARDX_SMS_LOG='$VAR/sms/sms.log'
CARDX_SMS_SECRET='$(cat "$SECRETS/sms_secret")'
CARDX_PG='host=$PG_SOCKETS dbname=cardx user=postgres'
CARDX_REDIS='$RUN/redis.sock'
CARDX_PIDS='$PIDS'
END
}

demo_env() {
    choose_var
    [ -s "$VAR/demo.env" ] || die "not started yet: ci/demo start"
    cat "$VAR/demo.env"
}

demo_show() {
    [ -z "${CARDX_READY-}" ] || return 0
    . "$VAR/demo.env"
    cat <<END
cardx runs at $CARDX_URL
    certificate   $CARDX_CA
    health        $CARDX_OPS_URL/healthz
    SMS           $CARDX_SMS_LOG
    logs          $LOG
    processes     $CARDX_PIDS
ci/demo env prints these for a shell; ci/demo stop ends it.
END
}
