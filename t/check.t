#!/usr/bin/perl
# `cardx-fanout SETTINGS check`: the projection is compared with PostgreSQL;
# what is broken by hand is told, one by one.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use MIME::Base64 qw(decode_base64);
use Test::More;

use CardxTest;

my $t = CardxTest->new->start;
my $fanout = "$t->{build}/cardx-fanout";
my @as = $> == 0 ? ('setpriv', '--reuid=www-data', '--regid=www-data',
    '--init-groups') : ();
$fanout = "$t->{var}/bin/cardx-fanout" if -x "$t->{var}/bin/cardx-fanout";

sub check {
    my $output = CardxTest::capture(@as, $fanout, "$t->{var}/conf/cardx.conf",
        'check');
    return ($? >> 8, $output);
}

sub card {
    my ($name, $token) = @_;
    return $t->card({ token => $token }, name => { full => $name },
        phones => { work => { number => '+46 8 123 456 78' } },
        emails => { work => { address => 'work\@example.org' } });
}

sub key {
    my ($card, $token, @fields) = @_;
    return $t->key({ token => $token }, $card, @fields);
}

my $anna = $t->register('+8613800000001');
my $token = $anna->{access_token};
my $bo = $t->register('+8613800000002');
my $second = $t->sign_in($bo->{phone}, $bo->{initial_password});
my ($mine, $longer) = map { $t->sign_in($anna->{phone},
    $anna->{initial_password}) } 1 .. 2;

# A card to be broken, with what Redis calls its parts.
sub fresh {
    my ($name) = @_;
    my $card = card($name, $token);
    my ($key, $some) = (key($card, $token),
        key($card, $token, fields => ['phones']));
    my ($thumbnail) = $key->{thumbnail} =~ m{([^/]+)$};
    return { id => $card, name => "cardx:card:{$card}",
        thumbnail => "cardx:thumb:$thumbnail", key => $key,
        field => 'k:' . CardxTest::hash_name($key->{key}),
        some => 'k:' . CardxTest::hash_name($some->{key}),
        redirect => 'cardx:q:' . CardxTest::hash_name($key->{key}) };
}

my @fresh = map { fresh("Card $_") } 1 .. 20;
my $card = $fresh[0]{id};
my $gone = key($card, $token);
my $deleted = card('Deleted', $token);
my $opens_nothing = key($deleted, $token);

is($t->delete("/v1/cards/$card/keys/$gone->{key_id}", undef,
    { token => $token })->{status}, 204, 'a key is revoked');
is($t->delete("/v1/cards/$deleted", undef, { token => $token })->{status},
    204, 'a card is deleted');
is($t->delete("/v1/me/terminals/$second->{terminal_id}", undef,
    { token => $bo->{access_token} })->{status}, 204,
    'a terminal is signed out');
$t->outbox_empty(30);

my ($code, $output) = check();
is($code, 0, 'equal') or diag($output);
like($output, qr/cards 2\d redirects [1-9]\d* tokens [1-9]\d* terminals 1 /,
    'all kinds were looked at');
like($output, qr/0 wrong, 0 missing/, 'nothing is wrong or missing');

# The name of a bearer token in Redis: the tag behind its user id, and the
# first half of its hash.
sub token_name {
    my ($account) = @_;
    my $hash = substr sha256_hex(decode_base64(
        $account->{access_token} =~ tr{-_}{+/}r)), 0, 32;
    my ($name) = grep { /\Q$hash\E$/ } @{ $t->redis('KEYS', 'cardx:token:*') };
    return $name // die "no token in Redis: $hash";
}

# Not the marks: who misses the epoch builds everything again.
sub names {
    return grep { /^cardx:(?:card|q|token|terminal|thumb):/ }
        @{ $t->redis('KEYS', '*') };
}

my %kept = map { $_ => $t->redis('DUMP', $_) } names();
my $later = time + 600;
my $revoked = 'k:' . CardxTest::hash_name($gone->{key});
my $wide = $t->redis('HGET', $fresh[1]{name}, 'b:');
my ($view) = grep { /^b:./ } @{ $t->redis('HKEYS', $fresh[1]{name}) };
my ($mark) = @{ $t->redis('KEYS', 'cardx:terminal:*') };

# Each breaks one thing in Redis; what tells it.  No two touch the same name.
my @wrong = (
    ['a revoked key that opens', qr/\Q$revoked\E opens, and is revoked/,
        ['HSET', $fresh[0]{name}, $revoked, "$later "]],
    ['a view that shows more', qr/\Q$view\E differs/,
        ['HSET', $fresh[1]{name}, $view, $wide]],
    ['a body of another time', qr/b: differs/,
        ['HSET', $fresh[2]{name}, 'b:', '{"name":{"full":"Nobody"}}']],
    ['another revision', qr/has revision 7/, ['HSET', $fresh[3]{name}, 'v', 7]],
    ['a denial of what is there', qr/is denied/,
        ['HSET', $fresh[4]{name}, 'v', 'x']],
    ['a key that nobody drew', qr/opens, and is no key/,
        ['HSET', $fresh[5]{name}, 'k:' . 'a' x 32, "$later "]],
    ['a key that is refused', qr/\Q$fresh[6]{field}\E is refused/,
        ['HSET', $fresh[6]{name}, $fresh[6]{field}, "x$later"]],
    ['a key that opens another view', qr/\Q$fresh[7]{some}\E differs/,
        ['HSET', $fresh[7]{name}, $fresh[7]{some}, "$later "]],
    ['a medium that is none', qr/m::photo must not be/,
        ['HSET', $fresh[8]{name}, 'm::photo', 'A' x 28 . ' 10 image/png']],
    ['a deleted card that opens', qr/opens, and is deleted/,
        ['DEL', "cardx:card:{$deleted}"],
        ['HSET', "cardx:card:{$deleted}", 'v', 1, 'k:' . CardxTest::hash_name(
            $opens_nothing->{key}), "$later "]],
    ['a redirect to another card', qr/\Q$fresh[9]{redirect}\E: differs/,
        ['SET', $fresh[9]{redirect}, "$later $card"]],
    ['a redirect of a revoked key', qr/leads on, and is not good/,
        ['SET', 'cardx:q:' . CardxTest::hash_name($gone->{key}),
            "$later $card"]],
    ['a redirect that is refused', qr/is refused, and is good/,
        ['SET', $fresh[10]{redirect}, 'x']],
    ['a token that is nobody\'s', qr/\}:b{32}: lets in, and is not good/,
        ['SET', "cardx:token:{$anna->{user_id}}:" . 'b' x 32, $later]],
    ['a token that lasts longer', qr/cardx:token:\S+: differs/,
        ['SET', token_name($longer), $later + 86400]],
    ['a terminal that is signed out and not marked',
        qr/\{$bo->{user_id}\}:\w+: lets in, and is not good/, ['DEL', $mark]],
    ['another thumbnail', qr/\Q$fresh[11]{thumbnail}\E: differs/,
        ['SET', $fresh[11]{thumbnail}, 'RIFF']],
    ['a thumbnail that is denied', qr/is denied, and is there/,
        ['SET', $fresh[12]{thumbnail}, '']],
    ['a thumbnail that is none', qr/shows, and is gone/,
        ['SET', 'cardx:thumb:' . 'C' x 28, 'RIFF']],
);

# a mark on the terminal of a user makes every token of theirs look signed
# out, so it stands apart
my @marked = (
    ['a terminal that is not signed out', qr/is signed out, and should not/,
        ['SET', "cardx:terminal:{$anna->{user_id}}:"
            . ($anna->{terminal_id} + 0), 'x']],
);
my @missing = (
    ['a card', qr/\Q$fresh[0]{id}\E\}: all of it/, ['DEL', $fresh[0]{name}]],
    ['a body', qr/\Q$fresh[1]{id}\E\}: b:$/m, ['HDEL', $fresh[1]{name}, 'b:']],
    ['a key', qr/: \Q$fresh[2]{field}\E$/m,
        ['HDEL', $fresh[2]{name}, $fresh[2]{field}]],
    ['a redirect', qr/: \Q$fresh[3]{redirect}\E$/m,
        ['DEL', $fresh[3]{redirect}]],
    ['a token', qr/cardx:token:\S+: all of it/, ['DEL', token_name($mine)]],
    ['a thumbnail', qr/\Q$fresh[4]{thumbnail}\E: all of it/,
        ['DEL', $fresh[4]{thumbnail}]],
    ['a card in doubt', qr/in doubt/, ['HSET', $fresh[5]{name}, 'd', $later]],
    ['a key in doubt', qr/: \Q$fresh[6]{field}\E$/m,
        ['HSET', $fresh[6]{name}, $fresh[6]{field}, "?$later"]],
);

sub restore {
    $t->redis('DEL', $_) for grep { !$kept{$_} } names();
    $t->redis('RESTORE', $_, 0, $kept{$_}, 'REPLACE') for keys %kept;
}

for (['wrong', 1, @wrong], ['wrong', 1, @marked], ['missing', 3, @missing]) {
    my ($kind, $expected, @cases) = @$_;
    restore();
    for my $case (@cases) {
        my ($what, $tells, @commands) = @$case;
        $t->redis(@$_) for @commands;
    }
    ($code, $output) = check();
    is($code, $expected, "$kind: the exit code");
    like($output, qr/^\Q$kind\E: .*$_->[1]/m, "$kind: $_->[0]") for @cases;
    my $lines = () = $output =~ /^(?:wrong|missing|not known): /mg;
    is($lines, scalar @cases, "$kind: and nothing else") or diag($output);
}

restore();
$t->psql("insert into cardx.outbox (effect, object, created_at, due_at)
    values ('card', 'nothing', now() - interval '1 hour', 'infinity')");
($code, $output) = check();
is($code, 1, 'a stuck effect') or diag($output);
like($output, qr/1 late/, 'is told');
$t->psql("delete from cardx.outbox where object = 'nothing'");

$t->redis('DEL', 'cardx:ready');
($code, $output) = check();
ok($code == 2 || $code == 0, 'not complete: it can not be told');
$t->wait_for(sub { $t->redis('GET', 'cardx:ready') }, 30);
($code, $output) = check();
is($code, 0, 'built again: equal') or diag($output);

$t->finish;
done_testing;
