#!/usr/bin/perl
# Scans are counted in nginx and sent to Redis: each of them once, whatever
# happens to nginx's workers and to Redis meanwhile.

use strict;
use warnings;

use FindBin ();
use lib "$FindBin::Bin/lib";

use CardxTest::Edge ();
use Test::More;
use Time::HiRes qw(sleep);

*await = \&CardxTest::Edge::await;

my $edge = CardxTest::Edge->new(workers => 2, cache => '4m',
    redis_options => 'connect_timeout=300ms',
    http => '    add_header Edge-Worker $pid always;');
my $card = $edge->card(body => '{}');

# What Redis has, by the keys' names.
sub counted {
    my %n;
    for my $digit (0 .. 9, 'a' .. 'f') {
        %n = (%n, @{ $edge->redis('HGETALL', "cardx:scans:{$digit}") });
    }
    return \%n;
}

sub total { my $sum = 0; $sum += $_ for values %{ counted() }; return $sum }

sub lost { return $edge->metric('cardx_edge_scans_lost_total') }

# Scans by connections that are kept; how many led somewhere.
sub scan {
    my (@keys) = @_;
    my ($socket, $good) = ($edge->connect, 0);
    for my $key (@keys) {
        print $socket CardxTest::Edge::request_text('GET', "/q/$key");
        my $r = CardxTest::Edge::read_response($socket, 'GET');
        $good++ if $r->{status} == 302;
    }
    return $good;
}

# --- many keys, many workers --------------------------------------------------

my @keys = map { $edge->key($card) } 1 .. 300;
my %expected;
my $sum = 0;
for my $n (1 .. 3) {
    my @some = map { $_ % $n ? () : $keys[$_] } 0 .. $#keys;
    $sum += scan(@some);
    $expected{ $edge->hash_name($_) }++ for @some;
}
ok(await(sub { total() == $sum }), "$sum scans are counted");
is_deeply(counted(), \%expected, 'each where it belongs');

# --- nginx is reloaded, told to quit -------------------------------------------

for (1 .. 5) {
    $sum += scan(@keys[0 .. 9]) for 1 .. 2;
    ok($edge->reload, 'reload');
    is(total(), $sum, 'the old workers have left nothing behind');
}

$sum += scan(@keys[0 .. 9]);
is($edge->stop_nginx, 0, 'quit');
is(total(), $sum, 'nothing is left behind');
$edge->start_nginx;

$sum += scan($keys[0]);
ok(await(sub { total() == $sum }), 'counted');
is($edge->stop_nginx('TERM'), 0, 'ended fast');
is(total(), $sum, 'what was counted is not counted again');
$edge->start_nginx;

# --- Redis does not answer for a while ------------------------------------------

# A code that is in the cache, and nothing left to be sent.
sub cached {
    my ($key) = @_;
    ok($edge->await_cache, 'there is a cache');
    ok(await(sub {
        my $r = $edge->get("/q/$key");
        $sum++ if $r->{status} == 302;
        $r->{headers}{'edge-status'} eq 'cached';
    }), 'with a code');
    ok(await(sub { total() == $sum }), 'all is counted');
}

cached($keys[0]);
my $gone = $edge->metric('cardx_edge_redis_disconnects_total');
kill 'STOP', $edge->{redis_pid};
my $meanwhile = scan(($keys[0]) x 5);
cmp_ok($meanwhile, '>', 0, 'stopped: codes lead on, from the cache');
ok(await(sub { $edge->metric('cardx_edge_redis_disconnects_total')
    >= $gone + 2 }), 'and Redis is given up');
kill 'CONT', $edge->{redis_pid};
$sum += $meanwhile;

# what was sent before that, it has read; now it is sent again
ok(await(sub { total() >= $sum }), 'back: they are counted');
ok($edge->await_cache, 'it goes on');
$sum += scan($keys[0]);
ok(await(sub { total() >= $sum }), 'and counts');
is(total(), $sum, 'once');

# --- a worker is killed ------------------------------------------------------------

# A kept connection to each worker.
sub to_workers {
    my %to;
    my @some;
    await(sub {
        push @some, my $socket = $edge->connect;
        print $socket CardxTest::Edge::request_text('GET', '/t/x');
        my $r = CardxTest::Edge::read_response($socket, 'GET');
        $to{ $r->{headers}{'edge-worker'} } = $socket;
        return keys %to == 2;
    });
    return %to;
}

my %to = to_workers();
my ($killed, $stays) = sort keys %to;
ok($stays, 'a connection to each worker');
cached($keys[2]);
kill 'STOP', $edge->{redis_pid};
my %good = ($killed => 0, $stays => 0);
for my $worker (($killed, $stays) x 5) {
    print { $to{$worker} }
        CardxTest::Edge::request_text('GET', "/q/$keys[2]");
    my $r = CardxTest::Edge::read_response($to{$worker}, 'GET');
    $good{$worker}++ if $r->{status} == 302;
}
cmp_ok($good{$_}, '>', 0, 'stopped: codes lead on') for $killed, $stays;
$edge->{expect_log} = qr/worker process $killed exited on signal 9/;
kill 'KILL', $killed;
ok(await(sub { !grep { $_ == $killed } $edge->workers }), 'one is killed');
kill 'CONT', $edge->{redis_pid};
ok(await(sub { total() >= $sum + $good{$stays} }),
    'the scans of the other are counted');
ok(await(sub { 2 == grep { $_ != $killed } $edge->workers }),
    'there are two again');
$edge->await_ready;
cmp_ok(total(), '<=', $sum + $good{$killed} + $good{$stays},
    'none is counted twice; those of the killed may be lost');
$sum = total();

%to = to_workers();
for my $worker (keys %to) {
    print { $to{$worker} }
        CardxTest::Edge::request_text('GET', "/q/$keys[2]");
    my $r = CardxTest::Edge::read_response($to{$worker}, 'GET');
    $sum++ if $r->{status} == 302;
}
ok(await(sub { total() >= $sum }), 'both count');
kill 'KILL', $stays;
ok(await(sub { !grep { $_ == $stays } $edge->workers }), 'the other is killed');
$edge->{expect_log} = qr/worker process (?:$killed|$stays) exited on signal 9/;
is(total(), $sum, 'what Redis has heard is counted, once');

# --- Redis is killed ---------------------------------------------------------------

cached($keys[1]);
kill 'STOP', $edge->{redis_pid};
$meanwhile = scan(($keys[1]) x 5);
cmp_ok($meanwhile, '>', 0, 'stopped: codes lead on');
$edge->stop_redis('KILL');
$edge->{not_ready} = 1;
$edge->start_redis;
ok(await(sub { $edge->metric('cardx_edge_redis_connects_total') > 0
    && $edge->redis('CLIENT', 'LIST') =~ /cmd=get/ }), 'another Redis');
sleep 0.3;
is(total(), 0, 'which is not complete: a rebuild would empty it');
$edge->make_ready;
ok(await(sub { total() == $meanwhile }), 'complete: it has what the other had not')
    or diag(total(), " of $meanwhile");

# --- more than there is room for -----------------------------------------------------

my @many;
while (@many < 270) {
    my ($key, $name) = $edge->new_key;
    next if $name !~ /^7/;
    $edge->redis('SET', "cardx:q:$name", (int(time) + 600) . " $card");
    push @many, $key;
}
$sum = $meanwhile + scan(@many) + scan(@many);
ok(await(sub { total() == $sum }), 'many of one digit')
    or diag(total(), " of $sum, lost ", lost());
my $lost = lost();
ok($edge->await_cache, 'cached');
kill 'STOP', $edge->{redis_pid};
$meanwhile = scan(@many, @many);
kill 'CONT', $edge->{redis_pid};
ok(await(sub { total() + lost() - $lost == $sum + $meanwhile }),
    'Redis stopped: each is counted, or counted as lost')
    or diag(total() - $sum, ' of ', $meanwhile, ', lost ', lost() - $lost);

# --- quit without Redis ----------------------------------------------------------------

ok($edge->await_cache, 'cached');
scan($many[0]) for 1 .. 4;
kill 'STOP', $edge->{redis_pid};
$meanwhile = scan(($many[0]) x 4);
is($edge->stop_nginx, 0, 'without Redis it quits, too');
kill 'CONT', $edge->{redis_pid};
$edge->start_nginx;

$edge->finish;
done_testing;
