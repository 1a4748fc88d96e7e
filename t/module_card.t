# /c and /t at the edge: who gets what, and in which words (A4, A5, A6).

use strict;
use warnings;

use FindBin ();
use lib "$FindBin::Bin/lib";

use CardxTest::Edge ();
use Test::More;

my $edge = CardxTest::Edge->new(server => <<'END');
        location /page/ {
            ssi on;
            default_type text/html;
        }
END
my $body = '{"@type":"Card","version":"1.0","name":{"full":"Zhang Wei"}}';
my $view = '0123456789abcdef';

# --- a hit -------------------------------------------------------------------

my $card = $edge->card(
    body => $body, revision => 7, views => { $view => '{"small":true}' });
my $key = $edge->key($card);

my $r = $edge->get("/c/$card?k=$key");
is($r->{status}, 200, 'a card with its key');
is($r->{body}, $body, 'body');
is($r->{headers}{'content-type'}, 'application/jscontact+json', 'type');
is($r->{headers}{'content-length'}, length $body, 'length');
is($r->{headers}{etag}, '"7-j"', 'ETag');
is($r->{headers}{vary}, 'Accept', 'Vary');
is($r->{headers}{'cache-control'}, 'private, no-cache', 'Cache-Control');
is($r->{headers}{'referrer-policy'}, 'no-referrer', 'Referrer-Policy');

is($edge->get("/c/$card", { 'Cardx-Key' => $key })->{body}, $body,
    'key in a header');
is($edge->get("/c/$card", { 'CARDX-KEY' => lc $key })->{body}, $body,
    'key in lower case');
is($edge->get("/c/$card?x=1&k=$key&y=2")->{body}, $body,
    'key among other arguments');
is($edge->get("/c/$card?k=" . 'A' x 26, { 'Cardx-Key' => $key })->{status},
    200, 'the header goes before the argument');

$r = $edge->head("/c/$card?k=$key");
is($r->{status}, 200, 'HEAD');
is($r->{headers}{'content-length'}, length $body, 'HEAD: length');

my $large = '{"note":"' . 'x' x 300_000 . '"}';
my $large_card = $edge->card(body => $large);
my $large_key = $edge->key($large_card);
is($edge->get("/c/$large_card?k=$large_key")->{body}, $large,
    'a large card, many reads');

# --- a key that shows less ---------------------------------------------------

my $small = $edge->key($card, view => $view);
$r = $edge->get("/c/$card?k=$small");
is($r->{body}, '{"small":true}', 'the view of the key');
is($r->{headers}{etag}, "\"7-${view}j\"", 'with an ETag of its own');

my $absent = $edge->key($card, view => 'fedcba9876543210');
is($edge->get("/c/$card?k=$absent")->{status}, 299,
    'a view not projected falls back');

# --- refusals: one answer, whatever the reason -------------------------------

my $now = time;
my $other = $edge->card(body => $body);
my $gone = $edge->card(body => $body, revision => 'x');
my ($unknown) = $edge->new_key;
my $alien = $edge->id('t');
my $forged = $card;
substr $forged, 27, 1, substr($card, 27, 1) eq 'A' ? 'B' : 'A';

my %refused = (
    'no key' => "/c/$card",
    'empty key' => "/c/$card?k=",
    'short key' => "/c/$card?k=ABC",
    'long key' => "/c/$card?k=${key}A",
    'key of a wrong alphabet' => "/c/$card?k=" . '1' x 26,
    'key with bits too many' => "/c/$card?k=" . 'B' x 26,
    'percent-encoded rubbish' => "/c/$card?k=%00%ff",
    'malformed id' => "/c/x?k=$key",
    'no id' => "/c/?k=$key",
    'id of a wrong alphabet' => '/c/' . '*' x 28 . "?k=$key",
    'id with a wrong tag' => "/c/$forged?k=$key",
    'id of another kind' => "/c/$alien?k=$key",
    'something after the id' => "/c/${card}x?k=$key",
    'unknown kind' => "/c/$card/face?k=$key",
    'below a kind' => "/c/$card/photo/x?k=$key",
    'other ending' => "/c/$card.json?k=$key",
    'malformed vcf' => '/c/' . 'A' x 28 . ".vcf?k=$key",
    'expired' => "/c/$card?k=" . $edge->key($card, expires => $now - 1),
    'expires now' => "/c/$card?k=" . $edge->key($card, expires => $now),
    'revoked' => "/c/$card?k=" . $edge->key($card, value => 'x'),
    'remembered as unknown' => "/c/$card?k="
        . $edge->key($card, value => '-' . ($now + 60)),
    'deleted' => "/c/$gone?k=" . $edge->key($gone),
    'gone thumbnail' => '/t/' . $edge->thumbnail(''),
    'malformed thumbnail' => '/t/x',
    'thumbnail with a card\'s id' => "/t/$card",
    'thumbnail with a path' => '/t/' . $edge->id('t') . '/x',
);

my $shape;
for my $why (sort keys %refused) {
    $r = $edge->get($refused{$why});
    is($r->{status}, 404, "404: $why");
    $shape ||= "$r->{shape}\n$r->{body}";
    is("$r->{shape}\n$r->{body}", $shape, "the same answer: $why");
}

like($shape, qr/"code":"key_refused"/, 'code');
like($shape, qr{^Content-Type: application/problem\+json$}m, 'type');
like($shape, qr/^Cache-Control: no-store$/m, 'not stored');

# --- misses: a worker is asked -----------------------------------------------

my %missed = (
    'unknown card' => '/c/' . $edge->id('c') . "?k=$key",
    'unknown key' => "/c/$card?k=$unknown",
    'key of another card' => "/c/$other?k=$key",
    'key in doubt' => "/c/$card?k="
        . $edge->key($card, value => '?' . ($now + 60)),
    'unknown no longer' => "/c/$card?k="
        . $edge->key($card, value => '-' . ($now - 1)),
    'what can not be read' => "/c/$card?k="
        . $edge->key($card, value => 'soon'),
    'unknown thumbnail' => '/t/' . $edge->id('t'),
);
for my $why (sort keys %missed) {
    $r = $edge->get($missed{$why});
    is($r->{status}, 299, "falls back: $why");
    is($r->{headers}{'edge-status'}, 'miss', "\$cardx_status: $why");
}

my $doubt = $edge->card(body => $body);
my $doubt_key = $edge->key($doubt);
$edge->redis('HSET', "cardx:card:{$doubt}", 'd', $now - 10);
is($edge->get("/c/$doubt?k=$doubt_key")->{status}, 299,
    'card in doubt, and for longer than it said');
$edge->redis('HDEL', "cardx:card:{$doubt}", 'd');
is($edge->get("/c/$doubt?k=$doubt_key")->{status}, 200, 'in doubt no longer');

$edge->redis('HSET', "cardx:card:{$doubt}", 'k:' . $edge->hash_name($doubt_key),
    'x');
is($edge->get("/c/$doubt?k=$doubt_key")->{status}, 404,
    'a revocation holds at once');

$edge->redis('SET', "cardx:card:{$doubt}", 'no hash');
is($edge->get("/c/$doubt?k=$doubt_key")->{status}, 299, 'wrong type in Redis');

# --- methods -----------------------------------------------------------------

for my $method (qw(POST PUT DELETE OPTIONS PATCH)) {
    for my $path ("/c/$card?k=$key", '/t/x', "/q/$key") {
        $r = $edge->request($method, $path, {}, 'body');
        is($r->{status}, 405, "$method " . substr $path, 0, 3);
        is($r->{headers}{allow}, 'GET, HEAD', 'Allow');
        like($r->{body}, qr/"code":"method_not_allowed"/, 'code');
        is($r->{headers}{'content-type'}, 'application/problem+json', 'type');
    }
}
is($edge->request('GET', "/c/$card?k=$key", {}, 'a body')->{status}, 200,
    'a body of a GET is thrown away');

# --- Accept ------------------------------------------------------------------

my $browser = 'text/html,application/xhtml+xml,application/xml;q=0.9,'
    . 'image/webp,*/*;q=0.8';
my @accept = (
    ['*/*' => 200],
    ['' => 200],
    ['application/json' => 200],
    ['application/jscontact+json' => 200],
    ['application/*' => 200],
    ['APPLICATION/JSON;charset=utf-8' => 200],
    ['image/png' => 200],
    ['text/html;q=0' => 200],
    ['application/json, text/html' => 200],
    ['text/html;q=0.5, application/json;q=0.9' => 200],
    ['text/html;q=0.001, */*' => 200],
    ['text/html; q=2, */*' => 200],
    ['text/vcard;q=0, */*' => 200],
    ['text/html' => 299],
    ['text/*' => 299],
    [$browser => 299],
    ['text/html, */*' => 299],
    ['text/vcard' => 299],
    ['text/vcard; version="4.0,x"; q=0.9, application/json;q=0.8' => 299],
    ['application/json;q=0.4, text/html;q=0.5' => 299],
    ['application/json;q=0, text/html;q=0.1' => 299],
    [['image/png', 'text/html'] => 299],
);
for (@accept) {
    my ($accept, $status) = @$_;
    $r = $edge->get("/c/$card?k=$key", { Accept => $accept });
    my $shown = ref $accept ? join ' | ', @$accept : $accept;
    is($r->{status}, $status, "Accept: $shown");
    is($r->{headers}{'edge-status'}, 'pass', 'passed on') if $status == 299;
}
is($edge->get("/c/$card.vcf?k=$key")->{status}, 299, '.vcf is a worker\'s');
is($edge->get("/c/$card?k=$key&version=4.0")->{status}, 299,
    'version is a worker\'s');

# --- If-None-Match -----------------------------------------------------------

for my $tags ('"7-j"', 'W/"7-j"', '*', '"a", "7-j"', '"a,b" ,W/"7-j"') {
    $r = $edge->get("/c/$card?k=$key", { 'If-None-Match' => $tags,
        'If-Modified-Since' => 'Mon, 01 Jan 2024 00:00:00 GMT' });
    is($r->{status}, 304, "If-None-Match: $tags");
    is($r->{body}, '', 'no body');
    is($r->{headers}{etag}, '"7-j"', 'ETag');
    is($r->{headers}{vary}, 'Accept', 'Vary');
    is($r->{headers}{'cache-control'}, 'private, no-cache', 'Cache-Control');
    is($r->{headers}{'content-type'}, undef, 'no type');
}
for my $tags ('"8-j"', '7-j', '"7-j', '""', '"x7-j"', 'W/') {
    $r = $edge->get("/c/$card?k=$key", { 'If-None-Match' => $tags });
    is($r->{status}, 200, "If-None-Match: $tags");
}
my $twice = $edge->connect;
print $twice CardxTest::Edge::request_text('GET', "/c/$card",
    { 'If-None-Match' => '"8-j"', 'if-none-match' => '"7-j"' });
is(CardxTest::Edge::read_response($twice, 'GET')->{status}, 400,
    'nginx takes it once');
close $twice;
is($edge->get("/c/$card?k=" . $edge->key($card, value => 'x'),
    { 'If-None-Match' => '*' })->{status}, 404, 'refused is not 304');
is($edge->get("/c/$card?k=$key", { 'If-None-Match' => '"7-j"',
    'If-Match' => '"other"' })->{status}, 304, 'If-Match guards changes');
is($edge->get("/c/$card?k=$key", { 'If-Match' => '"other"' })->{status}, 200,
    'and nothing else');
is($edge->get("/c/$card?k=$key", { 'If-Unmodified-Since' =>
    'Mon, 01 Jan 2024 00:00:00 GMT' })->{status}, 200,
    'a date says nothing here');

# --- media -------------------------------------------------------------------

my $media = $edge->id('m');
my $portrait = $edge->card(body => $body, media => {
    ':photo' => "$media 4096 image/jpeg",
    "$view:logo" => "$media 17 image/png",
    ':sound' => 'rubbish',
    ':video' => ('A' x 28) . ' 9 video/mp4',
});
my $all = $edge->key($portrait);
my $some = $edge->key($portrait, view => $view);

$r = $edge->get("/c/$portrait/photo?k=$all");
is($r->{status}, 298, 'media are handed on');
is($r->{headers}{'media-id'}, $media, '$cardx_media_id');
is($r->{headers}{'media-type'}, 'image/jpeg', '$cardx_media_type');
is($r->{headers}{'edge-status'}, 'hit', '$cardx_status');
$r = $edge->get("/c/$portrait/logo?k=$some", { Accept => 'text/html' });
is($r->{status}, 298, 'by the view of the key, whatever Accept says');
is($r->{headers}{'media-type'}, 'image/png', '$cardx_media_type');
is($edge->get("/c/$portrait/photo?k=$some")->{status}, 299,
    'a view without it falls back');
is($edge->get("/c/$portrait/sound?k=$all")->{status}, 299, 'unreadable entry');
is($edge->get("/c/$portrait/video?k=$all")->{status}, 299, 'no id of media');
is($edge->get("/c/$portrait/photo?k=" . $edge->key($portrait, value => 'x'))
    ->{status}, 404, 'refused');

# --- thumbnails --------------------------------------------------------------

my $bytes = "RIFF\0\0\0\0WEBP" . CardxTest::Edge::random_bytes(20_000);
my $thumbnail = $edge->thumbnail($bytes);
$r = $edge->get("/t/$thumbnail");
is($r->{status}, 200, 'a thumbnail');
ok($r->{body} eq $bytes, 'its bytes');
is($r->{headers}{'content-type'}, 'image/webp', 'type');
is($r->{headers}{etag}, "\"$thumbnail\"", 'ETag');
is($r->{headers}{'cache-control'}, 'public, max-age=31536000, immutable',
    'Cache-Control');
is($edge->get("/t/$thumbnail", { 'If-None-Match' => "\"$thumbnail\"" })
    ->{status}, 304, 'not modified');

# --- the connection ----------------------------------------------------------

# HTTP/1.1 pipelining: answers in order, also when the first must wait
my $socket = $edge->connect;
print $socket map {
    CardxTest::Edge::request_text('GET', $_, {})
} "/c/$large_card?k=$large_key", "/c/$card?k=$key", '/c/x', "/t/$thumbnail",
    "/c/$card?k=$unknown", "/q/$key";
my @status = map { CardxTest::Edge::read_response($socket, 'GET')->{status} }
    1 .. 6;
is("@status", '200 200 404 200 299 302', 'pipelined requests');

$socket = $edge->connect;
for (1 .. 5) {
    print $socket CardxTest::Edge::request_text('GET', "/c/$card?k=$key", {});
    is(CardxTest::Edge::read_response($socket, 'GET')->{body}, $body,
        'connection kept');
}

SKIP: {
    my $curl = `curl --version 2>/dev/null` || '';
    skip 'no curl with HTTP/2', 2 if $curl !~ /HTTP2/;
    my $base = "http://127.0.0.1:$edge->{h2_port}";
    my @codes = map {
        `curl -sS --http2-prior-knowledge -o /dev/null \\
            -w '%{http_code} %{http_version}' "$base$_"`;
    } "/c/$card?k=$key", '/c/x', "/q/$key", "/t/$thumbnail",
        "/c/$card?k=$unknown";
    is("@codes", '200 2 404 2 302 2 200 2 299 2', 'HTTP/2');
    my $out = `curl -sS --http2-prior-knowledge "$base/c/$card?k=$key"`;
    is($out, $body, 'HTTP/2: body');
}

# --- subrequests -------------------------------------------------------------

mkdir $edge->dir . '/html';
mkdir $edge->dir . '/html/page';
CardxTest::Edge::write_file($edge->dir . '/html/page/x.html', join '', '<',
    (map { "<!--#include virtual=\"$_\" -->|" } "/c/$card?k=$key",
        "/c/$card?k=$small", '/c/x', "/c/$card?k=$unknown", "/c/$card?k=$key"),
    '>');
$r = $edge->get('/page/x.html', { 'If-None-Match' => '"7-j"',
    'Cardx-Key' => '' });
is($r->{status}, 200, 'a page of subrequests');
my ($refusal) = $shape =~ /\n([^\n]+)\z/;
is($r->{body}, "<$body|{\"small\":true}|$refusal|worker|$body|>",
    'each has its answer');

# --- counters ----------------------------------------------------------------

my $hits = 'cardx_edge_requests_total{path="card",status="hit"}';
my $before = $edge->metric($hits);
$edge->get("/c/$card?k=$key");
is($edge->metric($hits), $before + 1, 'a hit is counted');
ok($edge->reload, 'reload');
$edge->await_ready;
is($edge->metric($hits), $before + 1, 'counters survive a reload');

$edge->finish;
done_testing;
