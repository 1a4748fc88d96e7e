#!/usr/bin/perl
# Keys, with which a card is fetched: A2, A3, A5.

use strict;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use Digest::SHA ();
use Time::HiRes qw(sleep time);

my $t = CardxTest->new->start;
my $anna = { token => $t->register('+8613800002001')->{access_token} };
my $bela = $t->register('+8613800002002');
my $code = sub { $_[0]{json} && $_[0]{json}{code} || '' };

my $card = { '@type' => 'Card', version => '1.0',
    name => { full => 'Anna Ito' }, titles => { t => { name => 'Engineer' } },
    phones => { w => { number => '+4930111' }, h => { number => '+4930222' } },
    emails => { e => { address => 'anna@example.org' } } };
my $id = $t->post('/v1/cards', $card, $anna)->{json}{card_id};
my $keys = "/v1/cards/$id/keys";
my $epoch = sub { $t->psql("select extract(epoch from '$_[0]'::timestamptz)") };

# --- drawing ---------------------------------------------------------------

my $r = $t->post($keys, {}, $anna);
is($r->{status}, 201, 'a key') or diag($r->{body});
my $drawn = $r->{json};
is(join(' ', sort keys %$drawn),
    'card_id drawn_at expires_at key key_id link qr_svg thumbnail url',
    'and what is told with it');
like($drawn->{key}, qr/^[A-Z2-7]{26}$/, 'base 32');
like($drawn->{key_id}, qr/^[\w-]{28}$/, 'its id');
is($drawn->{card_id}, $id, 'the card');
is($drawn->{link}, "/c/$id?k=$drawn->{key}", 'the link');
is($drawn->{url}, "/q/$drawn->{key}", 'the short address');
like($drawn->{qr_svg}, qr/<svg\b.*<\/svg>\s*$/s, 'as a QR code');
like($drawn->{thumbnail}, qr{^/t/[\w-]{28}$}, 'the thumbnail');
like($drawn->{$_}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, $_)
    for 'drawn_at', 'expires_at';
is($epoch->($drawn->{expires_at}) - $epoch->($drawn->{drawn_at}), 600,
    'ten minutes if nothing is said');
is($t->post($keys, undef, $anna)->{status}, 201, 'no body says nothing');
ok(abs($epoch->($drawn->{drawn_at}) - time) < 5, 'drawn now');

is($t->get($drawn->{link})->{status}, 200, 'the link opens the card (A5)');
is($t->get("/c/$id", undef, { key => lc $drawn->{key} })->{status}, 200,
    'so does the key in lower case');
is($t->get($drawn->{url})->{headers}{location}, $drawn->{link},
    'the short address leads there');
ok($t->wait_for(sub { $t->get($drawn->{thumbnail})->{status} == 200 }),
    'the thumbnail can be looked at first (A4)');

my $row = $t->psql("select encode(key_hash, 'hex') from cardx.card_keys
    where key_id = '$drawn->{key_id}'");
my $bits = join '', map { sprintf '%05b', index(
    'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', $_) } split //, $drawn->{key};
is($row, Digest::SHA::sha256_hex(pack 'B128', $bits),
    'only its SHA-256 is kept');
unlike($t->psql('select k::text from cardx.card_keys k'), qr/$drawn->{key}/,
    'the key is not');

# --- fields ----------------------------------------------------------------

$r = $t->post($keys, { ttl => 300, fields => [qw(phones/w titles)] }, $anna);
my $some = $r->{json};
$r = $t->get($some->{link});
is_deeply($r->{json}{phones}, { w => { number => '+4930111' } },
    'a key for one item');
ok($r->{json}{titles} && !$r->{json}{emails}, 'and for one property');
is($r->{json}{name}{full}, 'Anna Ito', 'the name is always there');
isnt($some->{thumbnail}, $drawn->{thumbnail}, 'with a thumbnail of its own');
my $same = $t->post($keys, { fields => [qw(titles phones/w titles name)] },
    $anna)->{json};
is($same->{thumbnail}, $some->{thumbnail}, 'one for the same fields');

is($t->post($keys, { fields => ['example.com:shoe', 'emails/not-yet'] },
    $anna)->{status}, 201, 'fields that the card may have some day');

for my $wrong ('x', [1], [{}], { a => 1 }, [''], ['phones//w'],
    ['titles', 'PHONES'], ['phones/*'], ['*'], ['Photo'], ['photo/x'],
    [('f') x 101]) {
    $r = $t->post($keys, { fields => $wrong }, $anna);
    is("$r->{status} " . $code->($r), '422 invalid_fields',
        'wrong fields ' . (ref $wrong || $wrong));
}
like($t->post($keys, { fields => ['PHONES'] }, $anna)->{json}{detail},
    qr/`PHONES` .* `phones`/, 'and how it would be right');
for my $wrong (0, -1, 31536001, '60', 1.5, 1e99, [], 18446744073709551616) {
    $r = $t->post($keys, { ttl => $wrong }, $anna);
    is("$r->{status} " . $code->($r), '422 invalid_ttl', "ttl $wrong");
}

# --- the list --------------------------------------------------------------

$r = $t->get($keys, undef, $anna);
is($r->{status}, 200, 'the list');
is(scalar @{ $r->{json}{items} }, 5, 'of five');
my $item = $r->{json}{items}[2];
is(join(' ', sort keys %$item),
    'drawn_at expires_at fields key_id scans thumbnail', 'what it tells');
is_deeply($item->{fields}, [qw(phones/w titles)], 'the fields');
is($r->{json}{items}[0]{fields}, undef, 'null: all');
is($item->{thumbnail}, $some->{thumbnail}, 'the thumbnail');
unlike($r->{body}, qr/$drawn->{key}|$some->{key}/, 'never a key');
my (@seen, $cursor);
do {
    $r = $t->get("$keys?limit=3" . ($cursor ? "&cursor=$cursor" : ''), undef,
        $anna);
    push @seen, map { $_->{key_id} } @{ $r->{json}{items} };
    $cursor = $r->{json}{next};
} while ($cursor);
is(scalar @seen, 5, 'in pages');
is($seen[0], $drawn->{key_id}, 'oldest first');
is($seen[2], $some->{key_id}, 'and so on');
is($t->get("$keys?limit=$_", undef, $anna)->{status}, 422, "limit $_")
    for 0, 101, 'x', '';
is($t->get("$keys?cursor=%27%20or%201", undef, $anna)->{status}, 422,
    'no cursor of ours');

# --- expiry ----------------------------------------------------------------

# not at the very end of a second: times are in whole seconds
sleep 0.05 while time - int time > 0.5;
my $short = $t->post($keys, { ttl => 1 }, $anna)->{json};
is($t->get($short->{link})->{status}, 200, 'a key for one second');
sleep 1.5;
$r = $t->get($short->{link});
is("$r->{status} " . $code->($r), '404 key_refused', 'and then no more');
is($t->get($short->{url})->{status}, 404, 'by no address');

# --- revocation ------------------------------------------------------------

my $late = 0;
for (1 .. 30) {
    my $key = $t->post($keys, { ttl => 300 }, $anna)->{json};
    $t->get($key->{link}) if $_ % 2;
    $r = $t->delete("$keys/$key->{key_id}", undef, $anna);
    $late++ if $r->{status} != 204 || $t->get($key->{link})->{status} != 404;
}
is($late, 0, 'thirty revoked: in force when it is answered');

$r = $t->delete("$keys/$some->{key_id}", undef, $bela = { token =>
    $bela->{access_token}, user_id => $bela->{user_id} });
is("$r->{status} " . $code->($r), '404 not_found', "another's key");
is($t->get($some->{link})->{status}, 200, 'is not revoked');
$r = $t->delete("$keys/$some->{key_id}", undef, $anna);
is($r->{status}, 204, 'revoked');
is($r->{body} // '', '', 'without a body');
is($t->delete("$keys/$some->{key_id}", undef, $anna)->{status}, 204,
    'revoked again');
is($t->get($some->{url})->{status}, 404, 'its short address leads nowhere');
is($t->get($same->{link})->{status}, 200, 'another key is not concerned');
($item) = grep { $_->{key_id} eq $some->{key_id} }
    @{ $t->get($keys, undef, $anna)->{json}{items} };
ok($item->{revoked_at}, 'the list tells when');

# A grant that was made with the key: it stays, unless it is to end as well.
my $grant = "insert into cardx.grants (card_id, holder_id, via, source,
    owner_id) select card_id, '$bela->{user_id}', 'key', '%s', user_id
    from cardx.cards where card_id = '$id'";
my $grants = 'select count(*) from cardx.grants';
$t->psql(sprintf $grant, $_->{key_id}) for $drawn, $same;
$t->delete("$keys/$same->{key_id}", undef, $anna);
is($t->psql($grants), 2, 'who has saved the card keeps it');
$t->delete("$keys/$same->{key_id}?grants=true", undef, $anna);
is($t->psql($grants), 1, 'but not with ?grants=true');
$r = $t->delete("$keys/$same->{key_id}?grants=yes", undef, $anna);
is("$r->{status} " . $code->($r), '422 invalid_grants', '?grants=yes');
is($t->delete("$keys/$id", undef, $anna)->{status}, 404, 'no id of a key');

# --- Redis away ------------------------------------------------------------

my $kept = $t->post($keys, {}, $anna)->{json};
$t->signal('redis', 'STOP');
my $began = time;
my $r201 = $t->post($keys, {}, $anna);
is($r201->{status}, 201, 'without Redis: a key');
is($t->get($r201->{json}{link})->{status}, 200, 'opens the card');
$r = $t->delete("$keys/$kept->{key_id}", undef, $anna);
is("$r->{status} " . $code->($r), '503 not_yet_in_force', 'a revocation');
ok($t->psql("select revoked_at is not null from cardx.card_keys
    where key_id = '$kept->{key_id}'") eq 't', 'is stored');
ok(time - $began < 5, 'nothing waits long');
$t->thaw_redis;
ok($t->wait_for(sub {
    $t->delete("$keys/$kept->{key_id}", undef, $anna)->{status} == 204 }),
    'repeated: in force');
is($t->get($kept->{link})->{status}, 404, 'at the edge');

# --- a thousand ------------------------------------------------------------

$t->psql("insert into cardx.card_keys (key_id, card_id, user_id, key_hash,
    view, expires_at) select 'k' || n, card_id, user_id,
    decode(lpad(to_hex(n), 64, '0'), 'hex'), '', now() + interval '1 hour'
    from cardx.cards, generate_series(1, 1000 - (select count(*)::integer
        from cardx.card_keys
        where revoked_at is null and expires_at > now())) n
    where card_id = '$id'");
$r = $t->post($keys, {}, $anna);
is("$r->{status} " . $code->($r), '409 too_many_keys', 'a thousand live keys');
$t->delete("$keys/$drawn->{key_id}", undef, $anna);
is($t->post($keys, {}, $anna)->{status}, 201, 'one less, and one more');

$t->finish;
done_testing;
