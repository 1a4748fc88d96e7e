package CardxTest::Edge;

# nginx with the module, and Redis or a fake of it: enough for the edge's own
# tests, with no PostgreSQL and no worker.  What falls back is answered 299.
#
#     my $edge = CardxTest::Edge->new;
#     my $card = $edge->card(body => '{"@type":"Card"}');
#     my $key = $edge->key($card);
#     is($edge->get("/c/$card?k=$key")->{status}, 200);
#     $edge->finish;
#
# Environment: CARDX_NGINX, and CARDX_MODULE (empty: built in); CARDX_KEEP
# leaves the folder.

use strict;
use warnings;

use Cwd ();
use Digest::SHA qw(hmac_sha256 sha256);
use File::Basename qw(dirname);
use File::Temp ();
use IO::Select ();
use IO::Socket::INET ();
use IO::Socket::UNIX ();
use MIME::Base64 qw(encode_base64);
use POSIX ();
use Test::More ();
use Time::HiRes qw(time sleep);

use CardxTest::FakeRedis ();
use CardxTest::Port qw(free_port);

my $ROOT = Cwd::abs_path(dirname(__FILE__) . '/../../..');
my $PATIENCE = 20;

# Options: fake => 1 for a fake Redis; redis_options, http, server: text put
# into cardx_redis, http {} and server {}; workers, master; redis_started => 0
# leaves Redis out at first; not_ready => 1 leaves cardx:ready out; fallback
# => 0 configures none; fake_port => makes the fake a cluster there;
# cache => '4m' gives it a cache of that size, and each
# answer the header Edge-Status.
sub new {
    my ($class, %options) = @_;
    my $self = bless {
        workers => 1,
        master => 'on',
        redis_options => '',
        http => '',
        server => '',
        fallback => 1,
        redis_started => 1,
        secrets => [],
        %options,
    }, $class;

    $self->{folder} = File::Temp->newdir(
        'cxeXXXXXX', TMPDIR => 1, CLEANUP => !$ENV{CARDX_KEEP});
    chmod 0755, $self->{folder};
    $self->{dir} = "$self->{folder}";
    $self->{socket} = "$self->{dir}/redis.sock";
    $self->{id_key} = random_bytes(32);
    $self->{port} = free_port();
    $self->{h2_port} = free_port();
    $self->{owner} = $$;

    write_file("$self->{dir}/id.key", unpack('H*', $self->{id_key}) . "\n");
    mkdir "$self->{dir}/tmp";
    $self->write_conf;
    $self->start_redis if $self->{redis_started};
    $self->start_nginx if !$self->{no_start};
    return $self;
}

# --- small things ----------------------------------------------------------

sub random_bytes {
    my ($n) = @_;
    open my $fh, '<:raw', '/dev/urandom' or die "urandom: $!";
    read($fh, my $bytes, $n) == $n or die 'urandom';
    return $bytes;
}

sub write_file {
    my ($path, $text) = @_;
    open my $fh, '>', $path or die "$path: $!";
    print $fh $text;
    close $fh or die "$path: $!";
}

sub read_file {
    my ($path) = @_;
    open my $fh, '<', $path or return '';
    local $/;
    return scalar <$fh> // '';
}

# Calls a condition until it is true; its value, or nothing after a while.
sub await {
    my ($condition, $patience) = @_;
    my $end = time + ($patience || $PATIENCE);
    while (1) {
        my $value = $condition->();
        return $value if $value;
        return if time > $end;
        sleep 0.01;
    }
}

sub base64url {
    my $text = encode_base64($_[0], '');
    $text =~ tr{+/}{-_};
    $text =~ s/=+$//;
    return $text;
}

sub base32 {
    my $bits = unpack('B*', $_[0]);
    $bits .= '0' x (-length($bits) % 5);
    my @alphabet = ('A' .. 'Z', 2 .. 7);
    return join '', map { $alphabet[oct "0b$_"] } $bits =~ /(.{5})/g;
}

# --- servers ---------------------------------------------------------------

sub dir { $_[0]{dir} }
sub port { $_[0]{port} }

# For CardxTest::H2.
sub url { "http://127.0.0.1:$_[0]{h2_port}" }

sub write_conf {
    my ($self) = @_;
    my $d = $self->{dir};
    my $module = $ENV{CARDX_MODULE}
        // ($ENV{CARDX_NGINX} ? '' : "$ROOT/build/ngx_http_cardx_module.so");
    my $load = $module ? "load_module $module;" : '';
    my $user = $> == 0 ? 'user root;' : '';
    my $fallback = $self->{fallback} ? 'cardx_fallback @worker;' : '';
    my $temp = join '', map { "    ${_}_temp_path $d/tmp;\n" }
        qw(client_body proxy fastcgi uwsgi scgi);
    my $cache = $self->{cache} ? "cardx_cache zone=cards:$self->{cache};\n"
        . "    add_header Edge-Status \$cardx_status always;" : '';
    my $redis = $self->{redis_address}
        || ($self->{fake_port} ? "127.0.0.1:$self->{fake_port} cluster"
            : "unix:$self->{socket}");

    write_file("$d/nginx.conf", <<"END");
$load
$user
daemon off;
master_process $self->{master};
worker_processes $self->{workers};
worker_shutdown_timeout 30s;
pid $d/nginx.pid;
error_log $d/error.log info;

events {
    worker_connections 512;
}

http {
$temp
    log_format edge '\$status \$cardx_status \$body_bytes_sent';
    access_log $d/access.log edge;
    root $d/html;
    keepalive_requests 100000;

    cardx_redis $redis $self->{redis_options};
    cardx_id_key id.key;
    $cache
    $fallback
    cardx_media \@media;
$self->{http}

    server {
        listen 127.0.0.1:$self->{port};
        listen 127.0.0.1:$self->{h2_port} http2;
        server_name edge.example;

        location /c/ {
            cardx_card on;
        }

        location /t/ {
            cardx_thumbnail on;
        }

        location /q/ {
            cardx_redirect on;
        }

        location /Q/ {
            cardx_redirect on;
        }

        location /v1/ {
            cardx_auth on;
            proxy_pass http://127.0.0.1:$self->{port}/echo/;
            proxy_set_header User \$cardx_user_id;
            proxy_set_header Terminal \$cardx_terminal_id;
        }

        location /echo/ {
            add_header Cardx-User \$http_user always;
            add_header Cardx-Terminal \$http_terminal always;
            return 200 "echo \$uri";
        }

        location /metrics {
            cardx_metrics on;
        }

        location \@worker {
            add_header Edge-Status \$cardx_status always;
            return 299 "worker";
        }

        location \@media {
            add_header Edge-Status \$cardx_status always;
            add_header Media-Id \$cardx_media_id always;
            add_header Media-Type \$cardx_media_type always;
            return 298 "media";
        }
$self->{server}
    }
}
END
}

sub start_redis {
    my ($self) = @_;
    if ($self->{fake}) {
        $self->{fake_redis} ||= CardxTest::FakeRedis->new(
            $self->{socket}, $self->{dir}, $self->{fake_port});
        $self->{fake_redis}->start;
        return;
    }
    my @command = ('redis-server', '--port', 0, '--unixsocket',
        $self->{socket}, '--dir', $self->{dir}, '--save', '',
        '--appendonly', 'no', '--logfile', "$self->{dir}/redis.log",
        @{ $self->{redis_arguments} || [] });
    $self->{redis_pid} = $self->spawn('redis.out', @command);
    delete $self->{redis_link};
    await(sub { eval { $self->redis('PING') } }) or die 'redis: not started';
    $self->make_ready unless $self->{not_ready};
}

sub make_ready {
    my ($self) = @_;
    my ($run_id) = $self->redis('INFO', 'server') =~ /run_id:(\w+)/;
    $self->redis('SET', 'cardx:ready', $run_id);
}

sub stop_redis {
    my ($self, $signal) = @_;
    delete $self->{redis_link};
    if ($self->{fake}) {
        $self->{fake_redis}->stop;
        return;
    }
    $self->reap($signal || 'TERM', delete $self->{redis_pid});
    unlink $self->{socket};
}

sub start_nginx {
    my ($self) = @_;
    my $nginx = $ENV{CARDX_NGINX} || '/usr/sbin/nginx';
    $self->{nginx_pid} = $self->spawn('nginx.out', $nginx, '-p', $self->{dir},
        '-c', "$self->{dir}/nginx.conf", '-e', "$self->{dir}/error.log");
    await(sub {
        waitpid($self->{nginx_pid}, POSIX::WNOHANG()) == 0
            or die 'nginx: ' . $self->nginx_output;

        # it listens before it handles signals, but has workers after that
        ($self->{master} eq 'off' || $self->workers) && $self->connect;
    }) or die 'nginx: not started: ' . $self->nginx_output;
    $self->await_ready
        if $self->{redis_started} && !$self->{not_ready} && !$self->{no_wait};
}

# Until every worker of nginx answers from Redis.
sub await_ready {
    my ($self) = @_;
    my $thumbnail = $self->thumbnail('ready');
    my $good = 0;
    await(sub {
        my $status = $self->get("/t/$thumbnail")->{status};
        $good = $status == 200 ? $good + 1 : 0;
        $good >= 8 * $self->{workers};
    }) or die 'nginx does not answer from Redis: ' . $self->error_log;
}

# What $cardx_status says of a request, in a configuration with a cache.
sub said {
    my ($self, @request) = @_;
    return $self->get(@request)->{headers}{'edge-status'} // '';
}

# Until the cache serves: its lease begins once Redis is heard.
sub await_cache {
    my ($self) = @_;
    my $path = '/t/' . $self->thumbnail('cached');
    return await(sub { $self->said($path) eq 'cached' });
}

# Publishes what is to be forgotten, names in Redis or *; the number of caches
# that have acknowledged it.
sub forget {
    my ($self, @names) = @_;
    my $nonce = unpack 'H*', random_bytes(8);
    my %zones = @{ $self->redis('HGETALL', 'cardx:{zones}') };
    delete $zones{since};
    $self->redis('PUBLISH', 'cardx:forget', join ' ', $nonce,
        map { $_ eq '*' ? $_ : sprintf '%08x', object($_) } @names);
    await(sub { !grep { !$self->redis('EXISTS',
        "cardx:{zones}:ack:$nonce:$_") } keys %zones }, 1);
    return scalar grep { $self->redis('EXISTS',
        "cardx:{zones}:ack:$nonce:$_") } keys %zones;
}

# cx_object()
sub object {
    my ($name) = @_;
    my $h = 2166136261;
    $h = (($h ^ $_) * 16777619) & 0xffffffff for unpack 'C*', $name;
    $h = ($h ^ ($h >> 15)) & 0x7fffffff;
    return $name =~ /^cardx:head:\{/ ? $h | 0x80000000 : $h;
}

# nginx -t of the present configuration: output, and success.
sub test_conf {
    my ($self) = @_;
    my $nginx = $ENV{CARDX_NGINX} || '/usr/sbin/nginx';

    # nginx -t frees nothing before it exits
    local $ENV{ASAN_OPTIONS} = 'detect_leaks=0';
    my $output = `$nginx -t -e stderr -p $self->{dir} -c $self->{dir}/nginx.conf 2>&1`;
    return ($output, $? == 0);
}

sub nginx_output {
    my ($self) = @_;
    return read_file("$self->{dir}/nginx.out") . $self->error_log;
}

sub error_log { return read_file("$_[0]{dir}/error.log") }

sub spawn {
    my ($self, $log, @command) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/$log";
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }
    return $pid;
}

# Ends a child; its wait status, or nothing if it had to be killed.
sub reap {
    my ($self, $signal, $pid) = @_;
    kill $signal, $pid;
    my $status;
    await(sub {
        return 0 if waitpid($pid, POSIX::WNOHANG()) == 0;
        $status = $?;
        return 1;
    });
    return $status if defined $status;
    kill 'KILL', $pid;
    waitpid $pid, 0;
    return;
}

sub stop_nginx {
    my ($self, $signal) = @_;
    return $self->reap($signal || 'QUIT', delete $self->{nginx_pid});
}

sub workers {
    my ($self) = @_;
    my $pid = $self->{nginx_pid};
    return split ' ', read_file("/proc/$pid/task/$pid/children");
}

# Reload; true when all workers are others.
sub reload {
    my ($self) = @_;
    my %old = map { $_ => 1 } $self->workers;
    kill 'HUP', $self->{nginx_pid};
    return await(sub {
        my @now = $self->workers;
        return @now == $self->{workers} && !grep { $old{$_} } @now;
    });
}

# Stops everything; two tests: nginx ended by itself, and its log is clean.
sub finish {
    my ($self) = @_;
    my $status = $self->{nginx_pid} ? $self->stop_nginx : 0;
    Test::More::is($status, 0, 'nginx ended by itself');
    $self->stop_redis if $self->{redis_pid} || $self->{fake_redis};

    my $log = $self->nginx_output;
    my @bad = grep {
        /\[(?:alert|emerg|crit)\]|AddressSanitizer|LeakSanitizer|SEGV/
            || /exited on signal/
            || /(?:cardx|cx_)\w*\.[ch]:.*runtime error/
    } split /\n/, $log;
    if ($self->{expect_log}) {
        @bad = grep { $_ !~ $self->{expect_log} } @bad;
    }
    for my $secret (@{ $self->{secrets} }) {
        push @bad, "a secret is in error_log: $1"
            if $log =~ /^(.*\Q$secret\E.*)$/im;
    }
    Test::More::is(join("\n", @bad), '', 'nothing bad in error_log')
        or Test::More::diag($log);
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local $?;
    for my $pid (grep { $_ } @$self{qw(nginx_pid redis_pid)}) {
        kill 'KILL', $pid;
        waitpid $pid, 0;
    }
    $self->{fake_redis}->stop if $self->{fake_redis};
}

# --- Redis -----------------------------------------------------------------

# One command; its answer (arrays as references, errors die).
sub redis {
    my ($self, @arguments) = @_;
    return $self->{fake_redis}->put(@arguments) if $self->{fake};
    my $link = $self->{redis_link} ||= IO::Socket::UNIX->new($self->{socket})
        || die "redis: $!";
    print $link CardxTest::FakeRedis::encode(@arguments);
    return read_reply($link);
}

sub read_reply {
    my ($link) = @_;
    my $line = readline($link) // die 'redis: closed';
    $line =~ s/\r\n$//;
    my ($type, $rest) = $line =~ /^(.)(.*)$/s;
    die "redis: $rest" if $type eq '-';
    return $rest if $type eq '+' || $type eq ':';
    return undef if $rest == -1;
    return [ map { read_reply($link) } 1 .. $rest ] if $type eq '*';
    my $n = $rest + 2;
    my $value = '';
    while (length($value) < $n) {
        read($link, $value, $n - length($value), length($value))
            or die 'redis: closed';
    }
    return substr $value, 0, $rest;
}

# --- ids, and what the workers would project -------------------------------

sub id {
    my ($self, $kind) = @_;
    my $random = random_bytes(16);
    my $tag = hmac_sha256($kind . $random, $self->{id_key});
    return base64url($random . substr $tag, 0, 5);
}

# body, views => {view => body}, media => {"view:kind" => value}
sub card {
    my ($self, %options) = @_;
    my $id = $self->id('c');
    my %views = %{ $options{views} || {} };
    $views{''} = $options{body} if defined $options{body};
    my %media = %{ $options{media} || {} };
    $self->redis('HSET', "cardx:card:{$id}", 'v', $options{revision} || 1,
        (map { ("b:$_", $views{$_}) } sort keys %views),
        (map { ("m:$_", $media{$_}) } sort keys %media));
    return $id;
}

sub new_key {
    my ($self) = @_;
    my $raw = random_bytes(16);
    my $key = base32($raw);
    push @{ $self->{secrets} }, $key;
    return ($key, unpack('H*', substr sha256($raw), 0, 16));
}

# A key to a card; options: expires, view, or value for the entry itself.
sub key {
    my ($self, $card, %options) = @_;
    my ($key, $name) = $self->new_key;
    my $expires = $options{expires} || int(time) + 600;
    my $value = $options{value} // "$expires " . ($options{view} || '');
    $self->redis('HSET', "cardx:card:{$card}", "k:$name", $value);
    $self->redis('SET', "cardx:q:$name", "$expires $card");
    $self->{names}{$key} = $name;
    return $key;
}

sub hash_name { return $_[0]{names}{ $_[1] } }

sub thumbnail {
    my ($self, $bytes) = @_;
    my $id = $self->id('t');
    $self->redis('SET', "cardx:thumb:$id", $bytes);
    return $id;
}

# An access token, its user and terminal; options: expires, terminal, kind,
# store => 0.
sub token {
    my ($self, %options) = @_;
    my $user = random_bytes(16);
    my $user_id = base64url(
        $user . substr hmac_sha256('u' . $user, $self->{id_key}), 0, 5);
    my $terminal = $options{terminal} || 123456789;
    my $raw = $user . pack('N', $terminal) . random_bytes(32);
    my $kind = $options{kind} || 'A';
    $raw .= substr hmac_sha256($kind . $raw, $self->{id_key}), 0, 5;
    my $token = base64url($raw);
    my $name = unpack 'H*', substr sha256($raw), 0, 16;
    my $expires = $options{expires} || int(time) + 900;
    $self->redis('SET', "cardx:token:{$user_id}:$name", $expires)
        unless exists $options{store} && !$options{store};
    push @{ $self->{secrets} }, $token;
    return { token => $token, user_id => $user_id, terminal => $terminal,
        name => $name };
}

# --- HTTP ------------------------------------------------------------------

sub connect {
    my ($self) = @_;
    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1', PeerPort => $self->{port});
    $socket->autoflush if $socket;
    return $socket;
}

sub get { my ($self, @rest) = @_; return $self->request('GET', @rest) }
sub head { my ($self, @rest) = @_; return $self->request('HEAD', @rest) }

# {status, headers (a hash, lower case), raw (the header), body}; nothing if
# the connection ended without an answer.
sub request {
    my ($self, $method, $path, $headers, $body) = @_;
    my $socket = $self->connect or die "connect: $!";
    print $socket request_text($method, $path,
        { Connection => 'close', %{ $headers || {} } }, $body);
    return read_response($socket, $method);
}

sub request_text {
    my ($method, $path, $headers, $body) = @_;
    my $text = "$method $path HTTP/1.1\r\nHost: edge.example\r\n";
    for my $name (sort keys %{ $headers || {} }) {
        my $value = $headers->{$name};
        $text .= "$name: $_\r\n" for ref $value ? @$value : $value;
    }
    $text .= 'Content-Length: ' . length($body) . "\r\n" if defined $body;
    return "$text\r\n" . ($body // '');
}

sub read_response {
    my ($socket, $method) = @_;
    my $end = time + $PATIENCE;
    my $buffer = '';
    my $more = sub {
        IO::Select->new($socket)->can_read($end - time) or die 'no answer';
        return sysread $socket, $buffer, 65536, length $buffer;
    };

    # bytes of the next answer on a connection that is kept
    $buffer = ${*$socket}{rest} // '' if defined ${*$socket}{rest};

    while ($buffer !~ /\r\n\r\n/) {
        $more->() or return;
    }
    my ($raw, $rest) = $buffer =~ /^(.*?)\r\n\r\n(.*)$/s;
    $buffer = $rest;
    my ($first, @lines) = split /\r\n/, $raw;
    my ($status) = $first =~ m{^HTTP/1\.[01] (\d+)};
    my %headers;
    for (@lines) {
        my ($name, $value) = /^([^:]+):\s*(.*)$/;
        $name = lc $name;
        $headers{$name} = exists $headers{$name}
            ? "$headers{$name}, $value" : $value;
    }

    my $body = '';
    if ($method eq 'HEAD' || $status == 304 || $status == 204) {
        # none

    } elsif (defined $headers{'content-length'}) {
        my $length = $headers{'content-length'};
        while (length($buffer) < $length) {
            $more->() or last;
        }
        $body = substr $buffer, 0, $length, '';

    } elsif (($headers{'transfer-encoding'} // '') eq 'chunked') {
        while (1) {
            if ($buffer =~ s/^([0-9a-f]+)\r\n//i) {
                my $n = hex $1;
                while (length($buffer) < $n + 2) { $more->() or last }
                $body .= substr $buffer, 0, $n, '';
                substr $buffer, 0, 2, '';
                last if $n == 0;
                next;
            }
            $more->() or last;
        }

    } else {
        1 while $more->();
        $body = $buffer;
        $buffer = '';
    }
    ${*$socket}{rest} = $buffer;

    # headers that say when or where are left out of what is compared
    my $shape = join "\n", $first, grep { !/^(?:Date|Connection|Server):/ }
        @lines;
    return { status => $status, headers => \%headers, raw => $raw,
        shape => $shape, body => $body };
}

# One value of the edge's counters.
sub metric {
    my ($self, $name) = @_;
    my ($value) = $self->get('/metrics')->{body} =~ /^\Q$name\E (\d+)$/m;
    return $value;
}

1;
