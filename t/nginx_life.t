#!/usr/bin/perl
# nginx is reloaded, upgraded and told to quit under load: no request fails,
# and its processes hold no more than before.  CARDX_RELOADS: how many reloads
# are counted (30; ci/soak does 200).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use List::Util ();
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;
use CardxTest::Life;

my $reloads = $ENV{CARDX_RELOADS} || 30;
my $t = CardxTest->new(processes => 2)->start;
my $anna = $t->register('+8613800000001');
my $token = $anna->{access_token};
my $card = $t->card({ token => $token }, name => { full => 'Anna' });
my $key = $t->key({ token => $token }, $card);
$t->outbox_empty(30);

sub load {
    return (
        CardxTest::Life::client($t, 'keepalive', "/c/$card",
            'Cardx-Key' => $key->{key}),
        CardxTest::Life::client($t, 'h1', '/v1/me',
            Authorization => "Bearer $token"),
        CardxTest::Life::client($t, 'h2', $key->{thumbnail}),
    );
}

sub ended {
    my ($when, @clients) = @_;
    for my $client (@clients) {
        my $saw = CardxTest::Life::end($client);
        cmp_ok($saw->{good}, '>', 0,
            "$when: $client->{kind}: $saw->{good} answers");
        is(join(' ', @{ $saw->{bad} }), '',
            "$when: $client->{kind}: no request failed");
    }
}

# How many caches have a lease.
sub leases {
    my %zones = @{ $t->redis('HGETALL', 'cardx:{zones}') };
    delete $zones{since};
    return scalar keys %zones;
}

# The statuses of some requests, each on a connection of its own, since any of
# nginx's processes may take it.
sub statuses {
    my ($path) = @_;
    my %seen;
    for (1 .. 12) {
        $t->connect_anew;
        $seen{ $t->get($path)->{status} }++;
    }
    return join ' ', sort keys %seen;
}

# What is taken back is not given by any process of nginx; codes are counted.
my %scans;
sub takes_back {
    my ($when) = @_;
    my $drawn = $t->post("/v1/cards/$card/keys", { ttl => 3600 },
        { token => $token })->{json};
    is(statuses($drawn->{link}), '200', "$when: a card is given") for 1 .. 2;
    is(statuses($drawn->{url}), '302', "$when: a code leads there");
    $scans{ $drawn->{key_id} } = 12;
    ok($t->wait_for(sub { $t->delete("/v1/cards/$card/keys/$drawn->{key_id}",
        undef, { token => $token })->{status} == 204 }, 20),
        "$when: the key is taken back");
    is(statuses($drawn->{link}), '404', "$when: and the card is not given");
    is(statuses($drawn->{url}), '404', "$when: nor does the code lead there");
}

# --- reload ---------------------------------------------------------------------

my @clients = load();
for my $n (1 .. 8) {
    sleep 0.1;
    ok(CardxTest::Life::reload($t), "reload $n");
}
ended('reload', @clients);

# --- binary upgrade -----------------------------------------------------------------

my $old = $t->pid('nginx');
@clients = load();
sleep 0.2;
kill 'USR2', $old;
ok($t->wait_for(sub {
    my $pid = $t->pid('nginx');
    $pid && $pid != $old && CardxTest::Life::workers($pid) == 2;
}, 60), 'a new master with its workers');
ok($t->wait_for(sub { leases() == 2 }, 30), 'two caches at once');
takes_back('old and new') for 1 .. 3;
kill 'WINCH', $old;
ok($t->wait_for(sub { !CardxTest::Life::workers($old) }, 60),
    'the old workers end');
sleep 0.2;
kill 'QUIT', $old;
ok($t->wait_for(sub { !-d "/proc/$old" }, 60), 'the old master ends');
sleep 0.2;
ended('upgrade', @clients);
ok($t->wait_for(sub { leases() == 1 }, 30), 'one cache is left');
takes_back('upgraded');
ok($t->wait_for(sub { !grep { $t->psql("select scans from cardx.card_keys
    where key_id = '$_'") != $scans{$_} } keys %scans }, 20),
    'all scans are counted, by old and new');

# --- while the module waits for Redis -------------------------------------------------

my $headers = { key => $key->{key} };
for my $what (qw(reload upgrade)) {
    $t->signal('redis', 'STOP');
    my @asked = map { CardxTest::Life::client($t, 'keepalive', "/c/$card",
        'Cardx-Key' => $key->{key}) } 1 .. 4;
    sleep 0.1;
    if ($what eq 'reload') {
        kill 'HUP', $t->pid('nginx');
    } else {
        $old = $t->pid('nginx');
        kill 'USR2', $old;
        ok($t->wait_for(sub { ($t->pid('nginx') // $old) != $old }, 60),
            'upgraded while Redis does not answer');
        kill 'QUIT', $old;
    }
    sleep 0.3;
    $t->thaw_redis;
    sleep 0.3;
    ended("Redis stopped, $what", @asked);
}
ok($t->wait_for(sub { !-d "/proc/$old" }, 60), 'the old master ends');

# --- what its processes hold ------------------------------------------------------------

sub settled {
    my $master = $t->pid('nginx');
    $t->wait_for(sub { CardxTest::Life::workers($master) == 2
        && @{[CardxTest::Life::children($master)]} <= 4 }, 30);
    # each worker connects to Redis by itself, and when it is asked
    $t->wait_for(sub {
        my $n = CardxTest::Life::redis_connections($t);
        $t->get("/c/$card", undef, $headers) for 1 .. 10;
        return $n == CardxTest::Life::redis_connections($t);
    }, 30);
    my @workers = CardxTest::Life::workers($master);
    return {
        descriptors => CardxTest::Life::descriptors($master),
        dirty => CardxTest::Life::memory($master)->{dirty},
        workers => scalar @workers,
        worker_descriptors => List::Util::sum(map {
            CardxTest::Life::descriptors($_) } @workers),
        worker_dirty => (sort { $b <=> $a } map {
            CardxTest::Life::memory($_)->{dirty} } @workers)[0],
    };
}

# with clients by HTTP/1.1 and HTTP/2 all the while
CardxTest::Life::reload($t) for 1 .. 5;
my $before = settled();
@clients = load();
for (1 .. $reloads) {
    CardxTest::Life::reload($t) or BAIL_OUT('nginx does not reload');
}
ended("$reloads reloads", @clients);
CardxTest::Life::reload($t) for 1 .. 5;
my $after = settled();

is($after->{descriptors}, $before->{descriptors},
    "$reloads reloads: the master's descriptors");
is($after->{workers}, $before->{workers}, "$reloads reloads: workers");
# those to Redis among them; one more or less is the test's own
cmp_ok($after->{worker_descriptors}, '<=', $before->{worker_descriptors} + 1,
    "$reloads reloads: fresh workers' descriptors");
SKIP: {
    skip 'a sanitizer keeps what is freed', 2 if $ENV{CARDX_SANITIZED};
    my $grown = ($after->{dirty} - $before->{dirty}) / $reloads;
    note("the master: $before->{dirty} KiB, then $after->{dirty} KiB");
    note("a worker: $before->{worker_dirty} KiB, then "
        . "$after->{worker_dirty} KiB");
    # nginx without the module grows, too, and less and less; a configuration
    # that is not freed is more than 16 KiB
    cmp_ok($grown, '<', 8, "$reloads reloads: the master's memory, KiB each");
    cmp_ok($after->{worker_dirty} - $before->{worker_dirty}, '<', 512,
        "$reloads reloads: a fresh worker's memory");
}

# --- quit ------------------------------------------------------------------------------

my $socket = IO::Socket::SSL->new(PeerAddr => '127.0.0.1',
    PeerPort => $t->{port}, SSL_ca_file => $t->ca, Timeout => 30);
print $socket "POST /v1/cards HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    . "Authorization: Bearer $token\r\nContent-Type: application/json\r\n"
    . "Content-Length: 56\r\n\r\n{\"\@type\":\"Card\",";
my $master = $t->pid('nginx');
sleep 0.3;
kill 'QUIT', $master;
sleep 0.3;
print $socket '"version":"1.0","name":{"full":"Bo"}}   ';
like(CardxTest::Life::answer($socket), qr/^201$/,
    'quit: a request in hand is answered');
close $socket;
ok($t->wait_for(sub { !-d "/proc/$master" }, 60), 'nginx ends');
$t->start;
is($t->get("/c/$card", undef, $headers)->{status}, 200, 'and starts again');

$t->finish;
done_testing;
