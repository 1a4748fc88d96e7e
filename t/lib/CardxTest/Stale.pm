package CardxTest::Stale;

# Whether anything that was revoked is still answered: several processes draw
# keys, have every nginx cache them, revoke them while others still fetch, and
# fetch again once the 204 has come.
#
#     my @edges = map { CardxTest::Stale::edge($t, $_) } 1 .. 2;
#     my $all = CardxTest::Stale::run($t, \@edges, fetches => 100000);
#     $all->{stale}, $all->{fetches}, $all->{latencies} ...
#
# An edge is one more nginx before the same workers and Redis, with a cache of
# its own, plain HTTP.

use strict;
use warnings;

use IO::Socket::INET ();
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep time);

use CardxTest ();

my $json = JSON::PP->new->canonical;

# {port, pid, dir}: the stack's own configuration, moved.
sub edge {
    my ($t, $n) = @_;
    my $dir = $t->var . "/edge$n";
    my $port = CardxTest::free_port();
    my $ops = CardxTest::free_port();
    mkdir $dir or die "$dir: $!";
    chmod 0777, $dir;

    open my $in, '<', $t->var . '/conf/nginx.conf' or die "nginx.conf: $!";
    my $conf = do { local $/; <$in> };
    $conf =~ s/listen \S+ ssl http2;/listen 127.0.0.1:$port;/;
    $conf =~ s/listen 127\.0\.0\.1:(?!$port;)\d+;/listen 127.0.0.1:$ops;/;
    $conf =~ s/^\s*ssl_.*\n//mg;
    $conf =~ s/^pid .*/pid $dir\/nginx.pid;/m;
    $conf =~ s{^error_log \S+}{error_log $dir/error.log};
    $conf =~ s{^(error_log) \S+}{$1 $dir/error.log}m;
    $conf =~ s{access_log \S+ cardx;}{access_log off;};
    $conf =~ s{(_temp_path) \S+/(\w+);}{$1 $dir/$2;}g;
    $conf =~ s{fastcgi_cache_path \S+}{fastcgi_cache_path $dir/cache};
    $conf =~ s{^http \{}{daemon off;\nhttp \{}m;
    $conf =~ s{keepalive_requests \d+;}{keepalive_requests 10000000;};
    open my $out, '>', "$dir/nginx.conf" or die "nginx.conf: $!";
    print $out $conf;
    close $out or die "nginx.conf: $!";

    my $edge = { port => $port, dir => $dir };
    launch($t, $edge);
    return $edge;
}

sub launch {
    my ($t, $edge) = @_;
    my $nginx = $ENV{CARDX_NGINX} || '/usr/sbin/nginx';
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>>', "$edge->{dir}/nginx.out";
        open STDERR, '>&', \*STDOUT;
        exec $nginx, '-p', $edge->{dir}, '-e', "$edge->{dir}/error.log",
            '-c', "$edge->{dir}/nginx.conf" or POSIX::_exit(127);
    }
    $edge->{pid} = $pid;
    $t->wait_for(sub { IO::Socket::INET->new(
        PeerAddr => '127.0.0.1', PeerPort => $edge->{port}) }, 20)
        or die "edge: see $edge->{dir}";
}

sub end {
    my ($edge) = @_;
    kill 'QUIT', $edge->{pid};
    waitpid $edge->{pid}, 0;
    return $?;
}

# The process that holds the lease of an edge's cache: it alone has two
# connections to Redis.
sub holder {
    my ($edge) = @_;
    open my $in, '<', "/proc/$edge->{pid}/task/$edge->{pid}/children"
        or return;
    my ($best, $most) = (undef, 0);
    for my $pid (split ' ', <$in> // '') {
        my $n = grep { (readlink($_) // '') =~ /^socket:/ }
            glob "/proc/$pid/fd/*";
        ($best, $most) = ($pid, $n) if $n > $most;
    }
    return $best;
}

# --- one process ---------------------------------------------------------------

sub connect_to {
    my ($port) = @_;
    my $end = time + 10;
    while (time < $end) {
        my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
            PeerPort => $port);
        if ($socket) {
            setsockopt $socket, Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1;
            return { port => $port, socket => $socket, rest => '' };
        }
        sleep 0.02;
    }
    die "port $port: $!";
}

sub say_to {
    my ($link, $text) = @_;
    local $SIG{PIPE} = 'IGNORE';
    return (syswrite($link->{socket}, $text) // 0) == length $text;
}

sub more {
    my ($link) = @_;
    return sysread $link->{socket}, $link->{rest}, 65536, length $link->{rest};
}

# The next answer's status and body; nothing if the connection is lost.
sub answer {
    my ($link) = @_;
    while ($link->{rest} !~ /\r\n\r\n/) {
        more($link) or return;
    }
    my ($head) = $link->{rest} =~ /^(.*?\r\n\r\n)/s;
    substr $link->{rest}, 0, length($head), '';
    my ($status) = $head =~ m{^HTTP/1\.1 (\d+)} or die "answer: $head";
    my $body = '';

    if (my ($length) = $head =~ /^content-length: (\d+)/im) {
        while (length($link->{rest}) < $length) {
            more($link) or return;
        }
        $body = substr $link->{rest}, 0, $length, '';

    } elsif ($head =~ /^transfer-encoding: chunked/im) {
        while ($link->{rest} !~ /(?:^|\r\n)0\r\n\r\n/) {
            more($link) or return;
        }
        $link->{rest} =~ s/^(.*?(?:^|\r\n)0\r\n\r\n)//s;
        $body = $1;
    }
    return ($status, $body);
}

sub text_of {
    my ($method, $path, $token, $body) = @_;
    my $text = "$method $path HTTP/1.1\r\nHost: edge\r\n";
    $text .= "Authorization: Bearer $token\r\n" if defined $token;
    $text .= "Content-Type: application/json\r\nContent-Length: "
        . length($body) . "\r\n" if defined $body;
    return "$text\r\n" . ($body // '');
}

# Asks until there is an answer that is not 5xx; the status, the body, and how
# long that answer took.
sub ask {
    my ($me, @what) = @_;
    while (1) {
        my $start = time;
        my ($status, $body) = say_to($me->{api}, text_of(@what))
            ? answer($me->{api}) : ();
        if (!defined $status) {
            $me->{api} = connect_to($me->{api}{port});

        } elsif ($status < 500) {
            return ($status, $body, time - $start);

        } else {
            $me->{again}++;
        }
        sleep 0.01;
    }
}

# The same requests on every connection; the statuses.
sub burst {
    my ($me, $text, $n, $meanwhile) = @_;
    my @told = map { say_to($_, $text) } @{ $me->{links} };
    $meanwhile->() if $meanwhile;
    my @statuses;
    for my $i (0 .. $#told) {
        my $link = $me->{links}[$i];
        for (1 .. $n) {
            my ($status) = $told[$i] ? answer($link) : ();
            if (!defined $status) {
                $me->{links}[$i] = connect_to($link->{port});
                last;
            }
            push @statuses, $status;
        }
    }
    return @statuses;
}

sub round {
    my ($me) = @_;
    my $keys = "/v1/cards/$me->{card}/keys";
    my ($status, $body) = ask($me, 'POST', $keys, $me->{token},
        '{"ttl":600}');
    die "key: $status $body" if $status != 201;
    my $key = $json->decode($body);

    # cached everywhere, and asked for while it is revoked
    my $fetches = text_of('GET', $key->{link}) . text_of('GET', $key->{url});
    burst($me, $fetches, 2) for 1 .. 2;
    my $took;
    burst($me, $fetches x 2, 4, sub {
        ($status, $body, $took) = ask($me, 'DELETE', "$keys/$key->{key_id}",
            $me->{token});
    });
    die "revoked: $status $body" if $status != 204;
    push @{ $me->{latencies} }, $took;

    my @after = burst($me, $fetches x $me->{depth}, 2 * $me->{depth});
    $me->{fetches} += @after;
    $me->{stale} += grep { $_ == 200 || $_ == 302 } @after;
    $me->{other} += grep { $_ != 200 && $_ != 302 && $_ != 404 } @after;
    $me->{rounds}++;
}

sub work {
    my ($edges, $share, %me) = @_;
    my $me = { rounds => 0, fetches => 0, stale => 0, other => 0, again => 0,
        latencies => [], depth => 6, %me };
    $me->{api} = connect_to($edges->[0]{port});
    $me->{links} = [ map { connect_to($_->{port}) }
        map { ($_) x 4 } @$edges ];
    my $end = time + ($me->{seconds} || 1e9);
    round($me) while $me->{fetches} < $share && time < $end;
    return { map { $_ => $me->{$_} }
        qw(rounds fetches stale other again latencies) };
}

# --- all of them -----------------------------------------------------------------

# Options: fetches, processes, seconds (at most); disturb: is called again and
# again meanwhile.
sub run {
    my ($t, $edges, %options) = @_;
    my $n = $options{processes} || 2;
    my @pipes;
    for my $i (1 .. $n) {
        my $me = $t->register(sprintf '+8613%09d', $$ % 10000 * 100000
            + int(rand 90000) + $i);
        my $r = $t->post('/v1/cards', { '@type' => 'Card', version => '1.0',
            name => { full => "Person $i" },
            notes => { n => { note => 'n' x 1500 } } },
            { token => $me->{access_token} });
        die "card: $r->{status} $r->{body}" if $r->{status} != 201;

        my $pid = open my $out, '-|';
        die "fork: $!" unless defined $pid;
        if (!$pid) {
            my $result = eval { work($edges, $options{fetches} / $n,
                token => $me->{access_token}, card => $r->{json}{card_id},
                seconds => $options{seconds}) };
            print $json->encode($result || { error => "$@" });
            close STDOUT;
            POSIX::_exit(0);
        }
        push @pipes, $out;
    }

    my $disturber;
    if ($options{disturb}) {
        $disturber = fork // die "fork: $!";
        if (!$disturber) {
            $options{disturb}->() while 1;
        }
    }

    my %all = (latencies => []);
    for my $out (@pipes) {
        my $text = do { local $/; <$out> };
        close $out;
        my $result = $json->decode($text);
        die $result->{error} if $result->{error};
        push @{ $all{latencies} }, @{ delete $result->{latencies} };
        $all{$_} += $result->{$_} for keys %$result;
    }
    if ($disturber) {
        kill 'KILL', $disturber;
        waitpid $disturber, 0;
    }
    @{ $all{latencies} } = sort { $a <=> $b } @{ $all{latencies} };
    return \%all;
}

sub percentile {
    my ($all, $share) = @_;
    my $sorted = $all->{latencies};
    return 1000 * $sorted->[int($share * $#$sorted)];
}

1;
