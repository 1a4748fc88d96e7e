#!/usr/bin/perl
# Streams of events at the edge alone: who may not have one, where nobody
# would expect one, and workers that do not answer as they should.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(hmac_sha256 sha256);
use File::Temp ();
use IO::Select;
use IO::Socket::INET;
use IO::Socket::SSL;
use MIME::Base64 qw(decode_base64url);
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(time);

use CardxTest::Edge;
use CardxTest::H2;
use CardxTest::Port qw(free_port);

my $PATIENCE = 30;
my $EPOCH = '0123456789abcdef';

# The worker that is asked what a stream has missed is this test.
my $worker = IO::Socket::INET->new(Listen => 511, LocalAddr => '127.0.0.1')
    or die "listen: $!";
my $port = $worker->sockport;

my $certificate = File::Temp->newdir;
my $tls_port = free_port();
system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
    . "-subj /CN=edge.example -days 2 -keyout $certificate/key.pem "
    . "-out $certificate/crt.pem 2>/dev/null") == 0 or die 'openssl';

my $edge = CardxTest::Edge->new(http => <<"HTTP", server => <<"END");
    server {
        listen 127.0.0.1:$tls_port ssl sndbuf=4k;
        ssl_certificate $certificate/crt.pem;
        ssl_certificate_key $certificate/key.pem;
        location = /v1/events {
            cardx_auth on;
            cardx_events on;
            cardx_changes /-/changes;
            cardx_heartbeat 1h;
        }
        location = /-/changes {
            internal;
            subrequest_output_buffer_size 64k;
            proxy_pass http://127.0.0.1:$port/changes?\$args;
        }
    }
    request_pool_size 512;
    log_format headers '\$host|\$http_user_agent|\$cookie_a|\$cookie_b|'
        '\$http_x_forwarded_for|\$http_last';
HTTP
        location = /v1/events {
            access_log headers.log headers;
            cardx_auth on;
            cardx_events on;
            cardx_changes /-/changes;
            cardx_heartbeat 1s;
        }
        location = /-/changes {
            internal;
            subrequest_output_buffer_size 64k;
            proxy_pass http://127.0.0.1:$port/changes?\$args;
        }

        location = /if {
            cardx_auth on;
            cardx_events on;
            cardx_changes /-/changes;
            if (\$arg_x) {
                set \$x 1;
            }
        }
        location = /slow {
            limit_rate 50;
            cardx_auth on;
            cardx_events on;
            cardx_changes /-/changes;
            cardx_heartbeat 1s;
        }
        location = /any {
            satisfy any;
            allow all;
            cardx_auth on;
            cardx_events on;
            cardx_changes /-/changes;
        }
        location = /mirrored {
            mirror /v1/events;
            proxy_pass http://127.0.0.1:$port/;
        }
        location = /updates {
            cardx_auth on;
            cardx_updates on;
        }
        location = /mirrored-updates {
            mirror /updates;
            proxy_pass http://127.0.0.1:$port/;
        }
        location = /asks {
            auth_request /v1/events;
        }
        location = /loop {
            cardx_auth on;
            cardx_events on;
            cardx_changes /c/x;
        }
END

my $token = $edge->token;
my %mine = (Authorization => "Bearer $token->{token}");

sub head {
    my ($xid) = @_;
    $edge->redis('SET', "cardx:head:{$token->{user_id}}", "$EPOCH.$xid $xid");
}

# who says nothing else is up to date at once
head(10);

# --- a worker, and a client ----------------------------------------------------

# What nginx asks of the worker next: {socket, path}; nothing, if not soon.
sub asked {
    my ($seconds) = @_;
    IO::Select->new($worker)->can_read($seconds // $PATIENCE) or return;
    my $socket = $worker->accept or die "accept: $!";
    my $text = '';
    while ($text !~ /\r\n\r\n/) {
        sysread $socket, $text, 8192, length $text or last;
    }
    my ($path) = $text =~ /^GET (\S+)/;
    my ($bearer) = $text =~ /^Authorization: Bearer (\S+)/mi;
    return { socket => $socket, path => $path, token => $bearer };
}

sub answer {
    my ($asked, $status, $body) = @_;
    $body //= '';
    print { $asked->{socket} } "HTTP/1.0 $status X\r\nContent-Length: "
        . length($body) . "\r\n\r\n$body";
    close $asked->{socket};
}

# A stream is at this xid, or is told of these news between.
sub up_to {
    my ($xid, @news) = @_;
    return time_left() . " 0 $EPOCH.$xid\n" . join '', map {
        "id: $EPOCH.$xid\nevent: change\ndata: {\"id\":\"$_\"}\n\n" } @news;
}

sub time_left { int(time) + 600 }

sub ask {
    my ($path, %headers) = @_;
    return ask_over($edge->connect || die("connect: $!"), $path, %headers);
}

sub ask_over {
    my ($socket, $path, %headers) = @_;
    print $socket CardxTest::Edge::request_text('GET', $path, \%headers);
    return { socket => $socket, text => '' };
}

# Reads until the code says that it is enough.
sub heard {
    my ($stream, $code) = @_;
    my $end = time + $PATIENCE;
    while (time < $end) {
        return 1 if $code->($stream->{text});
        next unless IO::Select->new($stream->{socket})->can_read(0.1);
        sysread $stream->{socket}, $stream->{text}, 65536,
            length $stream->{text} or $stream->{ended} = 1;
        return $code->($stream->{text}) if $stream->{ended};
    }
    return 0;
}

sub status {
    my ($stream) = @_;
    heard($stream, sub { $_[0] =~ /\r\n\r\n/ });
    return ($stream->{text} =~ m{^HTTP/1\.1 (\d+)})[0] // 0;
}

# --- where nobody would expect one ---------------------------------------------

my $r = $edge->get('/any', {});
is($r->{status}, 401, 'another rule lets it pass: still whose would it be');
is($r->{headers}{'www-authenticate'}, 'Bearer', 'and how to say so');
is($edge->get('/any', { Authorization => 'Bearer x' })->{status}, 401,
    'with a token that is none');
is($edge->get('/any?ticket=x')->{status}, 401, 'or a ticket');
is($edge->get('/asks', \%mine)->{status}, 401, 'auth_request');
my $client = ask('/v1/events', %mine, 'Content-Length' => 4);
is(status($client), 400, 'with a body that is still to come');
close $client->{socket};
$client = ask('/mirrored', %mine);
answer(asked(), 200, 'mirrored');
is(status($client), 200, 'mirror');
$client = ask("/mirrored-updates?since=$EPOCH.10&wait=1", %mine);
answer(asked(), 200, 'mirrored');
is(status($client), 200, 'mirror: updates');
$client->{text} = '';
print { $client->{socket} } CardxTest::Edge::request_text('GET', '/any', {});
is(status($client), 401, 'and nobody waits for any');
is($edge->get('/c/x')->{status}, 404, 'nginx is still there');

my $stream = ask('/loop', 'Last-Event-ID' => "$EPOCH.9", %mine);
is(status($stream), 503, 'changes that lead to the module itself');
like($edge->error_log, qr/cardx_changes leads to a location of this module/,
    'are told of');

my $raw = decode_base64url($token->{token});
my $ticket = substr($raw, 0, 20) . sha256($raw);
$ticket .= substr hmac_sha256("E$ticket", $edge->{id_key}), 0, 5;
$ticket = CardxTest::Edge::base64url($ticket);
for my $path ('/v1/events?', '/if?', '/if?x=1&') {
    $stream = ask("${path}ticket=$ticket");
    is(status($stream), 200, "a ticket: $path");
}

# --- a small pool ----------------------------------------------------------------

# Of its request a stream keeps what came, and what is known of it.
my @headers = ('Host: edge.example', 'User-Agent: reader', 'Cookie: a=1',
    'X-Forwarded-For: 192.0.2.1', 'Cookie: b=2', 'X-Forwarded-For: 192.0.2.2',
    "Authorization: Bearer $token->{token}");
for my $more (0, 5, 12, 30) {
    my $some = $edge->connect or die "connect: $!";
    print $some join "\r\n", 'GET /v1/events HTTP/1.1', @headers,
        (map { "X-$_: x" } 1 .. $more), "Last: $more", '', '';
    $stream = { socket => $some, text => '' };
    is(status($stream), 200, 'a stream, ' . (@headers + 1 + $more)
        . ' headers');
    close $some;
    ok(CardxTest::Edge::await(sub {
        CardxTest::Edge::read_file("$edge->{dir}/headers.log")
            =~ /^edge\.example\|reader\|1\|2\|192\.0\.2\.1, 192\.0\.2\.2\|$more$/m
    }), 'which are logged at its end');
}

# --- workers that do not answer as they should ---------------------------------

sub channel {
    my ($user_id) = @_;
    return sprintf 'cardx:wake:%02x', (37 * ord($user_id)
        + 131 * ord substr $user_id, 1) % 256;
}

# News of which no stream knows what was before.
sub wake {
    my ($xid) = @_;
    my $before = $xid - 1;
    head($xid + 1);
    CardxTest::Edge::await(sub { $edge->redis('PUBLISH',
        channel($token->{user_id}),
        "$EPOCH\n$token->{user_id} $before $xid news put a\n") })
        or die 'nobody listens';
}

$stream = ask('/v1/events', %mine, 'Last-Event-ID' => "$EPOCH.9");
my $asked = asked();
like($asked->{path}, qr/since=$EPOCH\.9$/, 'a worker is asked');
answer($asked, 503);
is(status($stream), 503, 'it can not tell: a new stream is none');

$stream = ask('/v1/events', %mine);
is(status($stream), 200, 'a stream');
wake(20);
answer(asked(), 503);
close asked()->{socket};
answer(asked(), 200, "no number\n");
answer(asked(), 200, '');
$asked = asked();
like($asked->{path}, qr/since=$EPOCH\.10$/, 'asked again, from where it was');
my $beats = () = $stream->{text} =~ /:\n\n/g;
ok(heard($stream, sub { $beats + 1 < (() = $_[0] =~ /:\n\n/g) }),
    'the stream goes on meanwhile');
answer($asked, 200, up_to(21, 'a'));
ok(heard($stream, sub { $_[0] =~ /"id":"a"/ }), 'and is told in the end');
is(scalar(() = $stream->{text} =~ /"id"/g), 1, 'once');

wake(30);
answer(asked(), 401);
ok(heard($stream, sub { $_[0] =~ /\r\n0\r\n\r\n$/ }),
    'whom a worker refuses has no stream any more');

# --- a client that is slow, over TLS ---------------------------------------------

# What does not fit into the socket waits in nginx's buffer for TLS, where no
# beat helps it on.
my $tcp = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$tls_port")
    or die "connect: $!";
setsockopt $tcp, SOL_SOCKET, SO_RCVBUF, 4096 or die "setsockopt: $!";
my $slow = ask_over(IO::Socket::SSL->start_SSL($tcp,
    SSL_verify_mode => SSL_VERIFY_NONE) || die("tls: $SSL_ERROR"),
    '/v1/events', %mine, 'Last-Event-ID' => "$EPOCH.9");
answer(asked(), 200, up_to(31, map { sprintf 'slow%03d', $_ } 1 .. 600));
is(status($slow), 200, 'a stream over TLS');
ok(heard($slow, sub { $_[0] =~ /"slow600"\}\n\n\r\n/ }),
    'what its client had no room for is sent as soon as it has');
close $slow->{socket};

# --- all at once ---------------------------------------------------------------

sub mine_of {
    my ($user) = @_;
    return (Authorization => "Bearer $user->{token}");
}

# Ten streams of each of these users, who are five; and who of them is asked for.
my @users = ($token, map { $edge->token } 1 .. 4);
my %number = map { $users[$_]{token} => $_ } 0 .. 4;
my %streams = map { my $user = $users[$_]; $_ => [ map { ask('/v1/events',
    mine_of($user), 'Last-Event-ID' => "$EPOCH.1") } 1 .. 10 ] } 0 .. 3;
sub who { return $number{ $_[0]{token} } }

my @asked = map { asked() } 1 .. 8;
is(join(' ', sort map { who($_) } @asked), '0 0 1 1 2 2 3 3',
    'eight ask a worker, two of each user');
ok(!asked(0.5), 'the others wait');
$streams{4} = [ map { ask('/v1/events', mine_of($users[4]),
    'Last-Event-ID' => "$EPOCH.1") } 1 .. 2 ];
ok(!asked(0.5), 'who comes then, too');
answer(shift @asked, 200, up_to(31)) for 1 .. 2;
my @next = map { asked() } 1 .. 2;
ok(scalar(grep { who($_) == 4 } @next),
    'but not for all that came before');
push @asked, @next;

close $_->{socket} for splice @{ $streams{0} }, 0;
ok(!asked(0.5), 'one leaves: the worker is asked all the same');
my $late = 0;
while (my $one = shift @asked) {
    answer($one, 200, up_to(31));
    my $more = asked(0.5) or next;
    $late += who($more) == 0;
    push @asked, $more;
}
is($late, 0, 'nobody asks for who has left and had no turn');
is(join(' ', map { status($_) } map { @$_ } values %streams),
    join(' ', (200) x 32), 'all have their streams');

close $_->{socket} for map { @$_ } values %streams;

# --- who leaves while a worker is asked ----------------------------------------

my $http2 = CardxTest::H2->connect($edge) or die 'no HTTP/2';
my @behind = map { $http2->get('/v1/events', 'last-event-id' => "$EPOCH.1",
    authorization => $mine{Authorization}) } 1 .. 10;
@asked = map { asked() } 1 .. 2;
$http2->reset($_) for @behind;
ok(!asked(0.5), 'streams that are reset: the worker is asked all the same');
answer($asked[0], 200, up_to(31));
answer($asked[1], 503);
my $next = $http2->get('/v1/events', 'last-event-id' => "$EPOCH.1",
    authorization => $mine{Authorization});
answer(asked(), 200, up_to(31));
CardxTest::H2::pump(0.1, $http2) until $next->{status};
is($next->{status}, 200, 'and then whoever comes');

@behind = map { $http2->get('/v1/events', 'last-event-id' => "$EPOCH.1",
    authorization => $mine{Authorization}) } 1 .. 10;
@asked = map { asked() } 1 .. 2;
$http2->over;
answer($_, 200, up_to(31)) for @asked;
$client = ask('/v1/events', %mine, 'Last-Event-ID' => "$EPOCH.1");
answer(asked(), 200, up_to(31));
is(status($client), 200, 'a lost connection has left no turn behind');
close $client->{socket};

# --- an end that is read slowly ------------------------------------------------

# It takes longer than a beat would.
my $other = $edge->token;
$edge->redis('SET', "cardx:head:{$other->{user_id}}", "$EPOCH.10 10");
$client = ask('/slow', Authorization => "Bearer $other->{token}");
heard($client, sub { length $_[0] });
CardxTest::Edge::await(sub { $edge->redis('PUBLISH',
    channel($other->{user_id}),
    "$EPOCH\n$other->{user_id} !$other->{terminal}\n") })
    or die 'nobody listens';
ok(heard($client, sub { $_[0] =~ /\r\n0\r\n\r\n$/ }), 'a slow end');
$client->{text} = '';
print { $client->{socket} } CardxTest::Edge::request_text('GET', '/any', {});
is(status($client), 401, 'leaves the connection for more');

$edge->finish;
done_testing;
