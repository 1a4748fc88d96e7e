#!/usr/bin/perl
# Contacts, the holder's address book: A7, D7, E6, F4, F7 (docs/contacts.md).

use strict;
use utf8;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use CardxTest::Media;

binmode Test::More->builder->$_, ':utf8'
    for qw(output failure_output todo_output);

my $t = CardxTest->new->start;
my %who = (anna => $t->register('+8613800003001'),
    bela => $t->register('+8613800003002'));
my $anna = { token => $who{anna}{access_token} };
my $bela = { token => $who{bela}{access_token} };
my $code = sub { $_[0]{json} && $_[0]{json}{code} || '' };
my $said = sub { "$_[0]{status} " . $code->($_[0]) };

sub card { return { '@type' => 'Card', version => '1.0', @_ } }

my $card = card(name => { full => 'Anna Ito' },
    titles => { t => { name => 'Engineer' } },
    phones => { w => { number => '+49 30 111', contexts => { work => \1 } },
        h => { number => '+49 30 222', contexts => { private => \1 } } },
    emails => { e => { address => 'anna@example.org' } });
my $id = $t->post('/v1/cards', $card, $anna)->{json}{card_id};
my $draw = sub {
    return $t->post("/v1/cards/$id/keys", { @_ }, $anna)->{json};
};

# --- saving a card that a key opens (A7) -----------------------------------

my $some = $draw->(fields => [qw(titles phones/w)]);
my $r = $t->post('/v1/contacts', { card_id => $id, key => $some->{key},
    note => 'at the fair', tags => ['fair', 'optics'] }, $bela);
is($r->{status}, 201, 'saved with a key') or diag($r->{body});
my $saved = $r->{json};
my $contact = "/v1/contacts/$saved->{contact_id}";
is($r->{headers}{location}, $contact, 'under an id of its own');
ok($r->{headers}{etag}, 'with an ETag');
is(join(' ', sort keys %$saved), 'card card_id contact_id live media note own'
    . ' owner pinned revision tags thumbnail', 'the envelope');
is($saved->{card_id}, $id, 'the card');
is($saved->{owner}{user_id}, $who{anna}{user_id}, 'whose it is');
is($saved->{live}{name}{full}, 'Anna Ito', 'the live card');
is_deeply($saved->{live}{phones}, { w => $saved->{card}{phones}{w} },
    'with what the key shows');
ok(!$saved->{card}{emails}, 'and nothing else');
is($saved->{note}, 'at the fair', 'the note');
is_deeply($saved->{tags}, ['fair', 'optics'], 'the tags');
$t->delete("/v1/cards/$id/keys/$some->{key_id}", undef, $anna);
is($t->get($contact, undef, $bela)->{json}{card}{titles}{t}{name}, 'Engineer',
    'it is there again later, without the key');
is($said->($t->post('/v1/contacts', { card_id => $id, key => $some->{key} },
    $bela)), '404 key_refused', 'a key that was revoked saves nothing');
is($said->($t->post('/v1/contacts', { card_id => $id }, $bela)),
    '404 key_refused', 'neither does none');

my $all = $draw->();
$r = $t->post('/v1/contacts', { card_id => $id, key => $all->{key} }, $bela);
is($r->{status}, 200, 'saving again with another key');
is($r->{json}{contact_id}, $saved->{contact_id}, 'is the same contact');
is($r->{json}{card}{emails}{e}{address}, 'anna@example.org',
    'which shows the union of both');
is($r->{json}{note}, 'at the fair', 'and keeps its note');
unlike($_->{body}, qr/at the fair|optics/, 'which its owner does not see')
    for map { $t->get("/v1/cards/$id$_", undef, $anna) } '', '/holders';
isnt($r->{json}{card}{uid}, $r->{json}{live}{uid}, 'the uid is the holder\'s');
is($r->{json}{card}{uid}, $r->{json}{own}{uid}, 'own uid');
is_deeply($r->{json}{pinned}, [], 'saving pins nothing');
is($said->($t->get($contact, undef, $anna)), '404 not_found',
    'the owner of the card does not see the contact');
is($said->($t->post('/v1/contacts', { card_id => $id, key => $all->{key} },
    $anna)), '404 key_refused', 'nobody holds a card of their own');

# --- the owner changes the card --------------------------------------------

my $etag = $t->get($contact, undef, $bela)->{headers}{etag};
is($t->get($contact, undef, { %$bela, 'If-None-Match' => $etag })->{status},
    304, 'nothing new');
$t->patch("/v1/cards/$id", { titles => { t => { name => 'Director' } } },
    $anna);
$r = $t->get($contact, undef, { %$bela, 'If-None-Match' => $etag });
is($r->{status}, 200, 'the owner changes the card');
is($r->{json}{card}{titles}{t}{name}, 'Director', 'and the contact shows it');

# --- an entry of one's own -------------------------------------------------

$r = $t->post('/v1/contacts', { own => card(name => { full => 'Carl Öz' },
    phones => { p => { number => '+49 40 333' } }), note => 'plumber' },
    $bela);
is($r->{status}, 201, 'an entry without a card') or diag($r->{body});
my $own = "/v1/contacts/$r->{json}{contact_id}";
ok(!exists $r->{json}{live} && !exists $r->{json}{owner}, 'has nothing live');
is_deeply($r->{json}{card}, $r->{json}{own}, 'it is shown as it is');
like($r->{json}{own}{uid}, qr/^urn:uuid:/, 'with a uid');
for my $wrong ({}, { own => card(), card_id => $id }, { own => 'x' },
    { own => { '@type' => 'Group' } }, { own => card(), tags => 'x' },
    { own => card(), note => 5 }, { own => card(), tags => ['a', 'a'] },
    { own => card(), pinned => [''] }, { own => card(), note => 'x' x 8193 })
{
    is($t->post('/v1/contacts', $wrong, $bela)->{status}, 422,
        'refused: ' . substr JSON::PP->new->canonical->encode($wrong), 0, 60);
}
$r = $t->post('/v1/contacts', { own => card(notes => { map {
    +"n$_" => { note => 'x' x 8000 } } 1 .. 9 }) }, $bela);
is($said->($r), '413 too_large', 'an entry that is too large');

# --- editing ---------------------------------------------------------------

$etag = $t->get($own, undef, $bela)->{headers}{etag};
$r = $t->patch($own, { own => { phones => { p => { number =>
    '+49 40 444' } } }, tags => ['house'] }, { %$bela, 'If-Match' => $etag });
is($r->{status}, 200, 'edited') or diag($r->{body});
is_deeply($r->{json}{pinned}, ['phones/p'],
    'editing a field by hand pins it');
isnt($r->{headers}{etag}, $etag, 'another ETag');
is_deeply($t->patch($own, { own => { phones => { p => { number =>
    '+49 40 445' } } }, pinned => [] }, $bela)->{json}{pinned}, [],
    'unless the same call says what is pinned');
is_deeply($t->patch($own, { own => { nicknames => { n => { name => 'Ö' } } } },
    $bela)->{json}{pinned}, ['nicknames/n'], 'what is new is pinned');
is_deeply($t->patch($own, { own => { nicknames => undef } }, $bela)
    ->{json}{pinned}, [], 'taking it out unpins it');
$r = $t->patch($own, { own => { phones => { p => { number =>
    '+49 40 444' } } } }, $bela);
is($said->($t->patch($own, { note => 'x' }, { %$bela, 'If-Match' => $etag })),
    '412 version_conflict', 'who has not seen it is told');
is($t->patch($own, { note => undef }, $bela)->{json}{note}, undef,
    'null takes the note away');
is($said->($t->patch($own, { card => {} }, $bela)), '422 invalid_contact',
    'what is merged is not written');
is($said->($t->patch($own, { own => { phones => 5 } }, $bela)),
    '422 invalid_own', 'it stays a Card');
is($t->get($own, undef, $bela)->{json}{own}{phones}{p}{number}, '+49 40 444',
    'what is refused changes nothing');

$r = $t->patch($contact, { own => { titles => { t => { name =>
    'The boss' } } } }, $bela);
is($r->{json}{card}{titles}{t}{name}, 'The boss',
    'what is edited on a live card is shown');
is($r->{json}{live}{titles}{t}{name}, 'Director', 'beside what is live');
$t->patch("/v1/cards/$id", { titles => { t => { name => 'President' } } },
    $anna);
is($t->get($contact, undef, $bela)->{json}{card}{titles}{t}{name}, 'The boss',
    'and stays when the owner changes it');
$r = $t->patch($contact, { pinned => [] }, $bela);
is($r->{json}{card}{titles}{t}{name}, 'President',
    'until it is no longer pinned');
is($r->{json}{own}{titles}{t}{name}, 'The boss', 'what was typed is there');

# --- the list --------------------------------------------------------------

$r = $t->get('/v1/contacts', undef, $bela);
is(scalar @{ $r->{json}{items} }, 2, 'the list');
is($r->{json}{items}[0]{contact_id}, $saved->{contact_id}, 'oldest first');
my $found = sub {
    my $list = $t->get("/v1/contacts?$_[0]", undef, $bela);
    return join ' ', map { $_->{card}{name}{full} }
        @{ $list->{json}{items} };
};
is($found->('q=ITO'), 'Anna Ito', 'found by name, in either case');
is($found->('q=%C3%B6z'), 'Carl Öz', 'other alphabets too');
is($found->('q=fair'), 'Anna Ito', 'by the note');
is($found->('q=anna+president'), 'Anna Ito', 'every word is to be there');
is($found->('q=anna+plumber'), '', 'every one');
is($found->('q=4940444'), 'Carl Öz', 'by the digits of a number');
is($found->('q=Director'), '', 'not by what is no longer shown');
is($found->('q=optic'), 'Anna Ito', 'by a tag, too');
is($found->('tag=Optics'), 'Anna Ito', 'by a tag');
is($found->('tag=opt'), '', 'which is not a part of one');
is($found->('tag=house&q=ito'), '', 'by both');
$r = $t->get('/v1/contacts?limit=1', undef, $bela)->{json};
is(scalar @{ $r->{items} }, 1, 'in pages');
$r = $t->get("/v1/contacts?limit=1&cursor=$r->{next}", undef, $bela)->{json};
is($r->{items}[0]{card}{name}{full}, 'Carl Öz', 'the next one');
ok(!exists $r->{next}, 'which is the last');
is($t->get("/v1/contacts?$_", undef, $bela)->{status}, 422, "wrong: $_")
    for 'q=', 'deleted=x', 'limit=0', 'tag=' . 'x' x 201;
is(scalar @{ $t->get('/v1/contacts', undef, $anna)->{json}{items} }, 0,
    'another user has a book of their own');

# --- history ---------------------------------------------------------------

$r = $t->get("$contact/history", undef, $bela);
is($r->{status}, 200, 'the history') or diag($r->{body});
my @items = @{ $r->{json}{items} };
is($items[-1]{what}, 'saved', 'begins with the saving');
my ($live) = grep { $_->{what} eq 'live'
    && $_->{changes}[0]{path} eq 'titles/t' } reverse @items;
is($live->{changes}[0]{old}{name}, 'Engineer', 'what the owner replaced');
is($live->{changes}[0]{new}{name}, 'Director', 'by what');
like($live->{at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'when');
$t->patch("/v1/cards/$id", { titles => { t => { name => $_ } } }, $anna)
    for 'Once', 'Twice', 'President';
is($t->get("$contact/history", undef, $bela)->{json}{items}[0]{changes}[0]
    {path} // '', $items[0]{changes}[0]{path} // '',
    'what is as it was at the last look is no change');
$t->patch("/v1/cards/$id", { titles => { t => { name => $_ } } }, $anna)
    for 'Once', 'Twice';
my $twice = $t->get("$contact/history", undef, $bela)->{json}{items};
is(scalar @$twice, @items + 1, 'two changes between two looks are one');
is("$twice->[0]{changes}[0]{old}{name} $twice->[0]{changes}[0]{new}{name}",
    'President Twice', 'from the first to the last');
$t->patch("/v1/cards/$id", { titles => { t => { name => 'President' } } },
    $anna);
$t->patch($contact, { note => 'at the fair ' }, $bela);
$t->patch($contact, { note => 'at the fair' }, $bela);
ok((grep { $_->{what} eq 'live' && $_->{changes}[0]{old}
    && ($_->{changes}[0]{old}{name} // '') eq 'Twice' }
    @{ $t->get("$contact/history", undef, $bela)->{json}{items} }),
    'it is noted when the holder writes, too');
ok((grep { $_->{what} eq 'edited' && grep { $_->{path} eq 'titles/t'
    && $_->{new}{name} eq 'The boss' } @{ $_->{changes} } } @items),
    'what was edited');
$r = $t->get("$contact/history?limit=1", undef, $bela)->{json};
is($t->get("$contact/history?limit=1&cursor=$r->{next}", undef, $bela)
    ->{json}{items}[0]{what}, $items[1]{what}, 'in pages');
is($said->($t->get("$contact/history", undef, $anna)), '404 not_found',
    'nobody else reads it');

# --- media -----------------------------------------------------------------

$t->put("/v1/cards/$id/media/photo", jpeg(), { %$anna,
    'Content-Type' => 'image/jpeg' });
$r = $t->get($contact, undef, $bela)->{json}{media}{photo};
is($r->{address}, "$contact/media/photo", 'the photo of the live card');
$r = $t->get($r->{address}, undef, $bela);
is($r->{headers}{'content-type'}, 'image/jpeg', 'no key is needed')
    or diag($r->{body});
my $theirs = $r->{body};
is($said->($t->get("$contact/media/photo", undef, $anna)), '404 not_found',
    'not for others');
$r = $t->put("$contact/media/photo", png(8, 8), { %$bela,
    'Content-Type' => 'image/png' });
is($r->{status}, 201, 'a photo of one\'s own') or diag($r->{body});
$r = $t->get("$contact/media/photo", undef, $bela);
is($r->{headers}{'content-type'}, 'image/png', 'is shown instead');
is($t->get("$contact/media/photo", undef, { %$bela, 'If-None-Match' =>
    $r->{headers}{etag} })->{status}, 304, 'with an ETag');
unlike($t->psql('select sealed from cardx.contact_media'), qr/89504e47/,
    'which PostgreSQL does not see');
is($t->put("$contact/media/photo", png(8, 8), { %$bela,
    'Content-Type' => 'image/png' })->{status}, 200, 'another one');
is($said->($t->put("$contact/media/photo", 'x', { %$bela,
    'Content-Type' => 'image/png' })), '422 invalid_picture', 'no picture');
is($said->($t->put("$contact/media/photo", png(8, 8), { %$bela,
    'Content-Type' => 'text/plain' })), '415 unsupported_type', 'no type');
is($t->delete("$contact/media/photo", undef, $bela)->{status}, 204,
    'taken away');
is($t->get("$contact/media/photo", undef, $bela)->{body}, $theirs,
    'the card\'s shows again');
is($said->($t->get("$contact/media/video", undef, $bela)), '404 not_found',
    'no video');

# --- merging ---------------------------------------------------------------

my $twin = $t->post('/v1/contacts', { own => card(
    name => { full => 'Anna (fair)' },
    phones => { p => { number => '+49 30 999' },
        q => { number => '(030) 111', contexts => { work => \1 } } }),
    note => 'tall', tags => ['fair', 'tall'] }, $bela)->{json};
my $before = $t->get($contact, undef, $bela)->{json};
$r = $t->post("$contact/merge", { with => $twin->{contact_id} }, $bela);
is($r->{status}, 200, 'two entries of one person') or diag($r->{body});
is($r->{json}{note}, "at the fair\ntall", 'both notes');
is_deeply($r->{json}{tags}, [qw(fair optics tall)], 'all tags');
ok((grep { $_->{number} eq '+49 30 999' }
    values %{ $r->{json}{own}{phones} }), 'the other one\'s number');
is($said->($t->get("/v1/contacts/$twin->{contact_id}", undef, $bela)),
    '404 not_found', 'the other one is gone');
is($said->($t->post("$contact/merge", { with => $_ }, $bela)),
    '422 invalid_with', 'with: ' . ($_ // 'nothing'))
    for undef, 'x', $saved->{contact_id};
$r = $t->post("$contact/restore", undef, $bela);
is($r->{status}, 200, 'taken apart again') or diag($r->{body});
is_deeply([ @{ $r->{json} }{qw(own note tags pinned)} ],
    [ @$before{qw(own note tags pinned)} ], 'it is what it was');
is($t->get("/v1/contacts/$twin->{contact_id}", undef, $bela)
    ->{json}{own}{name}{full}, 'Anna (fair)', 'so is the other');
is($said->($t->post("$contact/restore", undef, $bela)),
    '409 nothing_to_restore', 'once');

# the card goes along with the one that follows it
$r = $t->post("/v1/contacts/$twin->{contact_id}/merge",
    { with => $saved->{contact_id} }, $bela);
is($r->{json}{card_id}, $id, 'the live card goes along') or diag($r->{body});
$r = $t->post("/v1/contacts/$twin->{contact_id}/restore", undef, $bela);
ok(!exists $r->{json}{card_id}, 'and back');
is($t->get($contact, undef, $bela)->{json}{card_id}, $id, 'where it was');

# --- deleting --------------------------------------------------------------

is($t->delete($own, undef, $bela)->{status}, 204, 'deleted');
is($t->delete($own, undef, $bela)->{status}, 204, 'again is no harm');
is($said->($t->get($own, undef, $bela)), '404 not_found', 'gone');
is($found->('q=plumber'), '', 'from the list too');
$r = $t->get('/v1/contacts?deleted=true', undef, $bela)->{json};
is(scalar @{ $r->{items} }, 1, 'the list of those deleted');
ok($r->{items}[0]{deleted_at}, 'and when');
is($t->post("$own/restore", undef, $bela)->{status}, 200, 'had back');
is($t->get($own, undef, $bela)->{json}{own}{phones}{p}{number}, '+49 40 444',
    'as it was');
$t->delete($own, undef, $bela);
$t->psql("update cardx.contacts set deleted_at = now() - interval '31 days'
    where deleted_at is not null");
is($said->($t->post("$own/restore", undef, $bela)), '409 nothing_to_restore',
    'for 30 days');
is($t->psql('select cardx.contact_sweep(10)'), 1, 'then it is erased');
is($said->($t->post("$own/restore", undef, $bela)), '404 not_found',
    'for good');

# the owner does not see who has deleted it, who in turn does not see the card
my $gone = $t->post("/v1/contacts/$twin->{contact_id}/merge", { with =>
    $t->post('/v1/contacts', { own => card(name => { full => 'Long' }),
        note => 'x' x 5000 }, $bela)->{json}{contact_id} }, $bela);
is($said->($gone), '200 ', 'notes that fit into one are joined');
is($said->($t->post("/v1/contacts/$twin->{contact_id}/merge", { with =>
    $t->post('/v1/contacts', { own => card(name => { full => 'Longer' }),
        note => 'y' x 5000 }, $bela)->{json}{contact_id} }, $bela)),
    '409 too_much_together', 'others are not');
is($t->patch("/v1/contacts/$twin->{contact_id}", { tags => ['t'] }, $bela)
    ->{status}, 200, 'and the entry stays one that can be written');

$t->delete($contact, undef, $bela);
$r = $t->get('/v1/contacts?deleted=true', undef, $bela);
my ($deleted) = grep { "/v1/contacts/$_->{contact_id}" eq $contact }
    @{ $r->{json}{items} };
ok($deleted, 'a card in the list of those deleted');
is_deeply([grep { exists $deleted->{$_} } qw(live owner card_id)], [],
    'is not shown: its owner does not see the holder');
$r = $t->post('/v1/contacts', { card_id => $id, key => $all->{key} }, $bela);
is($r->{status}, 200, 'a card that is saved after it was deleted');
is($r->{json}{note}, 'at the fair', 'brings its note back');

# --- what is no good -------------------------------------------------------

is($said->($t->get("/v1/contacts?cursor=$_", undef, $bela)),
    '422 invalid_cursor', "no cursor of this list: $_") for 'x', $id;
is($said->($t->get("/v1/cards?cursor=x", undef, $bela)), '422 invalid_cursor',
    'nor of that one');
is($said->($t->post('/v1/contacts', { own => card(), nickname => 'x' },
    $bela)), '422 invalid_contact', 'a member that is none');
is($said->($t->post('/v1/contacts', { own => card() }, { %$bela, @$_ })),
    '415 unsupported_type', join ': ', @$_)
    for ['Content-Encoding', 'gzip'],
        ['Content-Type', 'application/json; charset=utf-16'];
is($t->post('/v1/contacts', { own => card() }, { %$bela,
    'Content-Type' => 'application/json; charset="UTF-8"' })->{status}, 201,
    'that it is UTF-8 may be said');

# --- at rest ---------------------------------------------------------------

my $dump = join "\n", map { $t->psql("set bytea_output = 'escape';
    select x::text from cardx.$_ x") } qw(contacts contact_history
    contact_media match_entries);
like($dump, qr/$saved->{contact_id}/, 'what is stored');
unlike($dump, qr/fair|optics|The boss|Anna|plumber|\bC?arl|4940444/,
    'nothing of it is in clear');
ok($t->psql("select encode(layer, 'escape') from cardx.contacts limit 1")
    !~ /fair|name/, 'the layer is sealed');

# a number without country is of the country of the holder's own number
my $german = { token => $t->register('+493012345678')->{access_token} };
$id = $t->post('/v1/cards', card(name => { full => 'Dora' },
    phones => { p => { number => '+49 30 555 0100' } }), $anna)
    ->{json}{card_id};
my $key = $draw->()->{key};
for my $who (['equal: the spelling stays', $german, '030 5550100'],
    ['another number in another country', $bela, '+49 30 555 0100']) {
    my ($name, $by, $shown) = @$who;
    my $entry = $t->post('/v1/contacts', { card_id => $id, key => $key }, $by)
        ->{json}{contact_id};
    $r = $t->patch("/v1/contacts/$entry", { own => { phones => { o => {
        number => '030 5550100' } } }, pinned => [] }, $by);
    is_deeply([map { $_->{number} } values %{ $r->{json}{card}{phones} }],
        [$shown], $name) or diag($r->{body});
}

# an empty collection of the entry that stays hides nothing of the other
my ($empty, $full) = map { $t->post('/v1/contacts', { own => card(
    name => { full => "Merged $_->[0]" }, phones => $_->[1]) }, $bela)
    ->{json}{contact_id} } ['one', {}],
    ['two', { p => { number => '+4689990001' } }];
$r = $t->post("/v1/contacts/$empty/merge", { with => $full }, $bela);
is($r->{status}, 200, 'merged into one with an empty collection');
is_deeply([map { $_->{number} } values %{ $r->{json}{own}{phones} }],
    ['+4689990001'], 'nothing is lost');
is($r->{json}{own}{name}{full}, 'Merged one',
    'of what there is one of, it is the first one\'s');

# what was edited after they were joined is not in either, but in the history
$t->patch("/v1/contacts/$empty", { note => 'edited since' }, $bela);
$r = $t->post("/v1/contacts/$empty/restore", undef, $bela);
is($r->{json}{note}, undef, 'taken apart they are as they were');
like($t->get("/v1/contacts/$empty/history", undef, $bela)->{body},
    qr/edited since/, 'what was edited since stands in the history');

# --- the history is bounded ---------------------------------------------------

my ($lively, $other) = map { $t->post('/v1/contacts', { own => card(
    name => { full => $_ }) }, $bela)->{json}{contact_id} } qw(Lively Twin);
$t->post("/v1/contacts/$lively/merge", { with => $other }, $bela);
my $lines = sub {
    my @items;
    for (my $page = ''; defined $page; ) {
        my $r = $t->get("/v1/contacts/$lively/history$page", undef, $bela)
            ->{json};
        push @items, @{ $r->{items} };
        $page = $r->{next} && "?cursor=$r->{next}";
    }
    return @items;
};
$t->psql("insert into cardx.contact_history (contact_id, user_id, what)
    select '$lively', '$who{bela}{user_id}', 'edited'
    from generate_series(1, 498)");
is(join(' ', map { $_->{what} } ($lines->())[ -2, -1 ]), 'merged added',
    'of 500 changes all are in the history');
$t->patch("/v1/contacts/$lively", { note => "edit $_" }, $bela) for 1, 2;
my @left = $lines->();
is(scalar @left, 501, 'of more the oldest goes');
is($left[-1]{what}, 'merged', 'but no merge that may be undone');
is($left[0]{changes}[0]{new}, 'edit 2', 'what is new is there');
is($t->post("/v1/contacts/$lively/restore", undef, $bela)->{status}, 200,
    'and it is undone');
$t->psql("insert into cardx.contact_history (contact_id, user_id, what)
    select '$lively', '$who{bela}{user_id}',
        case when n % 2 = 0 then 'merged' else 'unmerged' end
    from generate_series(1, 600) n");
is(scalar($lines->()), 500, 'merges are bounded, too');

$t->finish;
done_testing;
