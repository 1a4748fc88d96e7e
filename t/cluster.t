#!/usr/bin/perl
# cardx on a Redis Cluster of three masters: all of the edge's hot paths, slots
# that move, a master that is lost, and the projection built again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;
use CardxTest::Cluster;
use CardxTest::Events;

my $cluster = CardxTest::Cluster->new->start;

# without the caches: each answer says what Redis said
$ENV{CARDX_REDIS_CLUSTER} = $cluster->addresses;
my $t = CardxTest->new(nginx_conf => [ [ qr/^\s*cardx_cache .*\n/m, '' ] ])
    ->start;

ok($cluster->await_ready, 'the projection is complete on each node');

my $me = $t->register('+8613800138000');
my $token = { token => $me->{access_token} };

sub card { $t->card($token, name => { full => $_[0] }) }
sub key { $t->key($token, @_) }
sub revoke { $t->revoke($token, @_) }
sub fetch { $t->fetch(@_) }

# Whether a call is answered by the edge; its answer.
sub hit {
    my ($path, $call) = @_;
    my $before = $t->answered($path, 'hit');
    my $r = $call->();
    return ($r, $t->answered($path, 'hit') > $before);
}

sub is_hit {
    my ($path, $call, $what) = @_;
    my ($r, $hit);
    ok($t->wait_for(sub { ($r, $hit) = hit($path, $call); $hit }, 20),
        "$what: from Redis");
    return $r;
}

# --- the tour ----------------------------------------------------------------

# cards on every node
my %on;
for my $n (1 .. 40) {
    my $card = card("Card $n");
    my $node = $cluster->owner("cardx:card:{$card}");
    push @{ $on{$node} }, key($card) if @{ $on{$node} || [] } < 3;
    last if 3 == grep { @{ $on{$_} || [] } == 3 } 0 .. 2;
}

for my $node (0 .. 2) {
    my $key = $on{$node}[0];
    my $r = is_hit('card', sub { fetch($key) }, "card on node $node");
    is($r->{json}{name}{full} // '', $r->{json}{name}{full} // 'none',
        'and it is a card');
    is($r->{status}, 200, 'and it is given');

    $r = is_hit('redirect', sub { $t->get("/q/$key->{key}") },
        "redirect of node $node");
    is($r->{status}, 302, 'and it leads there');
}

my $r = is_hit('auth', sub { $t->get('/v1/me', undef, $token) }, 'token');
is($r->{status}, 200, 'and it is good');

ok($t->wait_for(sub {
    $t->psql('select sum(scans) from cardx.card_keys') >= 3 }),
    'scans are counted');

my $thumb = $t->wait_for(sub {
    $t->get("/v1/cards/$on{0}[0]{card}", undef, $token)->{json}{thumbnail};
}, 20);
SKIP: {
    skip 'no thumbnail in the envelope', 2 if !$thumb || ref $thumb;
    $r = is_hit('thumbnail', sub { $t->get($thumb) }, 'thumbnail');
    is($r->{status}, 200, 'and it is a picture');
}

for my $node (0 .. 2) {
    my $key = $on{$node}[1];
    is(fetch($key)->{status}, 200, "a key on node $node");
    is(revoke($key)->{status}, 204, 'is revoked');
    is(fetch($key)->{status}, 404, 'and refused at once');
}

my $second = $t->sign_in($me->{phone}, $me->{initial_password});
is($t->get('/v1/me', undef, { token => $second->{access_token} })->{status},
    200, 'another terminal');
is($t->delete("/v1/me/terminals/$second->{terminal_id}", undef, $token)->{status},
    204, 'is signed out');
is($t->get('/v1/me', undef, { token => $second->{access_token} })->{status},
    401, 'and refused at once');

# --- a slot that moves -------------------------------------------------------

my $moving = key($on{0}[2]{card});
my $leaving = key($on{0}[2]{card});
my $slot = $cluster->slot("cardx:card:{$moving->{card}}");
is_hit('card', sub { fetch($moving) }, 'before it moves');

$cluster->migrate($slot, 0, 1);
$r = is_hit('card', sub { fetch($moving) }, 'while it moves (ASK)');
is($r->{status}, 200, 'it is given');
is(revoke($leaving)->{status}, 204, 'a key is revoked while it moves');
is(fetch($leaving)->{status}, 404, 'and refused at once');

$cluster->settle($slot, 1);
$r = is_hit('card', sub { fetch($moving) }, 'when it has moved (MOVED)');
is($r->{status}, 200, 'it is given');
is(fetch($leaving)->{status}, 404, 'what was revoked stays so');
is(revoke($moving)->{status}, 204, 'a key is revoked where it has moved');
is(fetch($moving)->{status}, 404, 'and refused at once');

# --- a master is lost, and comes back empty ----------------------------------

# caches have their leases on one node: with that one lost no denial can be
# confirmed, so it is not the one
my ($gone) = grep { $_ != $cluster->owner('cardx:{zones}') } 2, 1;
my $left = 3 - $gone;
my ($lost, $kept) = ($on{$gone}[0], $on{$left}[0]);
my $doomed = key($lost->{card});
ok($cluster->await_ready, 'complete before that');
is_hit('card', sub { fetch($_) }, 'before the loss') for $lost, $kept;

# people whose heads are on the lost node, and on others, hold a card
my %person;
for my $n (1 .. 30) {
    my $who = $t->register("+8613800139" . sprintf '%03d', $n);
    my $where = $cluster->owner("cardx:head:{$who->{user_id}}") == $gone
        ? 'lost' : 'kept';
    $person{$where} ||= $who;
    last if keys %person == 2;
}
my $held = key($kept->{card});
for my $who (values %person) {
    my %own = (token => $who->{access_token});
    $who->{stream} = CardxTest::Events->open($t, %own);
    $who->{contact} = $t->post('/v1/contacts', { card_id => $kept->{card},
        key => $held->{key} }, \%own)->{json}{contact_id};
    ok($who->{stream}->wait_for(sub { grep { $_->{json}{id}
        eq $who->{contact} } @_ }, 30), 'a person who holds it');
}

sub hears {
    my ($who, $what) = @_;
    my $before = $who->{seen} // 1;
    ok($who->{stream}->follow(sub { $who->{seen} = grep { $_->{json}{id}
        eq $who->{contact} } @_; $who->{seen} > $before }, 60), $what);
}

sub retitle {
    my $r = $t->patch("/v1/cards/$kept->{card}", { titles => { t => {
        name => shift } } }, $token);
    like($r->{status}, qr/^(?:200|503)$/, 'the card is changed');
}

$cluster->signal($gone, 'KILL');
retitle('while one is lost');
hears($person{kept}, 'whose head is elsewhere hears of it');
is(fetch($lost)->{status}, 200, 'a card of the lost node is given');
my $until = time + 3;
my %seen;
while (time < $until) {
    $seen{ fetch($lost)->{status} }++;
    $seen{ fetch($kept)->{status} }++;
}
is_deeply([ keys %seen ], [200], 'all the time');
is_hit('card', sub { fetch($kept) }, 'a card of another node');

$r = revoke($doomed);
is($r->{status}, 503, 'a denial on the lost node');
is($r->{json}{code}, 'not_yet_in_force', 'is not yet in force');
is(fetch($doomed)->{status}, 404, 'but nobody gets the card');

# a key is denied at its card and at its redirect
my $elsewhere = key($kept->{card});
for (1 .. 50) {
    my $name = CardxTest::hash_name($elsewhere->{key});
    last if $cluster->owner("cardx:q:$name") != $gone;
    $elsewhere = key($kept->{card});
}
is(revoke($elsewhere)->{status}, 204, 'one on another node is');
is(fetch($elsewhere)->{status}, 404, 'at once');

$cluster->start_node($gone);
ok($cluster->await_whole, 'it is back, empty');
ok($cluster->await_ready, 'its projection comes back');
$r = is_hit('card', sub { fetch($lost) }, 'a card of it');
is($r->{status}, 200, 'as before');
is(fetch($doomed)->{status}, 404, 'what was revoked stays so');
hears($person{lost}, 'whose head was there hears of it now');

# --- one that stalls ---------------------------------------------------------

$doomed = key($lost->{card});
is_hit('card', sub { fetch($doomed) }, 'before it stalls');
$cluster->signal($gone, 'STOP');
retitle('while one stalls');
hears($person{kept}, 'who is elsewhere hears of a change');
is(fetch($doomed)->{status}, 200, 'a card of a stalled node');
is(revoke($doomed)->{status}, 503, 'a denial is not confirmed');
is(fetch($doomed)->{status}, 404, 'but nobody gets the card');
$cluster->signal($gone, 'CONT');
ok($t->wait_for(sub { fetch($doomed)->{status} == 404
        && $t->psql('select count(*) from cardx.outbox
            where effect = \'card\'') == 0 }, 20), 'it goes on, and is told');
is(fetch($doomed)->{status}, 404, 'and still refuses');
hears($person{lost}, 'and so does who is there');
$_->{stream}->close for values %person;

# --- by hand -----------------------------------------------------------------

ok($cluster->await_whole, 'whole before the command');
my $cards = $t->psql('select count(distinct card_id) from cardx.card_keys
    where revoked_at is null and expires_at > now()');
my $output = CardxTest::capture("$t->{build}/cardx-fanout",
    "$t->{var}/conf/cardx.conf", 'rebuild');
is($?, 0, 'the command succeeds');
like($output, qr{^cards $cards/\d+, \d+ per second$}m, 'and says how far it is');
ok($cluster->await_ready, 'the projection is complete');
is_hit('card', sub { fetch($_->[0]) }, 'a card') for values %on;

$t->finish;
$cluster->stop;
done_testing;
