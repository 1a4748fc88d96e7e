#!/usr/bin/perl

# Every answer carries the headers that keep it where it belongs, once each:
# the module's, the workers', and what nginx itself refuses.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET ();
use IO::Socket::SSL ();
use Test::More;

use CardxTest;

my $t = CardxTest->new(refusals => 'rate=5r/s burst=500')->start;
my $me = $t->register('+8613800138000');
my $token = $me->{access_token};
my $card = $t->post('/v1/cards', { name => { full => 'Anna' } },
    { token => $token })->{json}{card_id};
my $jpeg = do { local (@ARGV, $/) = "$CardxTest::ROOT/docs/pictures/anna.jpg"; <> };
is($t->put("/v1/cards/$card/media/photo", $jpeg,
    { token => $token, 'Content-Type' => 'image/jpeg' })->{status}, 201,
    'a photo');
my $drawn = $t->post("/v1/cards/$card/keys", { ttl => 3600 },
    { token => $token })->{json};
my $key = $drawn->{key};

# What is asked of each: a status, and where the usual is not right, other
# headers.  undef: anything goes.
my %usual = (
    'x-content-type-options' => qr/^nosniff$/,
    'strict-transport-security' => qr/^max-age=31536000$/,
    'referrer-policy' => qr/^no-referrer$/,
    'content-security-policy' => qr/^default-src 'none'; frame-ancestors 'none'/,
    'cross-origin-resource-policy' => qr/^same-origin$/,
    'cache-control' => qr/^no-store$/,
);
my $private = { 'cache-control' => qr/^private, no-cache$/ };
my $page = { 'content-security-policy' => qr/default-src 'none'.*frame-ancestors 'none'/ };

sub look {
    my ($what, $status, $r, $other) = @_;
    is($r->{status}, $status, "$what: status") or diag $r->{body};
    my %expected = (%usual, %{ $other || {} });
    my @wrong = grep {
        my $value = $r->{headers}{$_};
        !defined $value || ref $value || $value !~ $expected{$_}
    } sort keys %expected;
    is(join(', ', map { "$_: " . (ref $r->{headers}{$_}
        ? "(@{ $r->{headers}{$_} })" : $r->{headers}{$_} // '(absent)') }
        @wrong), '', "$what: headers");
    unlike($r->{headers}{server} // '', qr/\d/, "$what: no version");
    if ($status >= 400 && $r->{body} ne '') {
        like($r->{headers}{'content-type'} // '',
            qr{^application/problem\+json$|^text/html}, "$what: a problem");
    }
}

# --- hot paths -------------------------------------------------------------

my %html = (Accept => 'text/html');
look('card', 200, $t->get("/c/$card", undef, { key => $key }), $private);
my $etag = $t->get("/c/$card", undef, { key => $key })->{headers}{etag};
look('card not modified', 304, $t->get("/c/$card", undef,
    { key => $key, 'If-None-Match' => $etag }), $private);
look('card, HEAD', 200, $t->head("/c/$card", undef, { key => $key }), $private);
look('page', 200, $t->get("/c/$card?k=$key", undef, { %html }),
    { %$private, %$page });
look('vCard', 200, $t->get("/c/$card.vcf?k=$key"), $private);
look('photo', 200, $t->get("/c/$card/photo?k=$key"), $private);
look('part of the photo', 206, $t->get("/c/$card/photo?k=$key", undef,
    { Range => 'bytes=0-9' }), $private);
look("photo, wrong range $_", 416, $t->get("/c/$card/photo?k=$key", undef,
    { Range => "bytes=$_" })) for '99999999-', '-0', '40000-';
look('no such medium', 404, $t->get("/c/$card/video?k=$key"));
look('wrong key', 404, $t->get("/c/$card?k=" . 'A' x 26));
look('wrong key, page', 404, $t->get("/c/$card?k=" . 'A' x 26, undef,
    { %html }), $page);
look('no key', 404, $t->get("/c/$card"));
look('no card', 404, $t->get("/c/x?k=$key"));
look('card, wrong method', 405, $t->post("/c/$card?k=$key", '{}'),
    { allow => qr/^GET, HEAD$/ });
look('thumbnail', 200, $t->get($drawn->{thumbnail}), {
    'cache-control' => qr/^public, max-age=31536000, immutable$/,
    'cross-origin-resource-policy' => qr/^cross-origin$/ });
look('no thumbnail', 404, $t->get('/t/x'),
    { 'cross-origin-resource-policy' => qr/^cross-origin$/ });
for my $guard (['If-Match', '"x"'],
    ['If-Unmodified-Since', 'Thu, 01 Jan 1970 00:00:00 GMT']) {
    is($t->get($_, undef, { @$guard, token => $token })->{status}, 200,
        "GET $_: no matter what $guard->[0] says")
        for "/c/$card?k=$key", "/c/$card.vcf?k=$key", "/c/$card/photo?k=$key",
        $drawn->{thumbnail}, "/v1/cards/$card";
}
look('redirect', 302, $t->get("/q/$key"));
look('wrong redirect', 404, $t->get('/q/' . 'A' x 26));
look('wrong redirect, page', 404, $t->get('/q/' . 'A' x 26, undef, { %html }),
    $page);

# --- the API ---------------------------------------------------------------

my %auth = (token => $token);
look('me', 200, $t->get('/v1/me', undef, { %auth }),
    { 'cache-control' => qr/^(?:no-store|private, no-cache)$/ });
look('own card', 200, $t->get("/v1/cards/$card", undef, { %auth }), $private);
look('keys', 200, $t->get("/v1/cards/$card/keys", undef, { %auth }));
look('QR code', 200, $t->get("/v1/cards/$card/qr.svg", undef, { %auth }),
    { %$private, 'content-security-policy' => qr/^default-src 'none'/ });
look('without token', 401, $t->get('/v1/me'));
look('wrong token', 401, $t->get('/v1/me', undef, { token => 'x' }));
look('no such call', 404, $t->get('/v1/nothing', undef, { %auth }));
look('wrong method', 405, $t->put('/v1/me/terminals', '{}', { %auth }),
    { allow => qr/\bGET\b/ });
look('no JSON', 400, $t->post('/v1/registrations', '{',
    { 'Content-Type' => 'application/json' }));
look('wrong type', 415, $t->post('/v1/registrations', '{}',
    { 'Content-Type' => 'text/plain' }));
look('too large for a worker', 413, $t->post('/v1/registrations',
    ' ' x 200_000, { 'Content-Type' => 'application/json' }));
look('too large for nginx', 413, $t->post('/v1/registrations',
    ' ' x 1_200_000, { 'Content-Type' => 'application/json' }));

# --- nginx's own -----------------------------------------------------------

look('nothing', 404, $t->get('/'));
look('v1', 404, $t->get('/v1'));
look('static', 200, $t->get('/static/card.css'),
    { 'cache-control' => qr/^max-age=3600$/ });
look('static, any range', 200, $t->get('/static/card.css', undef,
    { Range => 'bytes=9999999-' }), { 'cache-control' => qr/./ });
# nginx ends the connection after these, without having said so.
for my $guard (['If-Match', '"x"'],
    ['If-Unmodified-Since', 'Thu, 01 Jan 1970 00:00:00 GMT']) {
    look("static, $guard->[0]", 412,
        $t->get('/static/card.css', undef, { @$guard }),
        { 'cache-control' => qr/./ });
    $t->connect_anew;
}
look('no such file', 404, $t->get('/static/none'), { 'cache-control' => qr/./ });
look('static, wrong method', 405, $t->post('/static/card.css', '{}'),
    { 'cache-control' => qr/./, allow => qr/^GET, HEAD$/ });
# A little more than nginx takes: one write of the client's brings it all before
# the answer closes the connection.
look('address too long', 414, $t->get('/c/' . 'x' x 9_000));
look('header too long', 400, $t->get('/', undef, { Cookie => 'x' x 9_000 }));

# What HTTP::Tiny does not say.
sub raw {
    my ($text, $plain) = @_;
    my $port = $t->{port};
    my $socket = $plain
        ? IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
        : IO::Socket::SSL->new(PeerAddr => '127.0.0.1', PeerPort => $port,
            SSL_ca_file => $t->ca, SSL_hostname => 'localhost')
        or die "connect: $!";
    local $SIG{PIPE} = 'IGNORE';
    local $SIG{ALRM} = sub { die "no answer to $text" };
    alarm 30;
    print $socket $text;
    local $/;
    my $answer = <$socket>;
    alarm 0;
    my ($head, $body) = split /\r\n\r\n/, $answer // '', 2;
    my ($status) = ($head // '') =~ m{^HTTP/1\.[01] (\d+)};
    my %headers;
    for (split /\r\n/, $head // '') {
        my ($name, $value) = /^([^:]+): (.*)/ or next;
        $name = lc $name;
        $headers{$name} = defined $headers{$name}
            ? [ $headers{$name}, $value ] : $value;
    }
    return { status => $status, headers => \%headers, body => $body // '' };
}

my $end = "Host: localhost\r\nConnection: close\r\n\r\n";
look('no Host', 400, raw("GET / HTTP/1.1\r\n\r\n"));
look('no request', 400, raw("\x01\x02\r\n\r\n"));
look('TRACE', 405, raw("TRACE / HTTP/1.1\r\n$end"),
    { allow => qr/^GET, HEAD$/ });
look('TRACE, API', 405, raw("TRACE /v1/cards HTTP/1.1\r\n$end"),
    { allow => qr/\bPOST\b/ });
look('CONNECT', 400, raw("CONNECT localhost:1 HTTP/1.1\r\n$end"));
look('unknown coding', 400,
    raw("POST /v1/registrations HTTP/1.1\r\nTransfer-Encoding: x\r\n$end"));
look('two lengths', 400, raw("POST /v1/registrations HTTP/1.1\r\n"
    . "Content-Length: 1\r\nContent-Length: 2\r\n$end"));
look('length and coding', 400, raw("POST /v1/registrations HTTP/1.1\r\n"
    . "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n${end}0\r\n\r\n"));
look('HTTP/9.9', 400, raw("GET / HTTP/9.9\r\n$end"));
look('no TLS', 400, raw("GET / HTTP/1.1\r\n$end", 1));
look('broken escape', 400, raw("GET /c/%zz HTTP/1.1\r\n$end"));

# --- too many, and nobody there --------------------------------------------

my $r;
for (1 .. 600) {
    $r = $t->get('/q/' . 'A' x 26);
    last if $r->{status} == 429;
}
look('too many', 429, $r);
like($r->{headers}{'retry-after'}, qr/^[1-9]\d*$/, 'and when to come again');
is($r->{json}{code}, 'rate_limited', 'code');
look('too many, in a browser', 429,
    $t->get('/q/' . 'A' x 26, undef, { Accept => 'text/html' }), $page);

$t->signal('cardxd', 'TERM');
$t->wait_for(sub { !$t->alive('cardxd') }, 30);
$r = $t->post('/v1/registrations', { phone => '+8613800138000',
    method => 'sms-down' });
look('no worker', 503, $r);
is($r->{headers}{'retry-after'}, 1, 'and when to come again');
is($r->{json}{code}, 'unavailable', 'code');

$t->finish;
done_testing;
