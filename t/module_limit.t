#!/usr/bin/perl

# Refusals per address: who tries keys is slowed down, who has a valid one
# behind the same address is not; and what error_log says of a request.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep);

use CardxTest::Edge;

# A worker that takes what it is asked, and does not answer.
my $silent = IO::Socket::INET->new(Listen => 100, LocalAddr => '127.0.0.1')
    or die "listen: $!";
my $silent_port = $silent->sockport;

# Refusals run out so slowly that none does before the test wants it.
my $edge = CardxTest::Edge->new(
    workers => 2,
    http => <<'END',
    cardx_refusals rate=1r/m burst=5 size=40k;
    cardx_private_log on;
END
    server => <<'END' =~ s/_PORT_/$silent_port/r);
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Address;

        location /network/ {
            add_header Network $cardx_network;
            return 200;
        }
        location @refuse {
            return 404;
        }
        location @silent {
            proxy_pass http://127.0.0.1:_PORT_;
        }
        location /silent/ {
            cardx_card on;
            cardx_fallback @silent;
        }
        location = /v1/updates {
            cardx_auth on;
            cardx_updates on;
        }
END
my $conf = CardxTest::Edge::read_file($edge->dir . '/nginx.conf');
my $body = '{"@type":"Card"}';
my $card = $edge->card(body => $body, media => { ':photo' =>
    $edge->id('m') . ' 10 image/jpeg' });
my $key = $edge->key($card);
my $thumbnail = $edge->thumbnail('RIFF');

sub get {
    my ($address, $path, %headers) = @_;
    return $edge->get($path, { 'X-Address' => $address, %headers });
}

# A wrong key of an existing card, found out by Redis.
sub wrong {
    my ($wrong, $name) = $edge->new_key;
    $edge->redis('HSET', "cardx:card:{$card}", "k:$name", '-' . (time + 600));
    return "/c/$card?k=$wrong";
}

sub exhaust {
    my ($address) = @_;
    my @status = map { get($address, wrong())->{status} } 1 .. 6;
    is("@status", '404 404 404 404 404 429', "$address: five refusals");
}

# --- what counts -----------------------------------------------------------

exhaust('192.0.2.1');
my $r = get('192.0.2.1', wrong());
is($r->{status}, 429, 'limited');
cmp_ok($r->{headers}{'retry-after'}, '>', 0, 'with a time to wait');
cmp_ok($r->{headers}{'retry-after'}, '<=', 64, 'which is not too long');
like($r->{body}, qr/"code":"rate_limited"/, 'and a code');
is($r->{headers}{'content-type'}, 'application/problem+json', 'a problem');
is($r->{headers}{'cache-control'}, 'no-store', 'not stored');

my %html = (Accept => 'text/html');
$r = get('192.0.2.1', wrong(), %html, 'Accept-Language' => 'fr, en;q=0.5');
is($r->{status}, 429, 'a browser, too');
is($r->{headers}{'content-type'}, 'text/html; charset=utf-8', 'gets a page');
is($r->{headers}{'content-language'}, 'en', 'in English');
like($r->{body}, qr/^<!DOCTYPE html>\n<html lang="en">.*Please wait/s, 'HTML');
is($r->{headers}{'cache-control'}, 'no-store', 'not stored');
cmp_ok($r->{headers}{'retry-after'}, '>', 0, 'with a time to wait');
like($r->{headers}{'content-security-policy'}, qr/^default-src 'none'; .*'self'/,
    'that loads its style');
is(get('192.0.2.1', wrong(), %html)->{body}, $r->{body}, 'or by default');
$r = get('192.0.2.1', '/q/x', %html, 'Accept-Language' => 'zh-CN,en;q=0.8');
is("$r->{status} $r->{headers}{'content-language'}", '429 zh-Hans',
    'or in Chinese');
like($r->{body}, qr/^<!DOCTYPE html>\n<html lang="zh-Hans">/, 'HTML');
$r = $edge->request('HEAD', wrong(), { %html, 'X-Address' => '192.0.2.1' });
is("$r->{status} $r->{headers}{'content-type'}",
    '429 text/html; charset=utf-8', 'HEAD as GET');

is(get('192.0.2.2', wrong())->{status}, 404, 'another address is not');
is(get('192.0.2.1', '/c/x')->{status}, 429, 'malformed: card');
is(get('192.0.2.1', "/c/$card")->{status}, 429, 'no key');
is(get('192.0.2.1', '/c/x', Accept => 'text/html')->{status}, 429,
    'malformed: page');
is(get('192.0.2.1', '/q/x')->{status}, 429, 'malformed: redirect');
is(get('192.0.2.1', '/t/x')->{status}, 429, 'malformed: thumbnail');

# --- who is let through ----------------------------------------------------

$r = get('192.0.2.1', "/c/$card?k=$key");
is($r->{status}, 200, 'a valid key opens');
is($r->{body}, $body, 'the card');
is(get('192.0.2.1', "/c/$card/photo?k=$key")->{status}, 298, 'its media');
is(get('192.0.2.1', "/q/$key")->{status}, 302, 'a code leads on');
is(get('192.0.2.1', "/t/$thumbnail")->{status}, 200, 'a thumbnail');
is(get('192.0.2.1', "/c/$card?k=$key", Accept => 'text/html')->{status}, 299,
    'a page comes from a worker');
is(get('192.0.2.1', "/c/$card.vcf?k=$key")->{status}, 299, 'and a vCard');
is(get('192.0.2.1', wrong(), Accept => 'text/html')->{status}, 429,
    'but not for a wrong key');
my ($unknown) = $edge->new_key;
is(get('192.0.2.1', "/c/$card?k=$unknown")->{status}, 429,
    'what only a worker could tell');
is(get('192.0.2.1', "/c/$card.vcf?k=$unknown")->{status}, 429,
    'also as a vCard');
is(get('192.0.2.1', "/q/$unknown")->{status}, 429, 'or as a code');
is(get('192.0.2.3', "/c/$card?k=$unknown")->{status}, 299,
    'another address asks the worker');
is(get('192.0.2.1', '/v1/x')->{status}, 401, 'tokens are not counted here');
my %signed_in = (Authorization => 'Bearer ' . $edge->token->{token});
is(get('192.0.2.1', '/v1/updates?since=0123456789abcdef.1', %signed_in)
    ->{status}, 299, 'who is signed in is given what is new');

# --- who leaves before the answer ------------------------------------------

sub left { scalar grep { /^499 / }
    split /\n/, CardxTest::Edge::read_file($edge->dir . '/access.log') }

sub leave {
    my ($address, $rest, %headers) = @_;
    my $before = left();
    for (1 .. 5) {
        my $path = "/silent/$card$rest" . ($edge->new_key)[0];
        my $client = $edge->connect;
        print $client CardxTest::Edge::request_text('GET', $path,
            { 'X-Address' => $address, %headers });
        my $asked = $silent->accept;
        close $client;
        $asked->read(my $request, 4096);
    }
    ok(CardxTest::Edge::await(sub { left() == $before + 5 }), 'five leave');
    return get($address, wrong())->{status};
}

is(leave('192.0.2.21', '?k='), 429, 'who leaves is counted: a card');
is(leave('192.0.2.22', '?k=', Accept => 'text/html'), 429, 'a page');
is(leave('192.0.2.23', '.vcf?k='), 429, 'a vCard');
is(leave('192.0.2.25', 'x?k=', Accept => 'text/html'), 429,
    'the page of a damaged link');
is(get('192.0.2.24', wrong())->{status}, 404, 'another address is not');

# --- a process that is stopped while it has the lock -----------------------

SKIP: {
    my ($worker) = $edge->workers;
    no warnings 'portable';
    my @zones = map { hex((split /-/)[0]) } grep {
        my ($from, $to) = /^(\w+)-(\w+) rw-s/;
        defined $to && hex($to) - hex($from) == 40 * 1024;
    } split /\n/, CardxTest::Edge::read_file("/proc/$worker/maps");
    open my $memory, '+<:raw', "/proc/$worker/mem"
        or skip "memory of nginx: $!", 3;
    is(scalar @zones, 1, 'the zone of refusals');

    # its first word is the lock
    my $lock = sub { sysseek $memory, $zones[0], 0;
        syswrite($memory, pack 'Q', $_[0]) == 8 or die "write: $!" };
    $lock->($$);
    is(get('192.0.2.1', wrong())->{status}, 404,
        'one is stopped with the lock: nobody waits for it');
    $lock->(0);
    is(get('192.0.2.1', wrong())->{status}, 429, 'it goes on: limited again');
}

# --- what is one address ---------------------------------------------------

exhaust('2001:db8:1:2::1');
is(get('2001:db8:1:2:ffff::9', wrong())->{status}, 429, 'the same /64');
is(get('2001:db8:1:3::1', wrong())->{status}, 404, 'another /64');
is(get('::ffff:192.0.2.1', wrong())->{status}, 429, 'IPv4 that IPv6 carries');
is(get('2001:db8:1:2::5', "/c/$card?k=$key")->{status}, 200, 'let through');
is(get('192.0.2.9', '/network/')->{headers}{network}, "\xc0\x00\x02\x09",
    '$cardx_network of IPv4');

# --- a worker's refusals count too -----------------------------------------

$conf =~ s/cardx_fallback \@worker/cardx_fallback \@refuse/;
CardxTest::Edge::write_file($edge->dir . '/nginx.conf', $conf);
$edge->reload;
CardxTest::Edge::await(sub {
    get('198.51.100.1', "/c/$card?k=" . ($edge->new_key)[0])->{status} == 404
});
is(get('192.0.2.1', wrong())->{status}, 429, 'a reload forgives nobody');
my @status = map { get('198.51.100.2', "/c/$card?k=" . ($edge->new_key)[0])
    ->{status} } 1 .. 6;
is("@status", '404 404 404 404 404 429', 'misses that a worker refused');
@status = map { get('198.51.100.3', "/c/$card?k=" . ($edge->new_key)[0],
    Accept => 'text/html')->{status} } 1 .. 6;
is("@status", '404 404 404 404 404 429', 'pages that a worker refused');
@status = map { get('198.51.100.4', '/c/x', Accept => 'text/html')->{status} }
    1 .. 6;
is("@status", '404 404 404 404 404 429', 'and pages of damaged links');

# --- a full zone forgets the oldest ----------------------------------------

get('203.0.' . ($_ >> 8) . '.' . ($_ & 255), '/c/x') for 1 .. 600;
is(get('192.0.2.1', wrong())->{status}, 404, 'the first was forgotten');
unlike($edge->error_log, qr/no memory/, 'without a word');

# --- time heals ------------------------------------------------------------

$conf =~ s/rate=1r\/m/rate=2r\/s/;
CardxTest::Edge::write_file($edge->dir . '/nginx.conf', $conf);
$edge->reload;
ok(CardxTest::Edge::await(sub {
    my $limited;
    for (1 .. 200) {
        $limited = get('192.0.2.77', '/c/x')->{status} == 429 and last;
    }
    $limited;
}), 'limited again');
ok(CardxTest::Edge::await(sub {
    sleep 0.3;
    get('192.0.2.77', '/c/x')->{status} == 404;
}), 'and let in again');

my $metric = $edge->get('/metrics')->{body};
like($metric, qr/path="card",status="limited"\} [1-9]/, 'counted');

# --- error_log -------------------------------------------------------------

# Sent before a location is found, and in one that knows nothing of keys.
my ($secret) = $edge->new_key;
my %told = (Referer => "http://edge.example/c/$card?k=$secret");
is($edge->request('POST', "/echo/?k=$secret", \%told, 'x' x 1_100_000)
    ->{status}, 413, 'too large');
is($edge->get("/static/none?k=$secret", \%told)->{status}, 404,
    'no such file');
is($edge->get("/c/$card?k=$secret", { %told, 'X-Address' => 'none' })
    ->{status}, 404, 'refused');
like($edge->error_log, qr/too large body.*request: "POST \.\.\."/,
    'is logged without address and referrer');

# finish() looks for the keys in error_log
$edge->finish;
done_testing;
