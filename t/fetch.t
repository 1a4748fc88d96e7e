#!/usr/bin/perl
# Fetching a card with its key: A4, A5, A6.  What the edge can't answer a
# worker does, and nobody can tell the two apart.

use strict;
use utf8;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use CardxTest::Media;
use MIME::Base64 ();
use Time::HiRes qw(sleep);

my $t = CardxTest->new->start;
my $anna = { token => $t->register('+8613800004001')->{access_token} };

my $card = { '@type' => 'Card', version => '1.0', uid => 'urn:uuid:anna',
    name => { full => 'Anna "Ann" Íto/Dör' },
    titles => { t => { name => 'Engineer' } },
    phones => { w => { number => '+4930111' }, h => { number => '+4930222' } },
    'example.com:shoe' => 38 };
my $r = $t->post('/v1/cards', $card, $anna);
my $id = $r->{json}{card_id};
my $path = "/v1/cards/$id";

my $wav = wav(4000);
for my $medium (['photo', 'image/jpeg', jpeg()],
    ['sound', 'audio/wav', $wav]) {
    my ($kind, $type, $bytes) = @$medium;
    # right after the start 503 is an answer that a client must expect
    ok($t->wait_for(sub {
        $r = $t->put("$path/media/$kind", $bytes,
            { %$anna, 'Content-Type' => $type });
        $r->{status} == 201;
    }), "its $kind") or diag("$r->{status} $r->{body}");
}

sub draw { $t->post("$path/keys", { ttl => 3600, @_ }, $anna)->{json} }
my $key = draw();
my $few = draw(fields => ['titles']);

# A worker answers whatever the edge has nothing about.
sub forget { $t->redis('DEL', "cardx:card:{$id}") }
sub projected { $t->redis('HGET', "cardx:card:{$id}", $_[0]) }

# What a client sees of an answer, to be compared.
sub seen {
    my ($answer, @more) = @_;
    my $h = $answer->{headers};
    return join "\n", $answer->{status}, (map { "$_: " . ($h->{$_} // '-') }
        qw(content-type cache-control etag vary referrer-policy
           content-length retry-after), @more), $answer->{body} // '';
}

# --- the card, by the edge and by a worker ---------------------------------

$r = $t->get($key->{link});
is($r->{status}, 200, 'the card');
is($r->{headers}{'content-type'}, 'application/jscontact+json', 'its type');
is($r->{headers}{etag}, '"3-j"', 'its ETag');
is($r->{headers}{vary}, 'Accept', 'Vary');
is($r->{headers}{'cache-control'}, 'private, no-cache', 'Cache-Control');
is($r->{headers}{'referrer-policy'}, 'no-referrer', 'Referrer-Policy');
is($r->{json}{'example.com:shoe'}, 38, 'with what cardx does not know');
is($r->{json}{media}{'cardx-photo'}{kind}, 'photo', 'and its photo');
is($r->{json}{media}{'cardx-photo'}{uri}, $t->url . "/c/$id/photo",
    'under an address without key');
is(join(' ', sort keys %{ $r->{json}{media} }), 'cardx-photo cardx-sound',
    'media that there are');

for my $case (
    ['all fields', $key->{link}, {}],
    ['some fields', $few->{link}, {}],
    ['the key in the header', "/c/$id", { key => lc $few->{key} }],
    ['not modified', $key->{link}, { 'If-None-Match' => '"3-j"' }],
    ['modified', $key->{link}, { 'If-None-Match' => '"2-j"' }],
) {
    my ($what, $link, $headers) = @$case;
    my $hit = $t->get($link, undef, $headers);
    forget();
    my $worker = $t->get($link, undef, $headers);
    is(seen($worker), seen($hit), "$what: the same from a worker");
    is(projected('v'), 3, "$what: the next one is the edge's again");
    is(seen($t->get($link, undef, $headers)), seen($hit), "$what: and so");
}

$r = $t->get($few->{link});
is(join(' ', sort keys %{ $r->{json} }), '@type name titles uid version',
    'a key for some fields shows no more');
like($r->{headers}{etag}, qr/^"3-[0-9a-f]{16}j"$/, 'its ETag is its own');
forget();
$r = $t->head($key->{link});
is("$r->{status} $r->{headers}{'content-length'} [" . ($r->{body} // '') . ']',
    '200 ' . length($t->get($key->{link})->{body}) . ' []', 'HEAD');
is($t->post($key->{link}, {})->{status}, 405, 'POST is none of it');

# --- one and the same refusal ----------------------------------------------

my $revoked = draw();
$t->delete("$path/keys/$revoked->{key_id}", undef, $anna);
my $expired = draw();
$t->psql("update cardx.card_keys set drawn_at = now() - interval '2 hours',
    expires_at = now() - interval '1 s'
    where key_id = '$expired->{key_id}'");
forget();
my $soon = draw(ttl => 1);

my $other = $t->post('/v1/cards', $card, $anna)->{json}{card_id};
my $others = $t->post("/v1/cards/$other/keys", {}, $anna)->{json};
my $dead = $t->post('/v1/cards', $card, $anna)->{json}{card_id};
my $deads = $t->post("/v1/cards/$dead/keys", {}, $anna)->{json};
is($t->get($deads->{link})->{status}, 200, 'a card');
$t->delete("/v1/cards/$dead", undef, $anna);
sleep 1.2;

(my $wrong_id = $id) =~ s/.$/$& eq 'A' ? 'E' : 'A'/e;
my $none = seen($t->get("/c/$id?k=" . 'A' x 26));
like($none, qr/^404\n.*problem\+json.*"code":"key_refused"}$/s, 'refused');

for my $case (
    ['unknown', "/c/$id?k=" . 'B' x 25 . 'A'],
    ['no key', "/c/$id"],
    ['an empty key', "/c/$id?k="],
    ['not a key', "/c/$id?k=" . 'B' x 25 . '1'],
    ['too long', "/c/$id?k=$key->{key}A"],
    ['with bits after the end', "/c/$id?k=" . 'A' x 25 . 'B'],
    ['revoked', $revoked->{link}],
    ['expired', $expired->{link}],
    ['just expired', $soon->{link}],
    ['of another card', "/c/$id?k=$others->{key}"],
    ['deleted', $deads->{link}],
    ['an id with a wrong tag', "/c/$wrong_id?k=$key->{key}"],
    ['no id', "/c/x?k=$key->{key}"],
    ['an unknown kind', "/c/$id/smell?k=$key->{key}"],
    ['a medium that is not there', "/c/$id/video?k=$key->{key}"],
    ['a medium that does not show', "/c/$id/photo?k=$few->{key}"],
    ['a medium with no key', "/c/$id/photo"],
    ['a vCard', "/c/$id.vcf?k=$revoked->{key}"],
) {
    my ($what, $link) = @$case;
    is(seen($t->get($link)), $none, "$what: the same refusal");
    forget();
    $t->redis('DEL', "cardx:card:{$dead}");
    is(seen($t->get($link)), $none, "$what: and from a worker");
    is(seen($t->get($link)), $none, "$what: and from whoever is next");
}

my $hash = $t->psql("select encode(key_hash, 'hex') from cardx.card_keys
    where key_id = '$revoked->{key_id}'");
$t->get($key->{link});
is(projected('k:' . substr $hash, 0, 32), 'x', 'the edge knows of the revoked');
$t->get("/c/$id?k=" . 'C' x 25 . 'A');
my $remembered = grep { /^-\d+$/ }
    @{ $t->redis('HVALS', "cardx:card:{$id}") };
ok($remembered, 'an unknown key is remembered for a moment');

# --- forms -----------------------------------------------------------------

for my $case (
    ['*/*', 'application/jscontact+json'],
    ['application/json', 'application/jscontact+json'],
    ['text/html', 'text/html; charset=utf-8'],
    ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
        'text/html; charset=utf-8'],
    ['text/vcard', 'text/vcard; charset=utf-8'],
    ['text/html;q=0.3, text/vcard;q=0.7', 'text/vcard; charset=utf-8'],
    ['text/vcard;version=4.0', 'text/vcard; charset=utf-8; version=4.0'],
    ['text/html;q=0, */*;q=0.1', 'application/jscontact+json'],
    ['image/png', 'application/jscontact+json'],
) {
    my ($accept, $type) = @$case;
    $r = $t->get($key->{link}, undef, { Accept => $accept });
    is("$r->{status} $r->{headers}{'content-type'}", "200 $type", $accept);
    like($r->{headers}{vary}, qr/^Accept\b/, 'Vary');
    is($r->{headers}{'cache-control'}, 'private, no-cache', 'and private');
    my $etag = $r->{headers}{etag};
    $r = $t->get($key->{link}, undef, { Accept => $accept,
        'If-None-Match' => $etag });
    is("$r->{status} $r->{headers}{etag}", "304 $etag", 'If-None-Match');
}
my %etags = map { $t->get($key->{link}, undef, { Accept => $_ })
    ->{headers}{etag} => 1 } '*/*', 'text/html', 'text/vcard',
    'text/vcard;version=4.0';
is(scalar keys %etags, 4, 'each has an ETag of its own');

# --- vCards ----------------------------------------------------------------

sub unfolded { my $text = shift; $text =~ s/\r\n //g; return $text }

$r = $t->get("/c/$id.vcf?k=$key->{key}");
is($r->{status}, 200, 'a vCard to save');
is($r->{headers}{'content-type'}, 'text/vcard; charset=utf-8', 'its type');
is($r->{headers}{'content-disposition'},
    q{attachment; filename="card.vcf"; filename*=UTF-8''}
    . 'Anna%20%20Ann%20%20%C3%8Dto%20D%C3%B6r.vcf', 'under the name');
my $turned = $t->post('/v1/cards', { name => { full =>
    "\x{202e}. Anna\x{202e}exe\x{200b}.\x{2066}\x{ad}" } }, $anna)->{json}{card_id};
my $turned_key = $t->post("/v1/cards/$turned/keys", {}, $anna)->{json}{key};
like($t->get("/c/$turned.vcf?k=$turned_key")->{headers}{'content-disposition'},
    qr/filename="Annaexe\.\.vcf"/, 'whose direction nothing turns');
my $vcard = unfolded($r->{body});
like($vcard, qr/^BEGIN:VCARD\r\nVERSION:3\.0\r\n.*END:VCARD\r\n$/s, '3.0');
my ($photo) = $vcard =~ /^PHOTO;([^\r]*)/m;
like($photo || '', qr/ENCODING=b/i, 'with the photo');
my $jpeg = MIME::Base64::decode(($photo || '') =~ s/^.*?://r);
like($jpeg, qr/^\xff\xd8.*\xff\xd9$/s, 'as JPEG');
cmp_ok(length $jpeg, '<=', 204800, 'of at most 200 KiB');
like($vcard, qr{^SOUND[^\r]*:\Q@{[$t->url]}\E/c/\Q$id\E/sound\r$}m,
    'sound by its address');
unlike($vcard, qr/\Q$key->{key}\E/i, 'but never the key');

$r = $t->get("/c/$id.vcf?version=4.0&k=$key->{key}");
is($r->{headers}{'content-type'}, 'text/vcard; charset=utf-8; version=4.0',
    'or a 4.0');
like(unfolded($r->{body}), qr{VERSION:4\.0\r\n.*^PHOTO[^\r]*:data:image/jpeg}sm,
    'with the photo too');
$r = $t->get("/c/$id.vcf?k=$few->{key}");
unlike($r->{body}, qr/^(?:PHOTO|SOUND|TEL)/m, 'no more than the key shows');
like($r->{body}, qr/^TITLE:Engineer/m, 'and no less');
$r = $t->get("/c/$other.vcf?k=$others->{key}");
unlike($r->{body}, qr/^PHOTO/m, 'without a photo');

# --- media -----------------------------------------------------------------

for my $who ('the edge', 'a worker') {
    my $get = sub {
        forget() if $who eq 'a worker';
        return $t->get("/c/$id/sound?k=$key->{key}", undef, { @_ });
    };
    $r = $get->();
    is("$r->{status} $r->{headers}{'content-type'}", '200 audio/wav',
        "$who: a sound");
    is($r->{body}, $wav, "$who: its bytes");
    is($r->{headers}{'cache-control'}, 'private, no-cache', "$who: private");
    is($r->{headers}{'referrer-policy'}, 'no-referrer', "$who: no referrer");
    $r = $get->(Range => 'bytes=10-19');
    is("$r->{status} $r->{headers}{'content-range'}",
        '206 bytes 10-19/' . length $wav, "$who: a range");
    is($r->{body}, substr($wav, 10, 10), "$who: its bytes");
    is($get->('If-None-Match' => $r->{headers}{etag})->{status}, 304,
        "$who: not modified");
}

# --- thumbnails ------------------------------------------------------------

my $thumb = $key->{thumbnail};
ok($t->wait_for(sub { $t->get($thumb)->{status} == 200 }), 'a thumbnail');
my $hit = $t->get($thumb);
is($hit->{headers}{'content-type'}, 'image/webp', 'WebP');
is($hit->{headers}{'cache-control'}, 'public, max-age=31536000, immutable',
    'for ever');
like($hit->{body}, qr/^RIFF....WEBP/s, 'indeed');
my ($thumb_id) = $thumb =~ m{/t/(.*)};
$t->redis('DEL', "cardx:thumb:$thumb_id");
is(seen($t->get($thumb)), seen($hit), 'the same from a worker');
is($t->redis('STRLEN', "cardx:thumb:$thumb_id"), length $hit->{body},
    'who tells the edge');
$t->redis('DEL', "cardx:thumb:$thumb_id");
is($t->get($thumb, undef, { 'If-None-Match' => $hit->{headers}{etag} })
    ->{status}, 304, 'not modified');

$t->signal('media', 'STOP');
my $now = draw(fields => ['phones']);
$r = $t->get($now->{thumbnail});
is($r->{status}, 200, 'one that nobody has drawn yet is drawn when asked for');
is($t->get($now->{thumbnail})->{body}, $r->{body}, 'once');
$t->signal('media', 'CONT');

my $dead_thumb = $deads->{thumbnail};
for my $case (['of a deleted card', $dead_thumb],
    ['with a wrong tag', '/t/' . ('A' x 28)], ['no id', '/t/x']) {
    my ($what, $link) = @$case;
    is(seen($t->get($link)), $none, "a thumbnail $what: refused");
    $t->redis('DEL', 'cardx:thumb:' . substr $link, 3);
    is(seen($t->get($link)), $none, "a thumbnail $what: by a worker too");
}

# --- Redis away ------------------------------------------------------------

$t->signal('redis', 'STOP');
is($t->get($key->{link})->{status}, 200, 'without Redis the card is had');
is($t->get("/c/$id/sound?k=$key->{key}")->{body}, $wav, 'and its media');
is($t->get($thumb)->{status}, 200, 'and its thumbnail');
is($t->get($revoked->{link})->{status}, 404, 'and refused who must be');
$t->thaw_redis;

# --- PostgreSQL's own defence ----------------------------------------------

for my $call ("card_fetch('', '')", "redirect_fetch('', true)",
    "medium_fetch('')", "medium_vcard('')", "media_chunk_range('', 0, 1)") {
    my $out = eval { $t->psql("set role cardx_fanout;
        select * from cardx.$call") };
    like($@, qr/permission denied/, "fanout has no business with $call");
}
eval { $t->psql('set role cardx_api; select * from cardx.card_keys') };
is($t->psql('set role cardx_api; select count(*) from cardx.cards'), 0,
    'the api sees no card by itself');

$t->finish;
done_testing;
