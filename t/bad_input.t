#!/usr/bin/perl
# Whatever comes in: a clear refusal, nothing stored, no worker lost.

use strict;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use CardxTest::Media;
use IO::Socket::SSL ();
use Time::HiRes qw(sleep);

my $t = CardxTest->new->start;
my $token = $t->register('+8613800004001')->{access_token};
my $anna = { token => $token };

my $id = $t->card($anna, name => { full => 'Anna' });
my $key_id = $t->key($anna, $id)->{key_id};
my $entry = '/v1/contacts/' . $t->post('/v1/contacts', { own => {
    '@type' => 'Card', version => '1.0', name => { full => 'Bela' } } }, $anna)
    ->{json}{contact_id};
$t->wait_for(sub {
    $t->get("/v1/cards/$id", undef, $anna)->{json}{thumbnail} });

my ($host, $port) = $t->url =~ m{^https://([^:/]+):(\d+)};

# All that a card is kept in, and the worker processes.
my $tables = join ' union all ', map {
    "select '$_', count(*)::text from cardx.$_" }
    qw(cards media media_chunks card_keys thumbnails own_thumbnails
       gone_thumbnails idempotency);
my $rows = sub {
    $t->psql("$tables union all select 'cards', string_agg(c::text, '')
        from cardx.cards c order by 1, 2");
};
my @names = qw(cardxd nginx api-fast-0 api-fast-1 api-slow-0 api-slow-1
    api-miss-0 api-miss-1 fanout deliver-0 media picture);
my $pids = sub { join ' ', map { $t->pid($_) // '-' } @names };
my $rows_before = $rows->();
my $pids_before = $pids->();

# One refused request; `expected` is "status code", or several statuses.
sub refused {
    my ($what, $expected, $method, $path, $body, %headers) = @_;
    my $r = $t->request($method, $path, $body, { %$anna, %headers });
    my $code = $r->{json} ? $r->{json}{code} // '' : '';
    $what = substr $what, 0, 70;

    if ($expected =~ /^\d+ \w+$/) {
        is("$r->{status} $code", $expected, $what)
            or diag(substr $r->{body}, 0, 300);
    } else {
        like($r->{status}, qr/^(?:$expected)$/, $what)
            or diag(substr $r->{body}, 0, 300);
    }
    return $r if $r->{status} < 400;
    is($r->{headers}{'content-type'}, 'application/problem+json',
        "... as a problem: $what");
    ok($r->{json} && $r->{json}{status} == $r->{status} && $code ne ''
        && $r->{json}{title} && $r->{json}{detail}, "... that is whole: $what");
    return $r;
}

my $json = { 'Content-Type' => 'application/json' };
my $patch = { 'Content-Type' => 'application/merge-patch+json' };
my $start = '{"@type":"Card","version":"1.0","name":{"full":"x"}';

# --- JSON ------------------------------------------------------------------

my %bad_json = (
    'nothing' => '', 'half an object' => '{"name":', 'a bare word' => 'card',
    'two values' => "$start} {}", 'a trailing comma' => "$start,}",
    'single quotes' => "{'name':1}", 'NaN' => "$start,\"n\":NaN}",
    'a comment' => "$start/* */}", 'UTF-16' => "\xff\xfe{\0}\0",
    'a NUL' => "$start\0}", 'a NUL in a string' => qq($start,"x":"a\0b"}),
    '\u0000' => qq($start,"x":"a\\u0000b"}),
    '\u0000 in a name' => qq($start,"x\\u0000y":1}),
    'a lone surrogate' => qq($start,"x":"\\ud800"}),
    'a surrogate in UTF-8' => qq($start,"x":"\xed\xa0\x80"}),
    'overlong UTF-8' => qq($start,"x":"\xc0\xaf"}),
    'UTF-8 cut off' => qq($start,"x":"\xe2\x82"}),
    'UTF-8 above U+10FFFF' => qq($start,"x":"\xf5\x80\x80\x80"}),
    'Latin-1' => qq($start,"x":"caf\xe9"}),
    'a member twice' => qq($start,"x":1,"x":2}),
    'depth 10 000, arrays' => "$start,\"x\":" . '[' x 10000 . ']' x 10000 . '}',
    'depth 10 000, objects' => "$start,\"x\":" . '{"a":' x 10000 . '1'
        . '}' x 10001,
    'depth 10 000, open' => '[' x 10000,
    'a control character' => qq($start,"x":"a\x01b"}),
    'a number above all' => "$start,\"x\":1e400}",
    'a number of 100 digits' => "$start,\"x\":" . '9' x 100 . '}',
);
for my $what (sort keys %bad_json) {
    refused("POST, $what", '400 invalid_json', 'POST', '/v1/cards',
        $bad_json{$what}, %$json);
    refused("PUT, $what", '400 invalid_json', 'PUT', "/v1/cards/$id",
        $bad_json{$what}, %$json);
    refused("PATCH, $what", '400 invalid_json', 'PATCH', "/v1/cards/$id",
        $bad_json{$what}, %$patch);
    refused("key, $what", '400 invalid_json', 'POST', "/v1/cards/$id/keys",
        $bad_json{$what}, %$json) if $what ne 'nothing';
    refused("registration, $what", '400|422', 'POST', '/v1/registrations',
        $bad_json{$what}, %$json);
    refused("session, $what", '400|422', 'POST', '/v1/sessions',
        $bad_json{$what}, %$json);
}
refused("$_ for a card", '422 invalid_body', 'PUT', "/v1/cards/$id", $_, %$json)
    for '[]', '1', '"x"', 'null', 'true';

# --- wrong Cards -----------------------------------------------------------

for my $wrong (
    '{"@type":"Group","version":"1.0"}', '{"@type":1,"version":"1.0"}',
    '{"@type":"Card","version":"9"}',
    "$start,\"uid\":7}", "$start,\"uid\":\"\"}", "$start,\"phones\":[]}",
    "$start,\"phones\":{\"w\":\"+49\"}}",
    "$start,\"phones\":{\"w\":{\"number\":49}}}",
    "$start,\"phones\":{\"a b\":{\"number\":\"+49\"}}}",
    "$start,\"phones\":{\"w\":{\"number\":\"+49\",\"pref\":101}}}",
    "$start,\"emails\":{\"w\":{\"address\":[]}}}",
    "$start,\"organizations\":{\"w\":{\"units\":{}}}}",
    "$start,\"updated\":\"yesterday\"}", "$start,\"updated\":12}",
    "$start,\"media\":{\"m\":{\"kind\":\"photo\"}}}",
    "$start,\"localizations\":{\"de\":1}}",
    "$start,\"keywords\":{\"a\":false}}",
    "$start,\"x\":[[{\"y\":-1E-9999}]]}",
    '{"@type":"Card","version":"1.0","name":"x"}',
    '{"@type":"Card","version":"1.0","name":{"components":{}}}',
    "$start,\"notes\":{\"n\":{\"note\":\"" . 'x' x 20000 . '"}}}',
) {
    refused("a card: $wrong", '422 invalid_card', 'POST', '/v1/cards', $wrong,
        %$json);
    refused("another card: $wrong", '422 invalid_card', 'PUT',
        "/v1/cards/$id", $wrong, %$json);
    refused("own card: $wrong", '422 invalid_card', 'PUT', '/v1/me/card',
        $wrong, %$json);
}
refused('a patch that leaves no Card', '422 invalid_card', 'PATCH',
    "/v1/cards/$id", '{"@type":"Group"}', %$patch);

# --- types of body, sizes --------------------------------------------------

refused("a card as $_", '415 unsupported_type', 'POST', '/v1/cards',
    "$start}", 'Content-Type' => $_)
    for 'text/vcard', 'application/x-www-form-urlencoded',
    'multipart/form-data', 'application/merge-patch+json', '', '/',
    'application/json/x', 'x' x 3000;
refused('a patch as a card', '415 unsupported_type', 'PATCH', "/v1/cards/$id",
    '{}', 'Content-Type' => 'application/jscontact+json');
refused('a body of 10 MB', '413 too_large', 'POST', '/v1/cards',
    ' ' x 10_000_000, %$json);
refused('a body of 200 kB', '413 too_large', 'PUT', "/v1/cards/$id",
    "$start,\"x\":\"" . 'x' x 200_000 . '"}', %$json);
refused('a card of 100 kB', '413|422', 'PUT', "/v1/cards/$id",
    "$start,\"x\":[" . join(',', map { '"' . 'y' x 1000 . '"' } 1 .. 100)
    . ']}', %$json);
refused('a video of 25 MiB', '413 too_large', 'PUT',
    "/v1/cards/$id/media/video", "\0" x 26214400,
    'Content-Type' => 'video/mp4');

# --- pictures --------------------------------------------------------------

my $bomb = "\x89PNG\r\n\x1a\n"
    . CardxTest::Media::chunk('IHDR', pack('NNCCCCC', 60000, 60000, 8, 2, 0, 0,
        0))
    . CardxTest::Media::chunk('IDAT', Compress::Zlib::compress("\0" x 1000000))
    . CardxTest::Media::chunk('IEND', '');
my $good = png(64, 64);

sub zero_width {
    my $picture = png(1, 1);
    substr($picture, 16, 4) = "\0" x 4;
    return $picture;
}
my %pictures = (
    'a bomb of 60000 x 60000' => $bomb,
    'no width' => zero_width(),
    'cut off' => substr($good, 0, length($good) - 30),
    'the signature alone' => "\x89PNG\r\n\x1a\n",
    'cut off JPEG' => substr(jpeg(), 0, 200),
    'JPEG start and end' => "\xff\xd8\xff\xd9",
    'one byte' => "\xff", 'zeros' => "\0" x 10000,
    'RIFF without WebP' => "RIFF\xff\xff\xff\xffWEBPVP8 ",
    'a HEIC of nothing' => pack('N', 24) . 'ftypheic' . "\0" x 12,
    'SVG' => '<svg xmlns="http://www.w3.org/2000/svg">'
        . '<image href="file:///etc/passwd"/></svg>',
    'a PDF' => "%PDF-1.4\n1 0 obj\n",
    'random bytes' => join('', map { chr($_ * 7919 % 251) } 1 .. 5000),
);
for my $what (sort keys %pictures) {
    for my $type ('image/png', 'image/jpeg') {
        refused("photo: $what as $type", '422 invalid_picture', 'PUT',
            "/v1/cards/$id/media/photo", $pictures{$what},
            'Content-Type' => $type);
    }
    refused("thumbnail: $what", '422 invalid_picture', 'PUT',
        "/v1/cards/$id/thumbnail", $pictures{$what},
        'Content-Type' => 'image/webp');
}
refused("photo as $_", '415 unsupported_type', 'PUT',
    "/v1/cards/$id/media/photo", $good, 'Content-Type' => $_)
    for 'image/gif', 'image/svg+xml', 'text/html', 'image/', 'x';

# --- ids and keys of any bytes and length ----------------------------------

my $wrong_tag = $id;
substr($wrong_tag, -1) = substr($id, -1) eq 'A' ? 'Q' : 'A';
for my $wrong ($wrong_tag, $key_id, 'x', 'A' x 28, 'A' x 27, 'A' x 5000,
    substr($id, 0, 27), "${id}A", lc $id, '%00', "$id%00", '%ff%fe%fd', '%',
    '%2', '%zz', '..%2f..%2fetc', '-', "'", '"', '%27%20or%201%3d1',
    '%0d%0aX:y',
    "$id%20", '{c}', '*', '%e2%82%ac', '~', ':', '@', '%25%30%30') {
    refused("GET card $wrong", '400|404', 'GET', "/v1/cards/$wrong");
    refused("DELETE card $wrong", '400|404', 'DELETE', "/v1/cards/$wrong");
    refused("key $wrong", '400|404', 'DELETE', "/v1/cards/$id/keys/$wrong")
        if $wrong ne $key_id;
    refused("card $wrong at the edge", '400|404', 'GET', "/c/$wrong?k="
        . 'A' x 26);
    refused("thumbnail $wrong", '400|404', 'GET', "/t/$wrong");
    refused("redirect $wrong", '400|404', 'GET', "/q/$wrong");
    refused("with key $wrong", '404 key_refused', 'GET', "/c/$id?k=$wrong");
}
refused("path $_", '400|404', 'GET', $_)
    for '/v1/', '/v1//cards', '/v1/cards/', "/v1/cards/$id/",
    "/v1/cards/$id/media", "/v1/cards/$id/media/photo/x", '/v1/%63ard',
    '/v1/cards/' . 'a/' x 200, '/v1/me/card/x';
refused("cursor $_", '422 invalid_cursor', 'GET', "/v1/cards?cursor=$_")
    for '%27', 'a' x 300, '%ff', 'a%20b', 'AAAA';
refused("limit $_", '422 invalid_limit', 'GET', "/v1/cards?limit=$_")
    for '0', '-1', '1e9', '99999999999999999999', '1%201';

# --- headers ---------------------------------------------------------------

refused("If-Match $_", '412 version_conflict', 'PATCH', "/v1/cards/$id",
    '{"kind":"org"}', %$patch, 'If-Match' => $_)
    for '"', '""', '"0"', '1', '"1', 'W/', ',,,,', '"' . '9' x 3000 . '"',
    '"99999999999999999999"', '';
refused('an empty If-Match', '412 version_conflict', @$_, 'If-Match' => '')
    for ['PUT', "/v1/cards/$id", "$start}", %$json],
    ['DELETE', "/v1/cards/$id", undef],
    ['DELETE', "/v1/cards/$id/media/photo", undef],
    ['DELETE', "/v1/cards/$id/thumbnail", undef],
    ['PATCH', $entry, '{"note":"x"}', %$patch],
    ['DELETE', $entry, undef];
refused("Authorization: $_", '401 unauthorized', 'GET', '/v1/cards', undef,
    token => undef, Authorization => $_)
    for 'Bearer', 'Bearer ', 'Bearer x', "Bearer ${token}x", "Basic $token",
    'Bearer ' . substr($token, 0, 75) . '%', 'x' x 3000,
    'Bearer ' . reverse $token;
refused('Idempotency-Key of 300 bytes', '422 invalid_idempotency_key', 'POST',
    "/v1/cards/$id/keys", '{}', %$json, 'Idempotency-Key' => 'x' x 300);

# --- methods ---------------------------------------------------------------

for my $case (['POST', "/v1/cards/$id", qr/GET.*PUT.*PATCH.*DELETE/],
    ['DELETE', '/v1/cards', qr/POST.*GET|GET.*POST/],
    ['PUT', "/v1/cards/$id/keys", qr/POST/],
    ['GET', "/v1/cards/$id/keys/$key_id", qr/^DELETE$/],
    ['POST', "/v1/cards/$id/media/photo", qr/PUT.*GET.*DELETE/],
    ['GET', "/v1/cards/$id/thumbnail", qr/PUT.*DELETE/],
    ['DELETE', '/v1/me/card', qr/^PUT$/],
    ['BREW', "/v1/cards/$id", qr/GET/], ['get', '/v1/cards', qr//],
    ['OPTIONS', "/v1/cards/$id", qr/GET/]) {
    my ($method, $path, $allow) = @$case;
    my $r = refused("$method $path", $method eq 'get' ? '400|405'
        : '405 method_not_allowed', $method, $path);
    like($r->{headers}{allow} // '', $allow, '... and Allow');
}

# --- on the wire -----------------------------------------------------------

sub wire {
    return IO::Socket::SSL->new(PeerHost => $host, PeerPort => $port,
        SSL_ca_file => $t->ca, SSL_verifycn_scheme => 'none', Timeout => 10)
        || die "no connection: $! $IO::Socket::SSL::SSL_ERROR";
}

# What comes back for these bytes until the other side closes, or 5 s.
sub raw {
    my ($bytes) = @_;
    my $socket = wire();
    my $answer = '';
    local $SIG{PIPE} = 'IGNORE';
    print $socket $bytes;
    eval {
        local $SIG{ALRM} = sub { die "late\n" };
        alarm 5;
        while (sysread $socket, my $part, 65536) { $answer .= $part }
        alarm 0;
    };
    alarm 0;
    return $answer;
}

my $head = "Host: $host\r\nAuthorization: Bearer $token\r\n";
my $answer = raw(join '', map {
    "GET /v1/cards/$id HTTP/1.1\r\n$head" . ($_ == 3 ? "Connection: close\r\n"
        : '') . "\r\n" } 1 .. 3);
is(join(' ', $answer =~ m{HTTP/1\.1 (\d+)\b}g), '200 200 200',
    'three pipelined requests');
$answer = raw("GET /v1/cards/x HTTP/1.1\r\n${head}\r\n"
    . "PUT /v1/cards/$id HTTP/1.1\r\n${head}Content-Type: application/json\r\n"
    . "Content-Length: 3\r\n\r\n[]]"
    . "GET /v1/cards/$id HTTP/1.1\r\n${head}Connection: close\r\n\r\n");
is(join(' ', $answer =~ m{HTTP/1\.1 (\d+)\b}g), '404 400 200',
    'pipelined, two of them wrong');
like(raw("PUT /v1/cards/$id HTTP/1.1\r\n${head}Content-Length: 4\r\n"
    . "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), qr{^HTTP/1\.1 400},
    'two lengths');
like(raw("POST /v1/cards HTTP/1.1\r\n${head}Content-Type: application/json\r\n"
    . "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n"),
    qr{^HTTP/1\.1 400}, 'chunks of no length');
like(raw("POST /v1/cards HTTP/1.1\r\n${head}Content-Type: application/json\r\n"
    . "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    . "3\r\n{\"x\r\n5\r\n\":1}]\r\n0\r\n\r\n"),
    qr{^HTTP/1\.1 400.*invalid_json}s, 'chunks of no JSON');
like(raw("POST /v1/cards HTTP/1.1\r\n${head}Content-Length: -1\r\n\r\n"),
    qr{^HTTP/1\.1 400}, 'a negative length');
for my $header ("Authorization: Bearer \xff\xfe", "If-Match: \xff\xfe",
    "Idempotency-Key: \xff\xfe", "Range: \xff", "Accept: \xff\xff",
    "Content-Type: \xff") {
    like(raw("PATCH /v1/cards/$id HTTP/1.1\r\nHost: $host\r\n$header\r\n"
        . "Connection: close\r\n\r\n"), qr{^HTTP/1\.1 4\d\d.*problem\+json}s,
        'bytes above ASCII in ' . $header =~ s/:.*//sr);
}
like(raw("GET /v1/cards\x00 HTTP/1.1\r\n$head\r\n"), qr{^HTTP/1\.1 400},
    'a NUL in the request line');
like(raw("\x16\x03nonsense\r\n\r\n"), qr{^(?:HTTP/1\.1 400|<html>|$)}s,
    'no HTTP');
like(raw("GET /v1/cards HTTP/1.1\r\n${head}X: " . 'x' x 40000 . "\r\n\r\n"),
    qr{^HTTP/1\.1 4\d\d}, 'a header of 40 kB');

# Clients that leave: at any point of their request, or before its answer.
for my $half ('PO', "POST /v1/cards HTTP/1.1\r\n", "POST /v1/cards HTTP/1.1\r\n"
    . "${head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    . $start, "PUT /v1/cards/$id/media/video HTTP/1.1\r\n${head}"
    . "Content-Type: video/mp4\r\nContent-Length: 20000000\r\n\r\n"
    . mp4(300000), "PUT /v1/cards/$id/media/photo HTTP/1.1\r\n${head}"
    . "Content-Type: image/png\r\nContent-Length: " . length($bomb)
    . "\r\n\r\n$bomb", "GET /v1/cards/$id HTTP/1.1\r\n$head\r\n",
    "GET /v1/cards HTTP/1.1\r\n$head\r\n" x 50) {
    for (1 .. 5) {
        my $socket = wire();
        local $SIG{PIPE} = 'IGNORE';
        print $socket $half;
        close $socket;
    }
}
pass('clients left');
sleep 1;

# --- nothing of it is left -------------------------------------------------

is($t->get("/v1/cards/$id", undef, $anna)->{status}, 200, 'all goes on');
is($rows->(), $rows_before, 'nothing was stored');
is($pids->(), $pids_before, 'no process was lost');

$t->finish;
done_testing;
