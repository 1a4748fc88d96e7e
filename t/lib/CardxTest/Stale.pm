package CardxTest::Stale;

# Whether anything that was revoked is still answered: several processes draw
# keys, have every nginx cache them, revoke them while others still fetch, and
# fetch again once the 204 has come.  And whether anybody is told that nothing
# is new (by an edge, which says so in a header of its own) who has changed
# something before.
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

# unaware: "nothing new" from an edge after a change was answered; never: and
# still so when any lease must have ended
my @counts = qw(rounds fetches stale other again polls unaware never cached);

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
    $conf =~ s{(cardx_updates on;)}{$1 add_header Edge-Status \$cardx_status;};
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

# The next answer's status, body, and what the edge said of it; nothing if the
# connection is lost.
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
    my ($edge) = $head =~ /^edge-status: (\w+)/im;
    return ($status, $body, $edge);
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

# The same requests on every connection; the statuses, with what the edge said.
sub burst {
    my ($me, $text, $n, $meanwhile) = @_;
    my @told = map { say_to($_, $text) } @{ $me->{links} };
    $meanwhile->() if $meanwhile;
    my @statuses;
    for my $i (0 .. $#told) {
        my $link = $me->{links}[$i];
        for (1 .. $n) {
            my ($status, undef, $edge) = $told[$i] ? answer($link) : ();
            if (!defined $status) {
                $me->{links}[$i] = connect_to($link->{port});
                last;
            }
            push @statuses, $edge ? "$status $edge" : $status;
        }
    }
    return @statuses;
}

# Where the own log ends.
sub since {
    my ($me, $since) = @_;
    while (1) {
        my ($status, $body) = ask($me, 'GET', '/v1/updates'
            . (defined $since ? "?since=$since" : ''), $me->{token});
        return $since if $status == 204;
        die "updates: $status $body" if $status != 200;
        my $page = $json->decode($body);
        $since = $page->{token};
        return $since if !$page->{more};
    }
}

# A card is changed, and whoever asks then what is new is not told: nothing.
sub change {
    my ($me) = @_;
    $me->{since} = since($me, $me->{since});
    my $poll = text_of('GET', "/v1/updates?since=$me->{since}", $me->{token});
    $me->{cached} += grep { $_ eq '204 cached' } burst($me, $poll, 1)
        for 1 .. 3;

    my $n = ++$me->{changes};
    my ($status, $body);
    burst($me, $poll, 1, sub {
        ($status, $body) = ask($me, 'PUT', "/v1/cards/$me->{card}",
            $me->{token}, $json->encode({ '@type' => 'Card', version => '1.0',
                name => { full => "Person $n" } }));
    });
    die "changed: $status $body" if $status != 200;

    my $depth = $me->{depth};
    my @after = burst($me, $poll x $depth, $depth);
    $me->{polls} += @after;
    $me->{unaware} += grep { /^204 / } @after;

    # a cache that could not be told says so for as long as it has its lease
    my $end = time + 3;
    while (time < $end) {
        last if !grep { /^204 / } burst($me, $poll, 1);
        sleep 0.05;
    }
    $me->{never}++ if time >= $end;
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
    my $me = { latencies => [], depth => 6, (map { $_ => 0 } @counts), %me };
    $me->{api} = connect_to($edges->[0]{port});
    $me->{links} = [ map { connect_to($_->{port}) }
        map { ($_) x 4 } @$edges ];
    my $end = time + ($me->{seconds} || 1e9);
    while ($me->{fetches} < $share && time < $end) {
        round($me);
        change($me);
    }
    return { map { $_ => $me->{$_} } @counts, 'latencies' };
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
        my $card = $t->card({ token => $me->{access_token} },
            name => { full => "Person $i" },
            notes => { n => { note => 'n' x 1500 } });

        my $pid = open my $out, '-|';
        die "fork: $!" unless defined $pid;
        if (!$pid) {
            my $result = eval { work($edges, $options{fetches} / $n,
                token => $me->{access_token}, card => $card,
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
