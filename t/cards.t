#!/usr/bin/perl
# The owner's own cards: A1, D3; conditional requests, merge patches, what
# happens at the edge when a card gets narrower, Redis being away.

use strict;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use JSON::PP ();
use POSIX ();

my $t = CardxTest->new->start;
my $anna = { token => $t->register('+8613800001001')->{access_token} };
my $bela = { token => $t->register('+8613800001002')->{access_token} };
my $code = sub { $_[0]{json} && $_[0]{json}{code} || '' };

my $card = {
    '@type' => 'Card', version => '1.0', name => { full => 'Anna Ito' },
    phones => { w => { number => '+4930111' }, h => { number => '+4930222' } },
    'example.org:shoe' => { size => 38, left => JSON::PP::true },
};

# Runs code in `n` processes at once; what each returned.
sub together {
    my ($n, $call) = @_;
    my (@pipes, @out);
    delete $t->{http}{handle};          # its connection is not to be shared
    for my $i (0 .. $n - 1) {
        my $pid = open my $pipe, '-|';
        die "fork: $!" unless defined $pid;
        if (!$pid) {
            print $call->($i);
            close STDOUT;
            POSIX::_exit(0);
        }
        push @pipes, $pipe;
    }
    for my $pipe (@pipes) {
        push @out, join '', <$pipe>;
        close $pipe;
    }
    return @out;
}

# What a key shows at the edge.
sub draw {
    my ($id, @fields) = @_;
    my $r = $t->post("/v1/cards/$id/keys",
        { ttl => 600, @fields ? (fields => \@fields) : () }, $anna);
    return $r->{json}{key};
}

# --- making and reading ----------------------------------------------------

my $r = $t->post('/v1/cards', $card, $anna);
is($r->{status}, 201, 'a card') or diag($r->{body});
my $id = $r->{json}{card_id};
like($id, qr/^[\w-]{28}$/, 'with an id');
is($r->{headers}{location}, "/v1/cards/$id", 'Location');
is($r->{headers}{etag}, '"1"', 'ETag is the revision');
is($r->{json}{revision}, 1, 'revision 1');
is($r->{json}{thumbnail}, undef, 'no thumbnail yet');
ok(exists $r->{json}{thumbnail}, '... and it says so');
is_deeply($r->{json}{media}, {}, 'no media');
my $uid = $r->{json}{card}{uid};
like($uid, qr/^urn:uuid:/, 'a uid was drawn');
is_deeply($r->{json}{card}, { %$card, uid => $uid },
    'the card is as it was sent, unknown properties included');

is($t->get('/v1/me', undef, $anna)->{json}{own_card_id}, $id,
    'the first card is the own card');

$r = $t->wait_for(sub {
    my $got = $t->get("/v1/cards/$id", undef, $anna);
    $got->{json}{thumbnail} && $got;
});
ok($r, 'the thumbnail is drawn');
like($r->{json}{thumbnail}, qr{^/t/[\w-]{28}$}, 'and has an address');
is($r->{json}{revision}, 1, 'which is no new revision');
my $thumbnail = $r->{json}{thumbnail};
is($t->get($thumbnail)->{headers}{'content-type'}, 'image/webp',
    'where the picture is');

my $etag = $r->{headers}{etag};
$r = $t->get("/v1/cards/$id", undef, { %$anna, 'If-None-Match' => $etag });
is($r->{status}, 304, 'not modified');
is($r->{body} // '', '', 'without a body');
is($t->get("/v1/cards/$id", undef, { %$anna, 'If-None-Match' => '"1"' })
    ->{status}, 200, 'who has seen it without thumbnail gets it anew');

# --- not another's ---------------------------------------------------------

for my $call (['GET', ''], ['PUT', '', $card], ['PATCH', '', { kind => 'org' }],
    ['DELETE', ''], ['POST', '/keys', {}], ['GET', '/keys'],
    ['GET', '/media/photo'], ['DELETE', '/media/photo'],
    ['DELETE', '/thumbnail']) {
    my ($method, $rest, $body) = @$call;
    $r = $t->request($method, "/v1/cards/$id$rest", $body, $bela);
    is("$r->{status} " . $code->($r), '404 not_found',
        "$method $rest of another's card");
}
is($t->get('/v1/cards', undef, $bela)->{json}{items}[0], undef,
    'nor is it in their list');
is($t->get("/v1/cards/$id")->{status}, 401, 'and nobody without token');

# --- PUT, PATCH ------------------------------------------------------------

my $second = { %$card, name => { full => 'Anna Itō' } };
$r = $t->put("/v1/cards/$id", $second, { %$anna, 'If-Match' => $etag });
is($r->{status}, 200, 'PUT with If-Match') or diag($r->{body});
is($r->{json}{revision}, 2, 'is revision 2');
is($r->{json}{card}{uid}, $uid, 'and keeps the uid');
is($r->{headers}{etag}, '"2"', 'with its ETag');

$r = $t->put("/v1/cards/$id", $card, { %$anna, 'If-Match' => '"1"' });
is("$r->{status} " . $code->($r), '412 version_conflict', 'a former revision');
is($t->put("/v1/cards/$id", $second, { %$anna, 'If-Match' => '"9", W/"2"' })
    ->{status}, 200, 'one of a list of ETags');
is($t->put("/v1/cards/$id", $second, { %$anna, 'If-Match' => '*' })->{status},
    200, 'any revision');
is($t->get("/v1/cards/$id", undef, $anna)->{json}{revision}, 2,
    'the same again is no new revision');

$r = $t->patch("/v1/cards/$id",
    { titles => { t => { name => 'Engineer' } }, phones => { h => undef } },
    $anna);
is($r->{status}, 200, 'PATCH') or diag($r->{body});
is_deeply($r->{json}{card}, { %$second, uid => $uid,
    titles => { t => { name => 'Engineer' } },
    phones => { w => { number => '+4930111' } } }, 'merges and removes');
is($r->{json}{revision}, 3, 'revision 3');

$r = $t->patch("/v1/cards/$id", { name => 'Anna' }, $anna);
is("$r->{status} " . $code->($r), '422 invalid_card', 'a wrong result');
is($t->get("/v1/cards/$id", undef, $anna)->{json}{revision}, 3,
    'changes nothing');
$r = $t->patch("/v1/cards/$id", { kind => 'org' },
    { %$anna, 'If-Match' => '"2"' });
is($r->{status}, 412, 'PATCH honours If-Match');

my @statuses = together(12, sub {
    my ($i) = @_;
    return $t->patch("/v1/cards/$id",
        { emails => { "e$i" => { address => "a$i\@example.org" } } },
        $anna)->{status};
});
is("@statuses", join(' ', (200) x 12), 'twelve patches at once');
$r = $t->get("/v1/cards/$id", undef, $anna);
is(scalar keys %{ $r->{json}{card}{emails} }, 12, 'none is lost');
is($r->{json}{revision}, 15, 'each is a revision');

# --- idempotency, list -----------------------------------------------------

my %once = (%$anna, 'Idempotency-Key' => 'cards.t');
my @same = map { $t->post('/v1/cards', { %$card, kind => 'org' }, \%once) }
    1 .. 2;
is($same[0]{status}, 201, 'POST with an Idempotency-Key');
is($same[1]{body}, $same[0]{body}, 'gives the same again');
my $other = $same[0]{json}{card_id};

$r = $t->get('/v1/cards', undef, $anna);
is(join(' ', map { $_->{card_id} } @{ $r->{json}{items} }), "$id $other",
    'the list, in the order they were made');
ok(!exists $r->{json}{next}, 'ends');
$r = $t->get('/v1/cards?limit=1', undef, $anna);
is($r->{json}{items}[0]{card_id}, $id, 'its first page');
ok($r->{json}{next}, 'goes on');
$r = $t->get("/v1/cards?limit=1&cursor=$r->{json}{next}", undef, $anna);
is($r->{json}{items}[0]{card_id}, $other, 'with the second');
is(scalar @{ $r->{json}{items} }, 1, 'of one item');
ok(!exists $r->{json}{next}, 'and ends there');

# --- narrower: in force when it is answered --------------------------------

my $key = draw($id);
my $little = draw($id, 'emails');
is($t->get("/c/$id", undef, { key => $key })->{json}{phones}{w}{number},
    '+4930111', 'the edge shows the number');

my $stale = 0;
for my $n (1 .. 30) {
    $t->patch("/v1/cards/$id", { phones => { w => { number => "+49$n" } } },
        $anna);
    my $seen = $t->get("/c/$id", undef, { key => $key });
    $stale++ if ($seen->{json}{phones}{w}{number} || '') ne "+49$n";
}
is($stale, 0, 'another number shows as soon as the change is answered');

$t->patch("/v1/cards/$id", { emails => undef }, $anna);
$r = $t->get("/c/$id", undef, { key => $little });
is($r->{status}, 200, 'a key for some fields');
ok(!$r->{json}{emails}, 'shows what is left of them');
ok(!$r->{json}{phones}, 'and nothing else');

# A name that is corrected: thumbnails with the former one are gone.
$r = $t->wait_for(sub {
    my $got = $t->get("/v1/cards/$id", undef, $anna);
    $got->{json}{thumbnail} && $got;
});
$thumbnail = $r->{json}{thumbnail};
is($t->get($thumbnail)->{status}, 200, 'a thumbnail');
$r = $t->patch("/v1/cards/$id", { name => { full => 'Anna Sato' } }, $anna);
is($r->{status}, 200, 'another name');
is($r->{json}{thumbnail}, undef, 'another thumbnail, not yet drawn');
is($t->get($thumbnail)->{status}, 404, 'the former one is gone');
ok($t->wait_for(sub {
    $t->get("/v1/cards/$id", undef, $anna)->{json}{thumbnail} }),
    'the new one comes');
is($t->psql("select count(*) from cardx.thumbnails t join cardx.cards c
    using (card_id, picture_version) where card_id = '$id'"), 2,
    'one for all, one for the key with fields');

# --- Redis away ------------------------------------------------------------

$t->signal('redis', 'STOP');
$r = $t->patch("/v1/cards/$id", { notes => { n => { note => 'x' } } }, $anna);
is($r->{status}, 200, 'without Redis: what adds is answered')
    or diag($r->{body});
$r = $t->patch("/v1/cards/$id", { notes => undef }, $anna);
is("$r->{status} " . $code->($r), '503 not_yet_in_force', 'what takes away');
ok($r->{headers}{'retry-after'}, 'says to try again');
ok(!$t->get("/v1/cards/$id", undef, $anna)->{json}{card}{notes},
    'but is stored');
$r = $t->patch("/v1/cards/$id", { notes => undef }, $anna);
is($r->{status}, 503, 'and is not in force when repeated too early');
$t->thaw_redis;
ok($t->wait_for(sub {
    $t->patch("/v1/cards/$id", { notes => undef }, $anna)->{status} == 200 }),
    'repeated: in force');
ok(!$t->get("/c/$id", undef, { key => $key })->{json}{notes}, 'at the edge');

# --- PostgreSQL's own guard ------------------------------------------------

$r = $t->post('/v1/cards',
    '{"@type":"Card","version":"1.0","name":{"full":"x"},"n":1e-9999}',
    { %$anna, 'Content-Type' => 'application/jscontact+json' });
is("$r->{status} " . $code->($r), '422 invalid_card', 'a number too small');
for my $number ('1e64', '1e-63', '1e-99999999999999999999', '-1.5E+62') {
    $r = $t->post('/v1/cards', "{\"name\":{\"full\":\"x\"},\"n\":$number}",
        { %$anna, 'Content-Type' => 'application/json' });
    is("$r->{status} " . $code->($r), '422 invalid_card',
        "$number would not be read again");
}
for my $number ('1e55', '1.5e-50', '-' . '9' x 60) {
    $r = $t->post('/v1/cards', "{\"name\":{\"full\":\"x\"},\"n\":$number}",
        { %$anna, 'Content-Type' => 'application/json' });
    my $it = "/v1/cards/$r->{json}{card_id}";
    is($t->get($it, undef, $anna)->{json}{card}{n} - $number, 0, "$number is");
    $t->delete($it, undef, $anna);
}
$r = $t->post('/v1/cards', { %$card, notes => { map {
    ("n$_" => { note => 'x' x 8000 }) } 1 .. 9 } }, $anna);
is("$r->{status} " . $code->($r), '413 too_large', 'a card of 72 kB');
$r = $t->post('/v1/cards', '{"@type":"Card","version":"1.0"}',
    { %$anna, 'Content-Type' => 'text/plain' });
is("$r->{status} " . $code->($r), '415 unsupported_type', 'a wrong type');

# --- D3: the terminal's copy -----------------------------------------------

my $copy = { '@type' => 'Card', version => '1.0', name => { full => 'Bela' },
    updated => '2024-05-01T10:00:00Z' };
$r = $t->put('/v1/me/card', $copy, $bela);
is($r->{status}, 201, 'D3: the own card is made') or diag($r->{body});
my $own = $r->{json}{card_id};
is($t->get('/v1/me', undef, $bela)->{json}{own_card_id}, $own,
    'and is the own card');
$r = $t->put('/v1/me/card', { %$copy, updated => '2024-05-02T00:00:00.5Z',
    name => { full => 'Bela B' } }, $bela);
is($r->{status}, 200, 'newer');
is($r->{json}{card}{name}{full}, 'Bela B', 'wins');
is($r->{json}{card_id}, $own, 'it is the same card');
ok(!$r->{json}{unchanged}, 'and changed');
for my $updated ('2024-05-02T00:00:00.5Z', '2024-05-02T00:00:00Z',
    '2023-12-31T23:59:59Z') {
    $r = $t->put('/v1/me/card', { %$copy, updated => $updated }, $bela);
    is($r->{status}, 200, "older or equal: $updated");
    ok($r->{json}{unchanged}, 'unchanged');
    is($r->{json}{card}{name}{full}, 'Bela B', 'the newer one is told');
    is($r->{json}{revision}, 2, 'nothing was written');
}
$r = $t->patch("/v1/cards/$own", { kind => 'individual' }, $bela);
is($r->{json}{card}{updated}, '2024-05-02T00:00:00.5Z',
    'a patch leaves `updated` alone');
$r = $t->put('/v1/me/card', { %$copy, updated => '2024-05-03T00:00:00Z' },
    $bela);
ok($r->{json}{unchanged},
    'a copy from before an edit elsewhere does not undo that');
$r = $t->put('/v1/me/card', { %$copy, updated => '2024-02-30T00:00:00Z' },
    $bela);
is("$r->{status} " . $code->($r), '422 invalid_card', 'no such day');
delete $copy->{updated};
is($t->put('/v1/me/card', $copy, $bela)->{status}, 422, 'no `updated`');

# --- deletion --------------------------------------------------------------

$thumbnail = $t->get("/v1/cards/$id", undef, $anna)->{json}{thumbnail};
my $view = $t->get("/v1/cards/$id/keys", undef, $anna)->{json}{items}[1];
is($t->get($view->{thumbnail})->{status}, 200, "a key's thumbnail");
$r = $t->delete("/v1/cards/$id", undef, { %$anna, 'If-Match' => '"1"' });
is($r->{status}, 412, 'DELETE honours If-Match');
$r = $t->delete("/v1/cards/$id", undef, $anna);
is($r->{status}, 204, 'deleted') or diag($r->{body});
is($t->get("/c/$id", undef, { key => $_ })->{status}, 404,
    'no key opens it') for $key, $little;
is($t->get("/q/$key")->{status}, 404, 'nor leads to it');
is($t->get($_)->{status}, 404, 'no thumbnail')
    for $thumbnail, $view->{thumbnail};
is($t->get("/v1/cards/$id", undef, $anna)->{status}, 404, 'not found');
is($t->put("/v1/cards/$id", $card, $anna)->{status}, 404, 'not to be changed');
is($t->post("/v1/cards/$id/keys", {}, $anna)->{status}, 404, 'no new keys');
is($t->delete("/v1/cards/$id", undef, $anna)->{status}, 204,
    'deleting it again: it is gone');
is($t->get('/v1/me', undef, $anna)->{json}{own_card_id}, $other,
    'the oldest other card is the own card now');
is($t->psql("select card::text from cardx.cards where card_id = '$id'"), '{}',
    'nothing of its content is kept');
$t->delete("/v1/cards/$other", undef, $anna);
is($t->get('/v1/me', undef, $anna)->{json}{own_card_id}, undef,
    'or there is none');

$r = $t->post('/v1/cards', $card, $anna);
$id = $r->{json}{card_id};
$key = draw($id);
$t->signal('redis', 'STOP');
$r = $t->delete("/v1/cards/$id", undef, $anna);
is("$r->{status} " . $code->($r), '503 not_yet_in_force', 'without Redis');
$t->thaw_redis;
ok($t->wait_for(sub {
    $t->delete("/v1/cards/$id", undef, $anna)->{status} == 204 }), 'repeated');
is($t->get("/c/$id", undef, { key => $key })->{status}, 404, 'in force');

# --- a hundred -------------------------------------------------------------

$t->post('/v1/cards', $card, $anna) for 1 .. 97;
@statuses = sort(together(8, sub {
    return $t->post('/v1/cards', $card, $anna)->{status};
}));
is("@statuses", '201 201 201 409 409 409 409 409', 'at most a hundred cards');
$r = $t->post('/v1/cards', $card, $anna);
is("$r->{status} " . $code->($r), '409 too_many_cards', 'and it says so');
is(scalar @{ $t->get('/v1/cards', undef, $anna)->{json}{items} }, 100,
    'all in one list');

$t->finish;
done_testing;
