package CardxTest::H2;

# HTTP/2 connections (RFC 9113), as many streams in them as there is room for,
# and no more of the protocol than streams of events need.
#
#     my $c = CardxTest::H2->connect($t);
#     my $stream = $c->get('/v1/events', authorization => "Bearer $token");
#     CardxTest::H2::pump(1, $c);
#     $c->reset($stream);
#
# A stream is a CardxTest::Events with `status`, `ended`, and `error`, the code
# of RST_STREAM.

use strict;
use warnings;

use IO::Select ();
use IO::Socket::SSL ();

use CardxTest::Events;

use constant { DATA => 0, HEADERS => 1, RST_STREAM => 3, SETTINGS => 4,
    PING => 6, GOAWAY => 7, WINDOW_UPDATE => 8, FRAME_MAX => 1 << 14 };

# t: what has a url, and a ca if that is https.
# window: bytes that a stream may be sent before it is read.
sub connect {
    my ($class, $t, %o) = @_;
    my ($tls, $host, $port) = $t->url =~ m{^http(s?)://([^:/]+):(\d+)};
    my %peer = (PeerAddr => $host, PeerPort => $port);
    my $socket = $tls ? IO::Socket::SSL->new(%peer,
        SSL_ca_file => $t->ca, SSL_verifycn_name => $host,
        SSL_verifycn_scheme => 'http', SSL_alpn_protocols => ['h2'])
        : IO::Socket::INET->new(%peer);
    return if !$socket;
    my $self = bless { socket => $socket, host => "$host:$port", raw => '',
        next => 1, streams => {} }, $class;
    my $window = $o{window} // 1 << 24;
    syswrite $socket, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        . frame(SETTINGS, 0, 0, pack 'nNnN', 2, 0, 4, $window)
        . frame(WINDOW_UPDATE, 0, 0, pack 'N', 1 << 30);
    $socket->blocking(0);
    return $self;
}

sub frame {
    my ($type, $flags, $id, $payload) = @_;
    return substr(pack('N', length $payload), 1) . pack('CCN', $type, $flags,
        $id) . $payload;
}

sub send {
    my ($self, @frame) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $text = frame(@frame);
    while (length $text) {
        my $n = syswrite $self->{socket}, $text;
        if (!defined $n) {
            last unless $!{EAGAIN} || $!{EWOULDBLOCK};
            IO::Select->new($self->{socket})->can_write(5) or last;
            next;
        }
        substr $text, 0, $n, '';
    }
}

# RFC 7541, 6.2.2 and 5.1: a literal, whatever was said before.
sub literal {
    my ($text) = @_;
    my $n = length $text;
    return pack('C', $n) . $text if $n < 127;
    my $size = pack 'C', 127;
    for ($n -= 127; $n > 127; $n >>= 7) { $size .= pack 'C', $n % 128 + 128 }
    return $size . pack('C', $n) . $text;
}

sub get {
    my ($self, $path, @headers) = @_;
    my $block = '';
    @headers = (':method', 'GET', ':scheme', 'https', ':authority',
        $self->{host}, ':path', $path, @headers);
    while (my ($name, $value) = splice @headers, 0, 2) {
        $block .= "\0" . literal($name) . literal($value);
    }
    my $id = $self->{next};
    $self->{next} += 2;
    $self->send(HEADERS, 5, $id, $block);
    return $self->{streams}{$id} = bless { number => $id, text => '',
        events => [], comments => 0 }, 'CardxTest::Events';
}

sub reset {
    my ($self, $stream) = @_;
    $self->send(RST_STREAM, 0, $stream->{number}, pack 'N', 8);
    $stream->{ended} = 1;
    delete $self->{streams}{ $stream->{number} };
}

sub open_streams { scalar keys %{ $_[0]{streams} } }

sub over {
    my ($self) = @_;
    $self->{goaway} = $self->{closed} = 1;
    $_->{ended} = 1 for values %{ $self->{streams} };
    $self->{streams} = {};
    close $self->{socket};
}

# What comes within some seconds on these connections, once.
sub pump {
    my ($seconds, @connections) = @_;
    my %of = map { fileno $_->{socket} => $_ }
        my @live = grep { !$_->{closed} } @connections;
    my @ready = grep { $_->{socket}->can('pending')
        && $_->{socket}->pending } @live;
    @ready = map { $of{ fileno $_ } } IO::Select->new(map { $_->{socket} }
        @live)->can_read($seconds) if !@ready && @live;
    for my $self (@ready) {
        my $n = sysread $self->{socket}, $self->{raw}, 1 << 16,
            length $self->{raw};
        $self->frames if $n;
        $self->over if defined $n ? !$n : !$!{EAGAIN} && !$!{EWOULDBLOCK};
    }
    return scalar @ready;
}

sub frames {
    my ($self) = @_;
    while (length $self->{raw} >= 9) {
        my $size = unpack 'N', "\0" . substr $self->{raw}, 0, 3;
        die "no frame of HTTP/2: $size bytes" if $size > FRAME_MAX;
        last if length $self->{raw} < 9 + $size;
        my ($type, $flags, $id) = unpack 'x3CCN', $self->{raw};
        my $payload = substr $self->{raw}, 9, $size;
        substr $self->{raw}, 0, 9 + $size, '';

        $self->send(SETTINGS, 1, 0, '') if $type == SETTINGS && !($flags & 1);
        $self->send(PING, 1, 0, $payload) if $type == PING && !($flags & 1);
        $self->{goaway} = 1 if $type == GOAWAY;

        my $stream = $self->{streams}{$id} or next;
        if ($type == DATA) {
            $stream->{text} .= $payload;
            $stream->take;
        } elsif ($type == HEADERS) {
            # nginx writes the status first: static table, or three digits
            $stream->{status} = $payload =~ /^\x88/ ? 200
                : $payload =~ /^\x08\x03(\d\d\d)/ ? $1 : 0;
        } elsif ($type == RST_STREAM) {
            $stream->{error} = unpack 'N', $payload;
        }
        if ($type == RST_STREAM || ($type <= HEADERS && $flags & 1)) {
            $stream->{ended} = 1;
            delete $self->{streams}{$id};
        }
    }
}

1;
