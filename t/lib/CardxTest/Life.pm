package CardxTest::Life;

# nginx's life under load: reloads, upgrades, what its processes hold, and
# clients that count what they get.  For t/nginx_life.t and ci/soak.

use strict;
use warnings;

use IO::Socket::SSL ();
use POSIX ();

# The children of a process that are not on their way out.
sub children {
    my ($pid) = @_;
    open my $in, '<', "/proc/$pid/task/$pid/children" or return;
    return split ' ', <$in> // '';
}

# nginx's workers by pid, without its helpers for the cache.
sub workers {
    my ($master) = @_;
    return grep { title($_) =~ /worker process/ } children($master);
}

sub title {
    my ($pid) = @_;
    open my $in, '<', "/proc/$pid/cmdline" or return '';
    local $/;
    return <$in> // '';
}

# Reloads; true when all workers are others and the old ones have ended.
sub reload {
    my ($t, $seconds) = @_;
    my $master = $t->pid('nginx');
    my %old = map { $_ => 1 } workers($master);
    kill 'HUP', $master or return;
    return $t->wait_for(sub {
        my @now = workers($master);
        return @now == keys %old && !grep { $old{$_} } @now;
    }, $seconds || 60);
}

# KiB of a process: {rss, dirty}.  What is dirty in shared memory is not its
# own, though a page of it that no other process has looked at counts as private.
sub memory {
    my ($pid) = @_;
    my %kib = (rss => 0, dirty => 0);
    my $own;
    open my $in, '<', "/proc/$pid/smaps" or return \%kib;
    while (<$in>) {
        $own = $1 eq 'p' if /^[0-9a-f]+-[0-9a-f]+ ...(.) /;
        $kib{rss} += $1 if /^Rss:\s+(\d+)/;
        $kib{dirty} += $1 if $own && /^Private_Dirty:\s+(\d+)/;
    }
    return \%kib;
}

sub descriptors {
    my ($pid) = @_;
    my @fds = glob "/proc/$pid/fd/*";
    return scalar @fds;
}

# nginx's connections to Redis: those of the module have no name of their own,
# so all of them, while nothing else comes or goes.
sub redis_connections {
    my ($t) = @_;
    my $list = $t->redis('CLIENT', 'LIST');
    return scalar(() = $list =~ /^id=/mg);
}

# A client process that asks until it is told to stop.  `kind`: keepalive
# (HTTP/1.1 over TLS, one connection), h1 and h2 (curl, some hundred requests a
# connection).  end() gives what it saw: {good, bad => [...]}.
sub client {
    my ($t, $kind, $path, %headers) = @_;
    my $out = "$t->{var}/client-$kind-" . rand;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $SIG{INT} = 'DEFAULT';
        my $go = 1;
        $SIG{TERM} = sub { $go = 0 };
        $SIG{PIPE} = 'IGNORE';
        my ($good, @bad) = (0);
        my $ask = $kind eq 'keepalive' ? keepalive($t, $path, \%headers)
            : curl($t, $kind, $path, \%headers);
        while ($go) {
            for ($ask->()) {
                if ($_ eq '200') { $good++ } else { push @bad, $_ }
            }
        }
        open my $file, '>', $out or POSIX::_exit(1);
        print $file join("\n", $good, @bad), "\n";
        close $file;
        POSIX::_exit(0);
    }
    return { pid => $pid, out => $out, kind => $kind };
}

sub end {
    my ($client) = @_;
    kill 'TERM', $client->{pid};
    waitpid $client->{pid}, 0;
    open my $in, '<', $client->{out} or return { good => 0, bad => ['died'] };
    chomp(my ($good, @bad) = <$in>);
    return { good => $good, bad => \@bad };
}

# One connection for as long as the server keeps it.  A server may close a
# connection that is idle while the request is on its way: then, and only if
# nothing of an answer came, it is asked again on a new one (RFC 9112, 9.3.1).
sub keepalive {
    my ($t, $path, $headers) = @_;
    my ($port) = $t->url =~ /:(\d+)$/;
    my $request = "GET $path HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        . join('', map { "$_: $headers->{$_}\r\n" } keys %$headers) . "\r\n";
    my $socket;
    return sub {
        for my $try (1, 2) {
            my $reused = defined $socket;
            $socket //= IO::Socket::SSL->new(PeerAddr => '127.0.0.1',
                PeerPort => $port, SSL_ca_file => $t->ca, Timeout => 30)
                or return 'no connection';
            my $answer = print($socket $request) ? answer($socket) : '';
            undef $socket if $answer !~ /^\d+$/ || $answer eq '';
            return $answer if $answer ne '';
            return 'closed' if !$reused;
        }
        return 'closed twice';
    };
}

# The status of an answer that is whole; '' if the connection was closed before
# it began.
sub answer {
    my ($socket) = @_;
    my $line = <$socket> // return '';
    my ($status) = $line =~ m{^HTTP/1\.1 (\d+)} or return "not HTTP: $line";
    my $length;
    while (defined(my $header = <$socket>)) {
        last if $header eq "\r\n";
        $length = $1 if $header =~ /^content-length: (\d+)/i;
    }
    return 'no length' if !defined $length;
    my $got = 0;
    while ($got < $length) {
        my $n = read $socket, my $some, $length - $got;
        return 'cut off' if !$n;
        $got += $n;
    }
    return $status;
}

# A hundred requests on one connection.  When the server has said that it closes
# (GOAWAY), curl 7.88 gives the next request up before it is sent, with 16; a
# client may ask again (RFC 9113, 6.8), so this one does, once.
sub curl {
    my ($t, $kind, $path, $headers) = @_;
    my @headers = map { ('-H', "$_: $headers->{$_}") } keys %$headers;
    my $url = $t->url . $path;
    my $ask = sub {
        my ($n) = @_;
        my $output = CardxTest::capture('curl', '-s', '-m', 60, '--cacert',
            $t->ca, $kind eq 'h2' ? '--http2' : '--http1.1', @headers,
            '-w', '%{http_code} %{exitcode}\n',
            map { ('-o', '/dev/null', $url) } 1 .. $n);
        return map { s/ 0$//r } split /\n/, $output;
    };
    return sub {
        return map { $kind eq 'h2' && $_ eq '000 16' ? $ask->(1) : $_ }
            $ask->(100);
    };
}

1;
