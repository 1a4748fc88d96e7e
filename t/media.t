#!/usr/bin/perl
# Pictures, sound and video of a card, and the owner's own thumbnail: A4, A6.

use strict;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use CardxTest::Media;

my $t = CardxTest->new->start;
my $anna = { token => $t->register('+8613800003001')->{access_token} };
my $code = sub { $_[0]{json} && $_[0]{json}{code} || '' };

my $id = $t->card($anna, name => { full => 'Anna Ito' });
my $path = "/v1/cards/$id";
my $key = $t->key($anna, $id)->{key};
my $hidden = $t->post("$path/keys", { fields => ['sound'] }, $anna)
    ->{json}{key};

sub send_medium {
    my ($kind, $type, $bytes, %more) = @_;
    return $t->put("$path/media/$kind", $bytes,
        { %$anna, 'Content-Type' => $type, %more });
}

sub fetch {
    my ($kind, %more) = @_;
    return $t->get("/c/$id/$kind", undef, { key => $key, %more });
}

# --- a photo ---------------------------------------------------------------

my $photo = phone_photo();
like($photo, qr/Telephone Works/, 'a photo as a phone takes it');
my $r = send_medium('photo', 'image/jpeg', $photo);
is($r->{status}, 201, 'is taken') or diag($r->{body});
is($r->{json}{revision}, 2, 'as a new revision');
my $entry = $r->{json}{media}{photo};
is($entry->{address}, "$path/media/photo", 'its address');
is($entry->{type}, 'image/jpeg', 'its type');
is($r->{headers}{etag}, '"2"', 'the ETag of the card');

$r = $t->get($entry->{address}, undef, $anna);
is($r->{status}, 200, 'the owner sees it');
is($r->{headers}{'content-type'}, 'image/jpeg', 'as what it is');
is(length $r->{body}, $entry->{bytes}, 'as long as was told');
is(join('x', size_of($r->{body})), '16x24', 'upright');
unlike($r->{body}, qr/Exif|Telephone|II\*\0/, 'without metadata');
is($r->{headers}{'x-content-type-options'}, 'nosniff', 'nosniff');
is($r->{headers}{'content-disposition'}, 'inline', 'inline');

my $seen = fetch('photo');
is($seen->{status}, 200, 'with the key as well (A6)');
is($seen->{body}, $r->{body}, 'the same bytes');
is($t->get("/c/$id/photo", undef, { key => $hidden })->{status}, 404,
    'not with a key that does not show it');
is($t->get("/c/$id/photo")->{status}, 404, 'nor without a key');

my $jpeg = $t->psql("select encode(vcard_jpeg, 'hex') from cardx.media");
like($jpeg, qr/^ffd8.*ffd9$/, 'a JPEG for vCards');
unlike(pack('H*', $jpeg), qr/Exif|Telephone/, 'without metadata too');

my $former = $r->{headers}{etag};
$r = send_medium('photo', 'image/png', png(20, 10));
is($r->{status}, 200, 'another photo takes its place') or diag($r->{body});
is($r->{json}{media}{photo}{type}, 'image/png', 'of another type');
$r = fetch('photo');
is(join('x', size_of($r->{body})), '20x10', 'in force at once');
isnt($r->{headers}{etag}, $former, 'with another ETag');

$r = send_medium('photo', 'image/png', png(4, 4), 'If-Match' => '"1"');
is("$r->{status} " . $code->($r), '412 version_conflict', 'If-Match');
$r = send_medium('logo', 'image/png', png(8, 8, 0, 0, 255));
is($r->{status}, 201, 'a logo');

# --- a sound, a video ------------------------------------------------------

my $wav = wav(4000);
$r = send_medium('sound', 'audio/x-wav', $wav);
is($r->{status}, 201, 'a sound') or diag($r->{body});
is($r->{json}{media}{sound}{type}, 'audio/wav', 'under its usual type');
is(fetch('sound')->{body}, $wav, 'byte for byte');
is($t->get("/c/$id/sound", undef, { key => $hidden })->{status}, 200,
    'with a key for it');

my $size = 2 * 524288 + 1000;
my $film = mp4($size);
$r = send_medium('video', 'video/mp4', $film);
is($r->{status}, 201, 'a video of several chunks') or diag($r->{body});
is($r->{json}{media}{video}{bytes}, $size, 'its length');
my $video = "$path/media/video";

for my $where (['the owner', sub {
        $t->get($video, undef, { %$anna, @_ }) }],
    ['the edge', sub { fetch('video', @_) }]) {
    my ($who, $get) = @$where;
    $r = $get->();
    ok($r->{status} == 200 && $r->{body} eq $film, "$who: whole");
    is($r->{headers}{'accept-ranges'}, 'bytes', "$who: takes ranges");
    my $tag = $r->{headers}{etag};

    for my $case (['0-0', 0, 0], ['0-99', 0, 99],
        ['524280-524300', 524280, 524300], ['1048000-', 1048000, $size - 1],
        ['-10', $size - 10, $size - 1], ['0-99999999', 0, $size - 1]) {
        my ($range, $first, $last) = @$case;
        $r = $get->(Range => "bytes=$range");
        is($r->{status}, 206, "$who: $range");
        is($r->{headers}{'content-range'}, "bytes $first-$last/$size",
            "$who: Content-Range");
        ok($r->{body} eq substr($film, $first, $last - $first + 1),
            "$who: those bytes");
    }
    is($get->(Range => "bytes=$size-", 'If-None-Match' => $tag)->{status},
        304, "$who: not modified, whatever the range");
    is($get->(Range => "bytes=$size-", 'If-Range' => '"x"')->{status}, 200,
        "$who: after the end of another");
    $r = $get->(Range => "bytes=$size-");
    is($r->{status}, 416, "$who: after the end");
    is($r->{headers}{'content-range'}, "bytes */$size", "$who: tells the size");
    is($get->(Range => 'bytes=0-9', 'If-Range' => $tag)->{status}, 206,
        "$who: If-Range of this medium");
    is($get->(Range => 'bytes=0-9', 'If-Range' => '"x"')->{status}, 200,
        "$who: If-Range of another");
    is($get->('If-None-Match' => $tag)->{status}, 304,
        "$who: not modified");

    # what is no range, and several, may be ignored (RFC 9110, 14.2)
    for my $range ('bytes=9-3', 'bytes=x-y', 'bytes=-', 'items=0-1', 'bytes=',
        'bytes=0-1,5-6', "bytes=$size-,0-1", 'bytes=0-1-2', 'bytes= 0-1',
        '0-1', '') {
        $r = $get->(Range => $range);
        ok($r->{status} == 200 && $r->{body} eq $film,
            "$who: no range: $range") or diag($r->{status});
    }
    is($get->(Range => "bytes=$_")->{status}, 416, "$who: nothing: $_")
        for '-0', '9' x 30 . '-';
    is($get->(Range => 'BYTES=0-' . '9' x 30)->{headers}{'content-range'},
        "bytes 0-" . ($size - 1) . "/$size", "$who: further than any number");
}
$r = $t->head($video, undef, $anna);
is("$r->{status} $r->{headers}{'content-length'}", "200 $size", 'HEAD');
for my $where ([$video, $anna], ["/c/$id/video", { key => $key }]) {
    $r = $t->head($where->[0], undef, { %{ $where->[1] },
        Range => 'bytes=0-9' });
    is("$r->{status} $r->{headers}{'content-length'}", "200 $size",
        "HEAD $where->[0]: no range is defined");
}

# --- refused ---------------------------------------------------------------

for my $case (
    ['photo', 'image/png', substr(png(50, 50), 0, 60), '422 invalid_picture'],
    ['photo', 'image/jpeg', 'no picture', '422 invalid_picture'],
    ['photo', 'image/gif', "GIF89a\1\0\1\0", '415 unsupported_type'],
    ['photo', 'image/svg+xml', '<svg/>', '415 unsupported_type'],
    ['photo', 'text/html', '<p>', '415 unsupported_type'],
    ['photo', 'image/png', '', '422 empty'],
    ['sound', 'audio/mpeg', $wav, '415 unsupported_type'],
    ['sound', 'video/mp4', mp4(100), '415 unsupported_type'],
    ['sound', 'audio/mpeg', 'I', '415 unsupported_type'],
    ['video', 'video/webm', mp4(100), '415 unsupported_type'],
    ['video', 'video/mp4', '<html>', '415 unsupported_type'],
    ['video', 'video/mp4', '', '422 empty'],
    ['sound', 'audio/wav', wav(5242880), '413 too_large'],
    ['video', 'video/mp4', mp4(20971521), '413 too_large'],
) {
    my ($kind, $type, $bytes, $expected) = @$case;
    $r = send_medium($kind, $type, $bytes);
    is("$r->{status} " . $code->($r), $expected,
        "$kind, $type, " . length($bytes) . ' bytes');
}
is(fetch('sound')->{body}, $wav, 'nothing took the place of what is there');
is($t->get("$path/media/smell", undef, $anna)->{status}, 404, 'no such kind');
$r = send_medium('video', 'video/mp4', mp4(20971520));
is($r->{status}, 200, 'a video of 20 MiB') or diag($r->{body});
$r = fetch('video', Range => 'bytes=20971500-');
ok($r->{body} eq substr(mp4(20971520), 20971500), 'to its end');

# --- gone ------------------------------------------------------------------

is($t->delete("$path/media/video", undef, $anna)->{status}, 204, 'deleted');
is(fetch('video')->{status}, 404, 'in force at once');
is($t->get($video, undef, $anna)->{status}, 404, 'for the owner too');
is($t->delete("$path/media/video", undef, $anna)->{status}, 204,
    'deleted again');
is($t->psql("select count(*) from cardx.media where kind = 'video'"), 0,
    'its bytes are erased');

$t->signal('redis', 'STOP');
$r = $t->delete("$path/media/sound", undef, $anna);
is("$r->{status} " . $code->($r), '503 not_yet_in_force', 'without Redis');
$t->thaw_redis;
ok($t->wait_for(sub {
    $t->delete("$path/media/sound", undef, $anna)->{status} == 204 }),
    'repeated: in force');
is(fetch('sound')->{status}, 404, 'at the edge');

# --- the owner's own thumbnail ---------------------------------------------

my $drawn = $t->wait_for(sub {
    $t->get($path, undef, $anna)->{json}{thumbnail} });
ok($drawn, 'a drawn thumbnail');
my $own = { %$anna, 'Content-Type' => 'image/png' };
$r = $t->put("$path/thumbnail", png(480, 270, 0, 200, 0), $own);
is($r->{status}, 200, "the owner's own") or diag($r->{body});
my $first = $r->{json}{thumbnail};
ok($first && $first ne $drawn, 'has another address, at once');
$r = $t->get($first);
is($r->{headers}{'content-type'}, 'image/webp', 'is WebP');
is($t->get($drawn)->{status}, 200, 'the drawn one can still be looked at');
is($t->post("$path/keys", {}, $anna)->{json}{thumbnail}, $first,
    'a key goes out with it');

my $some = $t->post("$path/keys", { fields => ['titles'] }, $anna)
    ->{json}{thumbnail};
ok($t->wait_for(sub { $t->get($some)->{status} == 200 }),
    'a key for some fields has a drawn one');

$r = $t->put("$path/thumbnail", png(100, 100), $own);
is($r->{status}, 200, 'another one');
is($t->get($first)->{status}, 404, 'the former is gone');
is($t->get($some)->{status}, 200, 'the one for some fields is not');
my $next = $r->{json}{thumbnail};
is($t->delete("$path/thumbnail", undef, $anna)->{status}, 204, 'deleted');
is($t->get($next)->{status}, 404, 'gone');
ok($t->wait_for(sub { $t->get($path, undef, $anna)->{json}{thumbnail} }),
    'one is drawn again');
is($t->delete("$path/thumbnail", undef, $anna)->{status}, 204,
    'deleted again');
$r = $t->put("$path/thumbnail", '<svg/>',
    { %$anna, 'Content-Type' => 'image/svg+xml' });
is("$r->{status} " . $code->($r), '415 unsupported_type', 'no picture type');
$r = $t->put("$path/thumbnail", 'x', $own);
is("$r->{status} " . $code->($r), '422 invalid_picture', 'no picture');

# --- together --------------------------------------------------------------

my $full = $t->put("$path/media/photo", CardxTest::Media::png(8, 8),
    { %$anna, 'Content-Type' => 'image/png' })->{status};
like($full, qr/^20[01]$/, 'while there is room');
$t->psql("update cardx.media set bytes = 1073741824 where kind = 'photo'");
for my $kind ('photo', 'logo') {
    $r = $t->put("$path/media/$kind", CardxTest::Media::png(8, 8),
        { %$anna, 'Content-Type' => 'image/png' });
    is("$r->{status} " . $code->($r), '413 too_large', "no room for a $kind");
}

# --- with the card ---------------------------------------------------------

is($t->delete($path, undef, $anna)->{status}, 204, 'the card is deleted');
is($t->psql('select (select count(*) from cardx.media)
    + (select count(*) from cardx.media_chunks)
    + (select count(*) from cardx.own_thumbnails)
    + (select count(*) from cardx.thumbnails)'), 0, 'and all its media');
is(fetch('photo')->{status}, 404, 'nothing to fetch');

$t->finish;
done_testing;
