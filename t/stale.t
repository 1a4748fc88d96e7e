#!/usr/bin/perl
# What was revoked is never answered after the 204, by whatever cache: a short
# bench/stale, and what happens when a cache can not be told.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;
use CardxTest::Events;
use CardxTest::Stale;

my $t = CardxTest->new->start;
my $me = $t->register('+8613800138000');
my %mine = (token => $me->{access_token});
my $edge = CardxTest::Stale::edge($t, 1);
my $edge_url = "http://127.0.0.1:$edge->{port}";

sub leases {
    my %zones = @{ $t->redis('HGETALL', 'cardx:{zones}') };
    delete $zones{since};
    return scalar keys %zones;
}

ok($t->wait_for(sub { leases() == 2 }), 'two caches');

my $card = $t->card(\%mine, name => { full => 'Anna' },
    titles => { t => { name => 'First' } });

sub draw { $t->key(\%mine, $card, ttl => 600) }
sub revoke { $t->revoke(\%mine, @_) }

sub fetch { my ($at, $key) = @_; return $t->get("$at$key->{link}") }

# Until both have it from their caches.
sub cached {
    my ($key) = @_;
    for my $at ($t->url, $edge_url) {
        fetch($at, $key)->{status} == 200 or return for 1 .. 4;
    }
    return 1;
}

# --- each change is seen at every edge ---------------------------------------

my $key = draw();
ok(cached($key), 'a card');

for my $n (1 .. 10) {
    my $r = $t->patch("/v1/cards/$card",
        { titles => { t => { name => "Title $n" } } }, \%mine);
    is($r->{status}, 200, "change $n");
    for my $at ($t->url, $edge_url) {
        is(fetch($at, $key)->{json}{titles}{t}{name}, "Title $n", 'is seen')
            for 1 .. 2;
    }
}

my $r = $t->patch("/v1/cards/$card", { titles => undef }, \%mine);
is($r->{status}, 200, 'narrowed');
unlike(fetch($_, $key)->{body}, qr/Title/, 'is seen')
    for $t->url, $edge_url;

my $second = $t->sign_in('+8613800138000', $me->{initial_password});
my %second = (token => $second->{access_token});
for my $at ($t->url, $edge_url) {
    is($t->get("$at/v1/me", undef, \%second)->{status}, 200, 'signed in')
        for 1 .. 4;
}
is($t->delete("/v1/me/terminals/$second->{terminal_id}", undef,
    \%mine)->{status}, 204, 'signed out');
is($t->get("$_/v1/me", undef, \%second)->{status}, 401, 'is seen')
    for $t->url, $edge_url;

# --- who holds a card and hears of a change asks what it is --------------------

my $bela = $t->register('+8613800138001');
my %bela = (token => $bela->{access_token});
my $given = draw();
$r = $t->post('/v1/contacts', { card_id => $card, key => $given->{key} },
    \%bela);
is($r->{status}, 201, 'a holder');
my $stream = CardxTest::Events->open($t, %bela);
$stream->wait_for(sub { $stream->{id} });

sub xid { my ($position) = @_; return (split /\./, $position // '0.0')[1] }

sub news {
    my ($at, $since) = @_;
    return $t->get("$at/v1/updates?since=$since", undef, \%bela)->{status};
}

for my $n (1 .. 5) {
    my $known;
    ok($t->wait_for(sub {
        $known = $t->get('/v1/updates', undef, \%bela)->{json}{token};
        !grep { news($_, $known) != 204 } ($t->url, $edge_url) x 3;
    }, 20), 'nothing is new');
    $t->patch("/v1/cards/$card", { notes => { n => { note => "Note $n" } } },
        \%mine);
    ok($stream->wait_for(sub {
        grep { xid($_->{id}) > xid($known) } @{ $stream->{events} };
    }), 'until a change is heard of');
    is(news($_, $known), 200, 'and known') for $t->url, $edge_url;
}
$stream->close;

# --- a cache that does not hear ----------------------------------------------

my @workers = do {
    open my $in, '<', "/proc/$edge->{pid}/task/$edge->{pid}/children" or die;
    split ' ', <$in>;
};

# All at once: which one hears does not matter.
my ($unsure, $sure) = (draw(), draw());
ok(cached($unsure) && cached($sure), 'cached');
kill 'STOP', @workers;
my $start = time;
$r = revoke($unsure);
my $took = time - $start;
is($r->{status}, 503, 'an edge stands still: not yet in force');
is($r->{json}{code}, 'not_yet_in_force', 'and says so');
cmp_ok($took, '<', 5, 'soon');
ok($t->wait_for(sub { revoke($unsure)->{status} == 204 }, 5),
    'in force when its lease has ended');
is(revoke($sure)->{status}, 204, 'and so is another');
kill 'CONT', @workers;
is(fetch($edge_url, $_)->{status}, 404, 'it goes on, and knows')
    for $unsure, $sure;

# --- one worker of an edge stands still: the one that hears ---------------------

my $since;

# What an edge says of it, if it says that nothing is new.
sub nothing_new {
    my $r = $t->get("$edge_url/v1/updates?since=$since", undef, \%mine);
    return $r->{status} == 204 ? $r->{headers}{'edge-status'} // 'worker' : '';
}

ok($t->wait_for(sub {
    $since = $t->get('/v1/updates', undef, \%mine)->{json}{token};
    (grep { nothing_new() eq 'cached' } 1 .. 4) == 4;
}, 20), 'nothing is new, from the cache');
my $holder = CardxTest::Stale::holder($edge);
kill 'STOP', $holder;
$r = $t->patch("/v1/cards/$card", { titles => { t => { name => 'Last' } } },
    \%mine);
is($r->{status}, 200, 'a change');
is(nothing_new(), '', 'is known to the others') for 1 .. 4;
kill 'CONT', $holder;

kill 'KILL', @workers;
my $killed = draw();
ok($t->wait_for(sub { revoke($killed)->{status} == 204 }, 5),
    'killed: in force in the end');
ok($t->wait_for(sub { eval { cached($key) } }, 10), 'it is back');

# --- Redis has forgotten who has a lease -------------------------------------

my $flushed = draw();
ok(cached($flushed), 'cached');
$t->redis('FLUSHALL');
$r = revoke($flushed);
is($r->{status}, 503, 'flushed: nothing is confirmed');
ok($t->wait_for(sub { revoke($flushed)->{status} == 204 }, 5),
    'but a second later');
is(fetch($_, $flushed)->{status}, 404, 'revoked') for $t->url, $edge_url;

# --- a rebuild keeps leases --------------------------------------------------

$t->wait_for(sub { ($t->redis('GET', 'cardx:ready') // '') ne '' });
CardxTest::capture("$t->{build}/cardx-fanout", "$t->{var}/conf/cardx.conf",
    'rebuild');
my $rebuilt = draw();
is(revoke($rebuilt)->{status}, 204, 'rebuilt: a denial is confirmed');

# --- Redis's clock is set back, and the lease of a cache that has ended stands ---

my $early = draw();
$t->redis('HSET', 'cardx:{zones}', '0' x 32, int(time + 3600) . '000 1');
is(revoke($early)->{status}, 503, 'a lease that ends too late');
ok($t->wait_for(sub { revoke($early)->{status} == 204 }, 5),
    'nobody waits for it longer than for others');

# --- many, and calamities ----------------------------------------------------

my $all = CardxTest::Stale::run($t, [$edge], fetches => 3000, seconds => 8);
is($all->{stale}, 0, "none of $all->{fetches} fetches is stale");
cmp_ok($all->{fetches}, '>', 0, 'there were some');
is($all->{other}, 0, 'all others are 404');
is($all->{unaware}, 0, "who changed something is not told 'nothing new'");
cmp_ok($all->{polls}, '>', 0, "in $all->{polls} answers");
cmp_ok($all->{cached}, '>', 0, 'which caches give before that');

my $calamity = 0;
$all = CardxTest::Stale::run($t, [$edge], fetches => 2000, seconds => 8,
    disturb => sub {
        my $holder = CardxTest::Stale::holder($edge);
        sleep 0.4 + rand 0.4;
        if ($calamity++ % 2) {
            $t->redis_command('FLUSHALL');

        } elsif ($holder) {
            kill 'KILL', $holder;
        }
    });
is($all->{stale}, 0, "calamities: none of $all->{fetches} fetches is stale");
is($all->{never}, 0, 'and no change is unknown for longer than a lease');
cmp_ok($all->{fetches}, '>', 0, 'there were some');

is(CardxTest::Stale::end($edge), 0, 'the other nginx ends by itself');
$t->finish;
done_testing;
