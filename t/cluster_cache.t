#!/usr/bin/perl
# The cache over a Redis Cluster: its leases are in one slot, what it keeps in
# all of them.  Slots move, nodes are lost, and the projection is built again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;
use CardxTest::Cluster;
use CardxTest::Stale;

my $zones = 'cardx:{zones}';
my $cluster = CardxTest::Cluster->new->start;
$ENV{CARDX_REDIS_CLUSTER} = $cluster->addresses;
my $t = CardxTest->new->start;
ok($cluster->await_ready, 'the projection is complete on each node');

my $me = $t->register('+8613800138000');
my $token = { token => $me->{access_token} };

sub card { $t->card($token, name => { full => $_[0] }) }
sub key { $t->key($token, @_) }
sub revoke { $t->revoke($token, @_) }
sub fetch { $t->fetch(@_) }

# How often the cache has answered on a path.
sub cached { $t->answered($_[0], 'cached') }

# Until a call is answered by the cache; its answer.
sub is_cached {
    my ($path, $call, $what) = @_;
    my $r;
    ok($t->wait_for(sub {
        my $before = cached($path);
        $r = $call->();
        cached($path) > $before;
    }, 20), "$what: from the cache");
    return $r;
}

sub leases {
    my ($node) = @_;
    my $all = eval { $cluster->redis($node, 'HGETALL', $zones) };
    my %zones = @{ $all || [] };
    delete $zones{since};
    return scalar keys %zones;
}

# A card on each node.
my @on;
for my $n (1 .. 60) {
    my $card = card("Card $n");
    $on[ $cluster->owner("cardx:card:{$card}") ] //= $card;
    last if 3 == grep { defined } @on[0 .. 2];
}

# --- what is kept, from every node, and forgotten -----------------------------

# where the leases are, where they will be, and the third node
my $home = $cluster->owner($zones);
my ($next, $third) = grep { $_ != $home } 0 .. 2;
ok($t->wait_for(sub { leases($home) == 1 }), 'a lease, on the node of its slot');

for my $node (0 .. 2) {
    my $key = key($on[$node]);
    is_cached('card', sub { fetch($key) }, "a card of node $node");
    my $r = is_cached('redirect', sub { $t->get($key->{url}) }, 'its redirect');
    is($r->{headers}{location}, $key->{link}, 'leads there');
    is(revoke($key)->{status}, 204, 'a denial is confirmed');
    is(fetch($key)->{status}, 404, 'and in force');
    is($t->get($key->{url})->{status}, 404, 'for the redirect, too');
}
ok($t->wait_for(sub {
    $t->psql('select count(*) from cardx.card_keys where scans > 0') == 3 }),
    'scans are counted');

my $second = $t->sign_in($me->{phone}, $me->{initial_password});
my $theirs = { token => $second->{access_token} };
is_cached('auth', sub { $t->get('/v1/me', undef, $theirs) }, 'a token');
is($t->delete("/v1/me/terminals/$second->{terminal_id}", undef,
    $token)->{status}, 204, 'is signed out');
is($t->get('/v1/me', undef, $theirs)->{status}, 401, 'at once');

my $since;
is_cached('updates', sub {
    $since = $t->get('/v1/updates', undef, $token)->{json}{token};
    $t->get("/v1/updates?since=$since", undef, $token) for 1 .. 3;
}, 'nothing is new');
card('Something');
is($t->get("/v1/updates?since=$since", undef, $token)->{status}, 200,
    'something is');

# --- the projection is built again: leases stay ----------------------------------

my $kept = key($on[1]);
is_cached('card', sub { fetch($kept) }, 'before a rebuild');
CardxTest::capture("$t->{build}/cardx-fanout", "$t->{var}/conf/cardx.conf",
    'rebuild');
is($?, 0, 'rebuilt');
is(revoke($kept)->{status}, 204, 'a denial is confirmed all the same');
is(fetch($kept)->{status}, 404, 'and in force');
ok($cluster->await_ready, 'complete');

# --- the slot of the leases moves --------------------------------------------------

my @moving = map { key($on[$_]) } 0 .. 2;
is_cached('card', sub { fetch($_) }, 'before the slot moves') for @moving;
my $slot = $cluster->slot($zones);
$cluster->migrate($slot, $home, $next);
ok($t->wait_for(sub { revoke($moving[0])->{status} == 204 }, 20),
    'it moves: a denial is confirmed in the end');
is(fetch($moving[0])->{status}, 404, 'and in force');
$cluster->settle($slot, $next);
ok($t->wait_for(sub { revoke($moving[1])->{status} == 204 }, 20),
    'it has moved: so is another');
is(fetch($moving[1])->{status}, 404, 'and in force');
ok($t->wait_for(sub { leases($next) == 1 }, 20), 'the lease is where its slot is');
is_cached('card', sub { fetch($moving[2]) }, 'the cache goes on');
ok($cluster->await_ready, 'complete on each node');

# --- a node without the leases is lost ----------------------------------------------

my ($doomed, $left) = (key($on[$third]), key($on[$home]));
is_cached('card', sub { fetch($_) }, 'before a node is lost')
    for $doomed, $left;
$cluster->signal($third, 'KILL');
is(fetch($doomed)->{status}, 200, 'its cards are still known');
my $r = revoke($doomed);
is($r->{status}, 503, 'a denial there');
is($r->{json}{code}, 'not_yet_in_force', 'is not yet in force');
is(fetch($doomed)->{status}, 404, 'but caches have forgotten');
for (1 .. 50) {
    my $name = 'cardx:q:' . CardxTest::hash_name($left->{key});
    last if $cluster->owner($name) != $third;
    $left = key($on[$home]);
}
is(revoke($left)->{status}, 204, 'one on another node is');
is(fetch($left)->{status}, 404, 'at once');
$cluster->start_node($third);
ok($cluster->await_whole, 'it is back, empty');
ok($cluster->await_ready, 'and built');
ok($t->wait_for(sub { revoke($doomed)->{status} == 204 }, 20),
    'what was denied is in force');
is(fetch($doomed)->{status}, 404, 'and stays so');

# --- the node with the leases is lost -------------------------------------------------

$doomed = key($on[$third]);
my $other = key($on[$third]);
is_cached('card', sub { fetch($_) }, 'before that') for $doomed, $other;
$cluster->signal($next, 'KILL');
is(revoke($doomed)->{status}, 503, 'no denial is confirmed');
ok($t->wait_for(sub { fetch($doomed)->{status} == 404 }, 5),
    'but it is in force when leases have ended');
is(fetch($doomed)->{status}, 404, 'and stays so') for 1 .. 4;
my $before = cached('card');
is(fetch($other)->{status}, 200, 'other cards are given') for 1 .. 4;
is(cached('card'), $before, 'not by the cache, which has no lease');
$cluster->start_node($next);
ok($cluster->await_whole, 'it is back, empty');
ok($cluster->await_ready, 'and built');
ok($t->wait_for(sub { revoke($doomed)->{status} == 204 }, 20),
    'denials are confirmed');
is_cached('card', sub { fetch($other) }, 'the cache goes on');

# --- many, with two caches; and while nodes stand still ----------------------------------

my $edge = CardxTest::Stale::edge($t, 1);
ok($t->wait_for(sub { leases($next) == 2 }, 20), 'two caches');
my $all = CardxTest::Stale::run($t, [$edge], fetches => 1000, seconds => 8);
is($all->{stale}, 0, "none of $all->{fetches} fetches is stale");
cmp_ok($all->{fetches}, '>', 0, 'there were some');
is($all->{unaware}, 0, "who changed something is not told 'nothing new'");

$all = CardxTest::Stale::run($t, [$edge], fetches => 1000, seconds => 8,
    disturb => sub {
        my $node = int rand 3;
        sleep 0.4 + rand 0.4;
        $cluster->signal($node, 'STOP');
        sleep 0.2 + rand 0.3;
        $cluster->signal($node, 'CONT');
    });
$cluster->signal($_, 'CONT') for 0 .. 2;
is($all->{stale}, 0, "nodes stand still: none of $all->{fetches} is stale");
cmp_ok($all->{fetches}, '>', 0, 'there were some');

is(CardxTest::Stale::end($edge), 0, 'the other nginx ends by itself');
$t->finish;
$cluster->stop;
done_testing;
