package CardxTest::Events;

# A client of /v1/events, as a browser's EventSource is one.
#
#     my $stream = CardxTest::Events->open($t, token => $token);
#     $stream->wait_for(sub { grep { $_->{event} eq 'change' } @_ });
#     $stream->follow(sub { ... }, 60);    # comes back when it ends
#     $stream->close;
#
# An event is {event, id, data, json}; `id` of the stream is the last one that
# was read, also of an event without data.

use strict;
use warnings;

use IO::Socket::INET ();
use IO::Socket::SSL ();
use JSON::PP ();
use Time::HiRes qw(sleep time);

my $json = JSON::PP->new->utf8;

# Options: token or ticket; last: Last-Event-ID; query; rcvbuf: bytes that
# the kernel may keep.  The head of the answer is read: {status, head}.
sub open {
    my ($class, $t, %o) = @_;
    my $self = bless { t => $t, o => \%o, events => [], id => undef,
        comments => 0 }, $class;
    $self->connect or die "connect: $!";
    return $self;
}

sub connect {
    my ($self) = @_;
    my ($t, %o) = ($self->{t}, %{ $self->{o} });
    my ($host, $port) = $t->url =~ m{^https://([^:/]+):(\d+)};
    my $tcp = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port,
        $o{rcvbuf} ? (Sockopts => []) : ()) or return 0;
    setsockopt $tcp, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), $o{rcvbuf}
        if $o{rcvbuf};
    my $socket = IO::Socket::SSL->start_SSL($tcp, SSL_ca_file => $t->ca,
        SSL_verifycn_name => $host, SSL_verifycn_scheme => 'http')
        or return 0;

    my $path = '/v1/events';
    my $query = join '&', defined $o{ticket} ? "ticket=$o{ticket}" : (),
        $o{query} // ();
    $path .= "?$query" if $query ne '';
    my $last = $self->{id} // $o{last};
    print $socket join "\r\n", "GET $path HTTP/1.1", "Host: $host",
        defined $o{token} ? "Authorization: Bearer $o{token}" : (),
        defined $last ? "Last-Event-ID: $last" : (),
        'Accept: text/event-stream', '', '';

    @$self{qw(socket raw text ended complete)} = ($socket, '', '', 0, 0);
    my $end = time + 20;
    while ($self->{raw} !~ /\r\n\r\n/) {
        $self->pump($end - time) or last;
    }
    ($self->{head}, $self->{raw}) = split /\r\n\r\n/, $self->{raw}, 2;
    ($self->{status}) = ($self->{head} // '') =~ m{^HTTP/1\.1 (\d+)};
    $self->{raw} //= '';
    $self->parse;
    return 1;
}

# Reads what comes within some seconds; false: the end, or nothing came.
sub pump {
    my ($self, $seconds) = @_;
    return 0 if $self->{ended} || $seconds <= 0;
    my $socket = $self->{socket};
    if (!$socket->pending) {
        my $in = '';
        vec($in, fileno $socket, 1) = 1;
        return 0 unless select $in, undef, undef, $seconds;
    }
    my $n = sysread $socket, $self->{raw}, 65536, length $self->{raw};
    $self->{ended} = 1 if !$n;
    return $n ? 1 : 0;
}

# Chunks (RFC 9112, 7.1).
sub parse {
    my ($self) = @_;
    while ($self->{raw} =~ /^([0-9a-fA-F]+)\r\n/) {
        my ($size, $head) = (hex $1, length $&);
        last if length $self->{raw} < $head + $size + 2;
        $self->{text} .= substr $self->{raw}, $head, $size;
        substr $self->{raw}, 0, $head + $size + 2, '';
        $self->{ended} = $self->{complete} = 1 if $size == 0;
    }
    $self->take;
}

# Lines of events.
sub take {
    my ($self) = @_;
    while ($self->{text} =~ s/^(.*?)\n\n//s) {
        my %event = (event => 'message');
        for (split /\n/, $1) {
            $self->{comments}++ if /^:/;
            $event{$1} = $2 if /^(\w+): ?(.*)/;
        }
        $self->{id} = $event{id} if defined $event{id};
        $self->{retry} = $event{retry} if defined $event{retry};
        next unless defined $event{data};
        $event{json} = eval { $json->decode($event{data}) };
        push @{ $self->{events} }, \%event;
    }
}

# Until the code, called with all events so far, returns true; what it
# returned, or nothing after some seconds (10) or at the end.
sub wait_for {
    my ($self, $code, $seconds) = @_;
    my $end = time + ($seconds || 10);
    while (1) {
        my $result = $code->(@{ $self->{events} });
        return $result if $result;
        return if $self->{ended};
        my $left = $end - time;
        return if $left <= 0;
        $self->pump($left);
        $self->parse;
    }
}

# The same, by a client that comes back from where it was whenever the stream
# ends; it waits less than `retry` says.
sub follow {
    my ($self, $code, $seconds) = @_;
    my $end = time + ($seconds || 60);
    while (1) {
        my $left = $end - time;
        my $result = $self->wait_for($code, $left > 0 ? $left : 0.001);
        return $result if $result;
        return if !$self->{ended} || time > $end;
        sleep 0.1;
        $self->close;
        $self->{resumed}++;
        $self->connect && $self->{status} == 200 or $self->{ended} = 1;
    }
}

# Until the stream ends: true if it does.
sub wait_end {
    my ($self, $seconds) = @_;
    $self->wait_for(sub { 0 }, $seconds);
    return $self->{ended};
}

sub changes { grep { $_->{event} eq 'change' } @{ $_[0]{events} } }

sub shown {
    my ($self) = @_;
    return join ' ', map { "$_->{json}{kind}:$_->{json}{op}:$_->{json}{id}" }
        $self->changes;
}

sub close { $_[0]{socket}->close(SSL_no_shutdown => 1) }

1;
