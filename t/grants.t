#!/usr/bin/perl
# Grants: who holds a card and which fields of it, taking it back, blocks: F5,
# and what is left out stays out everywhere (docs/grants.md).

use strict;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use CardxTest::Media;

my $t = CardxTest->new->start;
my %who = map { $_->[0] => $t->register($_->[1]) } ['anna', '+8613800004001'],
    ['bela', '+8613800004002'], ['carl', '+8613800004003'];
my ($anna, $bela, $carl) = map { { token => $who{$_}{access_token} } }
    qw(anna bela carl);
my $code = sub { $_[0]{json} && $_[0]{json}{code} || '' };
my $said = sub { "$_[0]{status} " . $code->($_[0]) };

my $id = $t->card($anna, name => { full => 'Anna Ito' },
    phones => { w => { number => '+4930111' }, h => { number => '+4930222' } },
    emails => { e => { address => 'anna@example.org' } });
$t->put("/v1/cards/$id/media/photo", jpeg(), { %$anna,
    'Content-Type' => 'image/jpeg' });
$t->patch('/v1/me', { nickname => 'Bel' }, $bela);
my $draw = sub {
    return $t->post("/v1/cards/$id/keys", { @_ }, $anna)->{json};
};
my $save = sub {
    my ($key, $by) = @_;
    return $t->post('/v1/contacts', { card_id => $id, key => $key->{key} },
        $by);
};

# --- fields ----------------------------------------------------------------

my $work = $draw->(fields => ['phones/w']);
my $mail = $draw->(fields => ['emails']);
my $r = $save->($work, $bela);
my $contact = "/v1/contacts/$r->{json}{contact_id}";
is(join(' ', sort keys %{ $r->{json}{live}{phones} }), 'w',
    'a grant shows the fields of its key');
ok(!$r->{json}{live}{emails}, 'and no other');
is_deeply($r->{json}{media}, {}, 'no photo either');
is($said->($t->get("$contact/media/photo", undef, $bela)), '404 not_found',
    'not by its address');
$r = $save->($mail, $bela);
ok($r->{json}{live}{emails} && $r->{json}{live}{phones}{w},
    'two grants show the union of both');
ok(!$r->{json}{live}{phones}{h}, 'and nothing besides');
$t->patch("/v1/cards/$id", { addresses => { a => { full => 'Street 1' } },
    phones => { m => { number => '+4930333' } } }, $anna);
$r = $t->get($contact, undef, $bela);
ok(!$r->{json}{live}{addresses} && !$r->{json}{live}{phones}{m},
    'what is added later is hidden');
$r = $t->get("$contact/history", undef, $bela);
unlike($r->{body}, qr/Street|30222|30333/, 'also in the history');
$r = $t->get('/v1/contacts', undef, $bela);
unlike($r->{body}, qr/Street|30222|30333/, 'and in the list');
is($t->get("/v1/contacts?q=street", undef, $bela)->{json}{items}[0], undef,
    'and can not be searched for');

for my $format ('vcard', 'json') {
    $r = $t->get("/v1/contacts/export?format=$format", undef, $bela);
    like($r->{body}, qr/30111/, "exported as $format");
    unlike($r->{body}, qr/Street|30222|30333/, 'without what is hidden');
}
unlike($t->get('/v1/me/export', undef, $bela)->{body},
    qr/Street|30222|30333/, 'in the account\'s export neither');

# a card of which a grant shows all, shows what is added later, too
$save->($draw->(), $carl);
$t->patch("/v1/cards/$id", { nicknames => { n => { name => 'Ann' } } }, $anna);
is($t->get('/v1/contacts', undef, $carl)->{json}{items}[0]{live}{nicknames}{n}
    {name}, 'Ann', 'without fields a grant shows all');

my $photo = $draw->(fields => ['photo']);
$save->($photo, $bela);
is($t->get("$contact/media/photo", undef, $bela)->{status}, 200,
    'another grant shows the photo');

# --- thumbnails of what is shown -------------------------------------------

# Once it is drawn.
my $drawn = sub {
    my $entry;
    $t->wait_for(sub { $entry = $t->get($contact, undef, $bela);
        $entry->{json}{thumbnail} }, 20);
    return $entry;
};
$r = $drawn->();
my $union = $r->{json}{thumbnail};
like($union // '', qr{^/t/}, 'a thumbnail of what the grants show');
is($t->get($union)->{headers}{'content-type'}, 'image/webp', 'is a picture')
    if $union;
isnt($union, $_->{thumbnail}, 'another one than that of each key')
    for $work, $mail, $photo;
is($t->patch($contact, { note => 'seen' }, { %$bela, 'If-Match' =>
    $r->{headers}{etag} =~ s/t"/"/r })->{status}, 200,
    'that it was drawn is no change that a writer must know of');
my $same = $draw->(fields => [qw(emails phones/w photo)]);
is($same->{thumbnail}, $union, 'a key that shows the same has the same');
is((grep { $_->{contact_id} eq $r->{json}{contact_id} }
    @{ $t->get('/v1/contacts', undef, $bela)->{json}{items} })[0]{thumbnail},
    $union, 'in the list too');
$t->patch("/v1/cards/$id", { name => { full => 'Anna Itō' } }, $anna);
$r = $drawn->();
isnt($r->{json}{thumbnail}, $union, 'another name, another picture');
ok($r->{json}{thumbnail}, 'which is drawn when it is looked at');

# --- who holds it ----------------------------------------------------------

my $all = $draw->();
$save->($all, $carl);
$r = $t->get("/v1/cards/$id/holders", undef, $anna);
is($r->{status}, 200, 'who holds the card') or diag($r->{body});
my %holder = map { $_->{user_id} => $_ } @{ $r->{json}{items} };
is(join(' ', sort keys %holder),
    join(' ', sort map { $who{$_}{user_id} } qw(bela carl)), 'the two');
my $is = $holder{ $who{bela}{user_id} };
is($is->{nickname}, 'Bel', 'the nickname');
like($is->{since}, qr/^\d{4}-\d\d-\d\dT/, 'since when');
is_deeply($is->{via}, ['key'], 'by which way');
$r = $t->get("/v1/cards/$id/holders?limit=1", undef, $anna)->{json};
is(scalar @{ $r->{items} }, 1, 'in pages');
is(scalar @{ $t->get("/v1/cards/$id/holders?limit=1&cursor=$r->{next}", undef,
    $anna)->{json}{items} }, 1, 'and the next');
is($said->($t->get("/v1/cards/$id/holders", undef, $bela)), '404 not_found',
    'a holder is not told who else is one');
$t->delete($contact, undef, $bela);
is(scalar @{ $t->get("/v1/cards/$id/holders", undef, $anna)->{json}{items} },
    1, 'who has deleted it does not hold it');
$t->post("$contact/restore", undef, $bela);
is(scalar @{ $t->get("/v1/cards/$id/holders", undef, $anna)->{json}{items} },
    2, 'until it is had back');

# --- a key's grants end with it --------------------------------------------

is($t->delete("/v1/cards/$id/keys/$photo->{key_id}?grants=true", undef, $anna)
    ->{status}, 204, 'a key is revoked with its grants');
is($said->($t->get("$contact/media/photo", undef, $bela)), '404 not_found',
    'what was saved with it is gone');
ok($t->get($contact, undef, $bela)->{json}{live}{emails},
    'what others show stays');
is($t->delete("/v1/cards/$id/keys/$mail->{key_id}", undef, $anna)->{status},
    204, 'a key is revoked without');
ok($t->get($contact, undef, $bela)->{json}{live}{emails},
    'what was saved with it stays');

# --- taking it back --------------------------------------------------------

$t->patch($contact, { own => { phones => { x => { number => '+4940' } } },
    note => 'nice' }, $bela);
my $log = $t->psql("select xid from cardx.user_log where kind = 'contact'
    and user_id = '$who{bela}{user_id}'");
is($t->delete("/v1/cards/$id/holders/$who{bela}{user_id}", undef, $anna)
    ->{status}, 204, 'taken back');
$r = $t->get($contact, undef, $bela)->{json};
ok(!exists $r->{live} && !exists $r->{owner} && !exists $r->{card_id},
    'live is gone from the holder\'s book at once');
is($r->{own}{phones}{x}{number}, '+4940', 'their own layer stays');
is($r->{note}, 'nice', 'the note too');
unlike($t->get("$contact/history", undef, $bela)->{body},
    qr/example\.org|30111/, 'what it showed is not in the history either');
isnt($t->psql("select xid from cardx.user_log where kind = 'contact'
    and user_id = '$who{bela}{user_id}'"), $log, 'the holder\'s log says so');
is($said->($save->($all, $bela)), '404 key_refused',
    'no key makes a grant again');
is($t->get($all->{link})->{status}, 200, 'though others can use it');
is(scalar @{ $t->get("/v1/cards/$id/holders", undef, $anna)->{json}{items} },
    1, 'one holder less');
is($t->delete("/v1/cards/$id/holders/$who{bela}{user_id}", undef, $anna)
    ->{status}, 204, 'again is no harm');
is($said->($t->delete("/v1/cards/$id/holders/$who{anna}{user_id}", undef,
    $anna)), '404 not_found', 'who never held it');
is($said->($t->delete("/v1/cards/$id/holders/$who{carl}{user_id}", undef,
    $bela)), '404 not_found', 'only the owner can');
$r = $t->get("/v1/cards/$id/blocks", undef, $anna)->{json}{items};
is($r->[0]{user_id}, $who{bela}{user_id}, 'the list of blocks');
is_deeply($t->get("/v1/cards/$id/blocks?cursor=$r->[0]{user_id}", undef,
    $anna)->{json}{items}, [], 'page by page');
is($said->($t->get("/v1/cards/$id/blocks?limit=0", undef, $anna)),
    '422 invalid_limit', 'of a size that is one');
is($said->($t->delete("/v1/cards/$id/blocks/$who{bela}{user_id}", undef,
    $bela)), '404 not_found', 'the blocked one can not lift it');
is($t->delete("/v1/cards/$id/blocks/$who{bela}{user_id}", undef, $anna)
    ->{status}, 204, 'lifted');
ok(!exists $t->get($contact, undef, $bela)->{json}{live},
    'which gives nothing back');
$r = $save->($all, $bela);
is($r->{status}, 200, 'until it is saved again');
is("/v1/contacts/$r->{json}{contact_id}", $contact, 'in the same contact');

# --- a block is of one card and one holder -----------------------------------

my $other = $t->card($anna, name => { full => 'Other' });
my $other_key = $t->key($anna, $other)->{key};
$t->delete("/v1/cards/$id/holders/$who{bela}{user_id}", undef, $anna);
$r = $t->post('/v1/contacts', { card_id => $other, key => $other_key }, $bela);
is($r->{status}, 201, 'another card of the same owner can be saved');
is($save->($all, $carl)->{status}, 200, 'and this one by others');

# 30 days after the holder has deleted it, the grants end
my $theirs = "select count(*) from cardx.grants where card_id = '$other'";
$t->delete("/v1/contacts/$r->{json}{contact_id}", undef, $bela);
is($t->psql($theirs), 1, 'the grant is there as long as it can be had back');
$t->psql("update cardx.contacts set deleted_at = now() - interval '31 days'
    where card_id = '$other'; select cardx.contact_sweep(10)");
is($t->psql($theirs), 0, 'after 30 days it ends');
$t->delete("/v1/cards/$other", undef, $anna);
$t->delete("/v1/cards/$id/blocks/$who{bela}{user_id}", undef, $anna);

# --- who may not see it hears nothing of it ---------------------------------

my $heard = sub {
    my ($who) = @_;
    return $t->psql("select xid from cardx.user_log where kind = 'contact'
        and user_id = '$who{$who}{user_id}'");
};
my $change = sub {
    $t->patch("/v1/cards/$id", { titles => { t => { name => $_[0] } } },
        $anna);
    ok($t->wait_for(sub { !$t->psql("select count(*) from cardx.outbox
        where effect = 'holders'") }, 20), 'the card changes');
};
my $was = $heard->('bela');
$save->($all, $bela);
isnt($heard->('bela'), $was, 'a grant that comes is told to the holder');
$was = $heard->('bela');
$save->($draw->(fields => ['titles']), $bela);
isnt($heard->('bela'), $was, 'one more, too');
my %before = map { $_ => $heard->($_) } qw(bela carl);
$change->('one');
isnt($heard->($_), $before{$_}, "$_, who holds it, is told")
    for qw(bela carl);
$t->delete("/v1/cards/$id/holders/$who{bela}{user_id}", undef, $anna);
%before = map { $_ => $heard->($_) } qw(bela carl);
$change->('two');
is($heard->('bela'), $before{bela}, 'from whom it was taken back, is not');
isnt($heard->('carl'), $before{carl}, 'others are');
$t->delete("/v1/cards/$id/blocks/$who{bela}{user_id}", undef, $anna);
$save->($all, $bela);

# --- at the same time ------------------------------------------------------

for my $round (1 .. 5) {
    my $key = $draw->();
    my @answers = $t->at_once(
        sub { $save->($key, $bela)->{status} },
        sub { $t->delete("/v1/cards/$id/keys/$key->{key_id}?grants=true",
            undef, $anna)->{status} });
    is($t->psql("select count(*) from cardx.grants
        where source = '$key->{key_id}'"), 0,
        "saved ($answers[0]) while it is revoked: no grant is left");
}
$t->delete("/v1/cards/$id/keys/$all->{key_id}?grants=true", undef, $anna);

# --- what was seen of a card that was taken back -----------------------------

{
    my @old = ('+49307770', '+49307771');
    my $anna_id = $t->post('/v1/cards', { name => { full => 'Anna Past' },
        phones => { w => { number => $old[0] } } }, $anna)->{json}{card_id};
    my $key = $t->post("/v1/cards/$anna_id/keys", {}, $anna)->{json}{key};
    my $once = { %$bela, 'Idempotency-Key' => 'once' };
    my @save = ('/v1/contacts', { card_id => $anna_id, key => $key }, $once);
    my $entry = '/v1/contacts/' . $t->post(@save)->{json}{contact_id};
    $t->patch("/v1/cards/$anna_id", { phones => { w => { number => $old[1] } } },
        $anna);
    $t->get($entry, undef, $bela);
    like($t->get("$entry/history", undef, $bela)->{body}, qr/\Q$old[0]/,
        'the history knows what the card has shown');
    like($t->post(@save)->{body}, qr/\Q$old[1]/,
        'a repeated call answers with what is there now');
    $t->delete("/v1/cards/$anna_id/holders/$who{bela}{user_id}", undef, $anna);
    $r = $t->post(@save);
    is($r->{status}, 201, 'repeated after the card was taken back');
    ok(!exists $r->{json}{live}, 'without it');

    # the entry goes on to follow another card
    my $carl_id = $t->post('/v1/cards', { name => { full => 'Carl' },
        phones => { w => { number => '+49308880' } } }, $carl)->{json}{card_id};
    my $other = $t->post('/v1/contacts', { card_id => $carl_id, key => $t->post(
        "/v1/cards/$carl_id/keys", {}, $carl)->{json}{key} }, $bela)->{json};
    is($t->post("$entry/merge", { with => $other->{contact_id} }, $bela)
        ->{json}{card_id}, $carl_id, 'merged with what follows another card');
    for my $path ("$entry/history", '/v1/me/export', $entry) {
        unlike($t->get($path, undef, $bela)->{body}, qr/\Q$old[0]\E|\Q$old[1]/,
            "nothing of the former one in $path");
    }
}

# --- the card is deleted ---------------------------------------------------

my $last = $draw->();
$save->($last, $bela);
ok($t->get($contact, undef, $bela)->{json}{live}, 'live');
$t->delete("/v1/cards/$id", undef, $anna);
$r = $t->get($contact, undef, $bela)->{json};
ok(!exists $r->{live} && $r->{note} eq 'nice',
    'a deleted card leaves the holder\'s layer');
is($said->($t->get("$contact/media/photo", undef, $bela)), '404 not_found',
    'and no photo');
is($said->($t->get("/v1/cards/$id/$_", undef, $anna)), '404 not_found', $_)
    for 'holders', 'blocks';

$t->finish;
done_testing;
