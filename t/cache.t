#!/usr/bin/perl
# The shared-memory cache: what is kept, for how long, and that whatever is to
# be forgotten is.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select ();
use IO::Socket::UNIX ();
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest::Edge ();

*await = \&CardxTest::Edge::await;

my $updates = 'location = /v1/updates { cardx_auth on; cardx_updates on; }';
my $edge = CardxTest::Edge->new(workers => 2, cache => '4m',
    server => $updates);
ok($edge->await_cache, 'the cache has its lease');

# --- what is kept ------------------------------------------------------------

my $view = '0123456789abcdef';
my $media = $edge->id('m') . ' 1000 image/jpeg';
my $card = $edge->card(body => '{"all":1}', revision => 7,
    views => { $view => '{"few":1}' },
    media => { ':photo' => $media, "$view:photo" => $media });
my $key = $edge->key($card);
my $few = $edge->key($card, view => $view);
my $token = $edge->token;
my %bearer = (Authorization => "Bearer $token->{token}");
my $picture = $edge->thumbnail('picture');

for my $case (
    ['a card', "/c/$card?k=$key"],
    ['some fields of it', "/c/$card?k=$few"],
    ['a thumbnail', "/t/$picture"],
    ['a redirect', "/q/$key"],
) {
    my ($what, $path) = @$case;
    my $first = $edge->get($path);
    my $second = $edge->get($path);
    is($first->{headers}{'edge-status'}, 'hit', "$what: from Redis");
    is($second->{headers}{'edge-status'}, 'cached', "$what: from the cache");
    (my $shape = $first->{shape}) =~ s/Edge-Status: hit/Edge-Status: cached/;
    is($second->{shape}, $shape, "$what: the same header");
    is($second->{body}, $first->{body}, "$what: and body");
}

is($edge->get("/c/$card?k=$key")->{headers}{etag}, '"7-j"', 'ETag');
is($edge->get("/c/$card?k=$key", { 'If-None-Match' => '"7-j"' })->{status},
    304, 'not modified');
is($edge->head("/c/$card?k=$few")->{headers}{'content-length'}, 9, 'HEAD');

for my $k ($key, $few) {
    $edge->get("/c/$card/photo?k=$k");
    my $r = $edge->get("/c/$card/photo?k=$k");
    is($r->{headers}{'edge-status'}, 'cached', 'where media are');
    is($r->{headers}{'media-type'}, 'image/jpeg', 'and their type');
}

my $hash_of_key = $edge->hash_name($key);
my $auth = 'cardx_edge_requests_total{path="auth",status="cached"}';
for (1 .. 3) {
    is($edge->get('/v1/x', \%bearer)->{headers}{'cardx-user'},
        $token->{user_id}, 'who the token is of');
}
is($edge->metric($auth), 2, 'a token');

# what stands beside a picture is no picture
for my $path ("/t/b$card", "/t/${card}b", "/t/$card", "/t/q$hash_of_key",
    "/t/b$card$view", "/t/k$card")
{
    is($edge->get($path)->{status}, 404, 'no other entry is found');
}

# --- what is not, or not for long --------------------------------------------

my ($wrong) = $edge->new_key;
is($edge->said("/c/$card?k=$wrong"), 'miss', 'nothing known') for 1 .. 2;
$edge->redis('HSET', "cardx:card:{$card}", 'd', int(time) + 30);
my $late = $edge->key($card);
is($edge->said("/c/$card?k=$late"), 'miss', 'in doubt') for 1 .. 2;
is($edge->said("/c/$card?k=$key"), 'cached', 'but not what was said before');
$edge->redis('HDEL', "cardx:card:{$card}", 'd');

my $gone = $edge->key($card, value => 'x');
is($edge->get("/c/$card?k=$gone")->{status}, 404, 'revoked') for 1 .. 2;
my $unknown = $edge->key($card, value => '-' . (int(time) + 9));
is($edge->get("/c/$card?k=$unknown")->{status}, 404, 'unknown') for 1 .. 2;
is($edge->get("/c/$card?k=$key")->{status}, 200, 'a good one');

my $soon = int(time) + 2;
my $short = $edge->key($card, expires => $soon);
my $brief = $edge->token(expires => $soon);
my %brief = (Authorization => "Bearer $brief->{token}");
is($edge->get("/c/$card?k=$short")->{status}, 200, 'a key') for 1 .. 2;
is($edge->get("/q/$short")->{status}, 302, 'its redirect') for 1 .. 2;
is($edge->get('/v1/x', \%brief)->{status}, 200, 'a token') for 1 .. 2;
await(sub { time > $soon + 0.1 });
is($edge->get("/c/$card?k=$short")->{status}, 404, 'the key has expired');
is($edge->get("/q/$short")->{status}, 404, 'the redirect too');
is($edge->get('/v1/x', \%brief)->{status}, 401, 'and the token');

# --- forgotten ---------------------------------------------------------------

my $name = "cardx:card:{$card}";
my $other = $edge->card(body => '{"other":1}');
my $other_key = $edge->key($other);
$edge->get("/c/$other?k=$other_key");

$edge->redis('HSET', $name, 'v', 8, 'b:', '{"all":2}');
is($edge->get("/c/$card?k=$key")->{body}, '{"all":1}',
    'what nobody said is not known');
is($edge->forget($name), 1, 'it acknowledges what it forgets');
for (1 .. 8) {
    my $r = $edge->get("/c/$card?k=$key");
    is("$r->{body} $r->{headers}{etag}", '{"all":2} "8-j"',
        'forgotten, by all workers');
}
is($edge->said("/c/$other?k=$other_key"), 'cached', 'others are not');

$edge->redis('SET', "cardx:terminal:{$token->{user_id}}:123456789", 'x');
$edge->forget("cardx:terminal:{$token->{user_id}}:123456789");
is($edge->get('/v1/x', \%bearer)->{status}, 401, 'a terminal');
$edge->redis('SET', "cardx:thumb:$picture", '');
$edge->forget("cardx:thumb:$picture");
is($edge->get("/t/$picture")->{status}, 404, 'a thumbnail');
my $hash = $edge->hash_name($key);
$edge->redis('HSET', $name, "k:$hash", 'x');
$edge->redis('SET', "cardx:q:$hash", 'x');
$edge->forget($name, "cardx:q:$hash");
is($edge->get("/c/$card?k=$key")->{status}, 404, 'a key');
is($edge->get("/q/$key")->{status}, 404, 'its redirect');
is($edge->get("/c/$card?k=$few")->{status}, 200, 'not the other key');
$edge->redis('DEL', $name);
$edge->redis('HSET', $name, 'v', 'x');
$edge->forget($name);
is($edge->get("/c/$card?k=$few")->{status}, 404, 'a card') for 1 .. 2;

for my $message ('0123456789abcdef *', '0123456789abcdef 12', 'what?') {
    is($edge->said("/c/$other?k=$other_key"), 'cached', 'cached');
    $edge->redis('PUBLISH', 'cardx:forget', $message);
    is(await(sub { $edge->said("/c/$other?k=$other_key") eq 'hit' }, 2), 1,
        "everything: $message");
}

# --- nothing new -------------------------------------------------------------

my $user = $edge->token;
my %user = (Authorization => "Bearer $user->{token}");
my $head = "cardx:head:{$user->{user_id}}";
my $epoch = '0123456789abcdef';

# "<status> <cardx_status>" of who asks what is new since a position.
sub since {
    my ($xid) = @_;
    my $r = $edge->get("/v1/updates?since=$epoch.$xid", \%user);
    return "$r->{status} $r->{headers}{'edge-status'}";
}

is(since(742), '299 miss', 'no head: a worker is asked') for 1 .. 2;
$edge->redis('SET', $head, '+0123456789abcdef01');
is(since(742), '299 miss', 'a mark is no head, and not kept') for 1 .. 2;
$edge->redis('SET', $head, "$epoch.742 750");
is(since(742), '204 hit', 'nothing new: from Redis');
is(since($_), '204 cached', 'from the cache') for 742, 750;
is(since(741), '299 miss', 'something new: a worker');
is(since(760), '299 miss', 'above the bound: a worker');
$edge->redis('SET', $head, "$epoch.742 760");
is(since(760), '204 hit', 'which he moves: Redis is asked');
is(since(760), '204 cached', 'and the cache knows');

$edge->redis('DEL', $head);
is(since(742), '204 cached', 'dropped, and nobody said so');
is($edge->forget($head), 1, 'forgotten');
is(since(742), '299 miss', 'a worker is asked') for 1 .. 2;

my @heads = map { "cardx:head:{$_}" } 1 .. 8000;
$edge->redis('SET', $head, "$epoch.742 760");
is(since(742), '204 hit', 'once more');
is($edge->said("/c/$other?k=$other_key") =~ /^(?:hit|cached)$/, 1, 'a card');
is($edge->forget(@heads, $head), 1, 'a chunk of a fan-out');
is($edge->said("/c/$other?k=$other_key"), 'cached',
    'heads are forgotten without the cards');
is(since(742), '204 hit', 'heads are');
is(since(742), '204 cached', 'and kept again');

$edge->redis('SET', "cardx:terminal:{$user->{user_id}}:123456789", 'x');
$edge->forget("cardx:terminal:{$user->{user_id}}:123456789");
is($edge->get("/v1/updates?since=$epoch.742", \%user)->{status}, 401,
    'nor is anything said to who was signed out');

# --- full --------------------------------------------------------------------

sub fill {
    my ($n) = @_;
    my @all = map { $edge->thumbnail(join '', map { chr rand 256 } 1 .. 8000) }
        1 .. $n;
    for my $one (@all) {
        $edge->get("/t/$one");
        $edge->get("/c/$other?k=$other_key");
    }
    return @all;
}

my @first = fill(20);
is(scalar(grep { $edge->said("/t/$_") eq 'cached' } @first), 20, 'all fit');
my @more = fill(700);
is($edge->said("/c/$other?k=$other_key"), 'cached', 'what is used stays');
is($edge->said("/t/$more[-1]"), 'cached', 'and what is new');
is(scalar(grep { $edge->said("/t/$_") eq 'hit' } @first), 20,
    'what is old has made room');
my $large = $edge->thumbnail('x' x 500_000);
is($edge->said("/t/$large"), 'hit', 'too large to be kept') for 1 .. 2;

# --- the holder of the lease -------------------------------------------------

# The nginx worker that hears Redis; other than that one, if another does.
sub holder {
    my ($but) = @_;
    my %pids = map { $_ => 1 } $edge->workers;
    my @all = grep { $pids{$_} && $_ != ($but || 0) } map { /^cardx:echo:(\d+):/ }
        @{ $edge->redis('PUBSUB', 'CHANNELS', 'cardx:echo:*') };
    return $all[0];
}

sub lease {
    my %zones = @{ $edge->redis('HGETALL', 'cardx:{zones}') };
    delete $zones{since};
    return %zones;
}

my %before = lease();
is(scalar keys %before, 1, 'one lease for two workers');
my $holder = holder();
ok($holder, 'held by one of them');

$edge->{expect_log} = qr/exited on signal 9/;
kill 'KILL', $holder;
ok(await(sub { holder($holder) }),
    'killed: another holds it');
ok($edge->await_cache, 'and it goes on');
is(join(' ', keys %{ { lease() } }), join(' ', keys %before),
    'with the same lease');
is($edge->forget('*'), 1, 'and hears');

$holder = holder();
kill 'STOP', $holder;
sleep 1.5;
ok(await(sub { holder($holder) }),
    'stopped: another holds it');
kill 'CONT', $holder;
ok($edge->await_cache, 'and it goes on');
is($edge->forget('*'), 1, 'and hears');

ok($edge->reload, 'reload');
ok($edge->await_cache, 'it goes on');
is(join(' ', keys %{ { lease() } }), join(' ', keys %before),
    'with the same lease');
is($edge->forget('*'), 1, 'and hears');

# --- Redis -------------------------------------------------------------------

my $still = '/t/' . $edge->thumbnail('still');
$edge->said($still) for 1 .. 2;

$edge->redis('CLIENT', 'KILL', 'TYPE', 'pubsub');
ok(await(sub { $edge->said($still) eq 'hit' }, 2),
    'not heard: everything is forgotten');
ok($edge->await_cache, 'heard again');

$edge->redis('FLUSHALL');
is($edge->said($still) =~ /^(?:cached|miss)$/, 1, 'flushed');
ok(await(sub { %{ { lease() } } }), 'there is a lease again');

$edge->make_ready;
$still = '/t/' . $edge->thumbnail('still');
ok($edge->await_cache, 'still in use');
$edge->said($still) for 1 .. 2;
kill 'STOP', $edge->{redis_pid};
sleep 0.9;
isnt($edge->said($still), 'cached', 'stopped: the lease ends');
kill 'CONT', $edge->{redis_pid};
ok($edge->await_cache, 'it goes on');

$edge->said($still) for 1 .. 2;
$edge->stop_redis('KILL');
ok(await(sub { $edge->said($still) eq 'miss' }),
    'killed: nothing is served once the holder has heard of it');
$edge->start_redis;
$still = '/t/' . $edge->thumbnail('still');
ok($edge->await_cache, 'back');
$edge->finish;

# --- late answers, and silence -----------------------------------------------

# A proxy that keeps back what Redis says, on the connection that asks or on
# the one that hears, while a file is there.
package Proxy {
    sub start {
        my ($class, $dir, $to) = @_;
        my $self = bless { dir => $dir, address => "$dir/proxy.sock",
            owner => $$ }, $class;
        my $listen = IO::Socket::UNIX->new(Local => $self->{address},
            Listen => 16) or die "proxy: $!";
        $self->{pid} = fork // die "fork: $!";
        if (!$self->{pid}) {
            $self->serve($listen, $to);
            POSIX::_exit(0);
        }
        return $self;
    }

    sub serve {
        my ($self, $listen, $to) = @_;
        my (%peer, %kind);
        my $select = IO::Select->new($listen);
        while (1) {
            for my $from ($select->can_read(0.02)) {
                next if !defined fileno $from; # its peer has closed both
                if ($from == $listen) {
                    my $client = $listen->accept;
                    my $server = IO::Socket::UNIX->new($to) or next;
                    ($peer{$client}, $peer{$server}) = ($server, $client);
                    $kind{$server} = 'ask';
                    $select->add($client, $server);
                    next;
                }
                my $held = $kind{$from} && -e "$self->{dir}/$kind{$from}";
                next if $held;
                my $n = sysread $from, my $bytes, 65536;
                if (!$n) {
                    $select->remove($from, $peer{$from});
                    $peer{$from}->close;
                    $from->close;
                    next;
                }
                $kind{ $peer{$from} } = 'hear'
                    if !$kind{$from} && $bytes =~ /SUBSCRIBE/;
                syswrite $peer{$from}, $bytes;
            }
        }
    }

    sub hold {
        my ($self, $kind) = @_;
        open my $out, '>', "$self->{dir}/$kind" or die $!;
    }

    sub release { my ($self, $kind) = @_; unlink "$self->{dir}/$kind" }

    sub DESTROY {
        my ($self) = @_;
        return if $self->{owner} != $$;
        kill 'KILL', $self->{pid};
        local $?;
        waitpid $self->{pid}, 0;
    }
}

my $dir = File::Temp->newdir('cxpXXXXXX', TMPDIR => 1);
$edge = CardxTest::Edge->new(cache => '1m', no_start => 1, server => $updates,
    redis_address => "unix:$dir/proxy.sock",
    redis_options => 'timeout=10s connect_timeout=10s');
my $proxy = Proxy->start("$dir", $edge->{socket});
$edge->start_nginx;
ok($edge->await_cache, 'through a proxy');

$card = $edge->card(body => '{"old":1}');
$key = $edge->key($card);
$name = "cardx:card:{$card}";

$proxy->hold('ask');
my $socket = $edge->connect;
print $socket CardxTest::Edge::request_text('GET', "/c/$card?k=$key", {});
await(sub {
    my ($calls) = $edge->redis('INFO', 'commandstats') =~ /cmdstat_hmget:calls=(\d+)/;
    $calls;
}) or die 'not asked';
$edge->redis('HSET', $name, 'b:', '{"new":1}', 'v', 2);
is($edge->forget($name), 1, 'forgotten while an answer is on its way');
$proxy->release('ask');
is(CardxTest::Edge::read_response($socket, 'GET')->{body}, '{"old":1}',
    'who asked before gets it');
is($edge->get("/c/$card?k=$key")->{body}, '{"new":1}', 'who asks after does not')
    for 1 .. 2;

# the same with a head: when it is asked for alone, and with the token
for my $how ('a head', 'a head with its token') {
    $user = $edge->token;
    %user = (Authorization => "Bearer $user->{token}");
    $head = "cardx:head:{$user->{user_id}}";
    since(742) if $how eq 'a head';
    $edge->redis('SET', $head, "$epoch.742 750");

    my $monitor = IO::Socket::UNIX->new($edge->{socket}) or die "redis: $!";
    print $monitor "MONITOR\r\n";
    readline $monitor;

    $proxy->hold('ask');
    $socket = $edge->connect;
    print $socket CardxTest::Edge::request_text('GET',
        "/v1/updates?since=$epoch.742", \%user);
    while (my $line = readline $monitor) {
        last if $line =~ /"M?GET".*\Q$head\E/;
    }
    close $monitor;
    $edge->redis('DEL', $head);
    is($edge->forget($head), 1, "$how: dropped while an answer is on its way");
    $proxy->release('ask');
    is(CardxTest::Edge::read_response($socket, 'GET')->{status}, 204,
        'who asked before hears of nothing');
    is(since(742), '299 miss', 'who asks after asks a worker') for 1 .. 2;
}

# half open: nothing is heard, though all that is said arrives
is($edge->said("/c/$card?k=$key"), 'cached', 'cached');
$proxy->hold('hear');
$edge->redis('HSET', $name, 'b:', '{"newer":1}', 'v', 3);
is($edge->forget($name), 0, 'nothing is acknowledged that was not heard');
is($edge->get("/c/$card?k=$key")->{body}, '{"newer":1}',
    'and what is not heard has ended with the lease');
is($edge->said("/c/$card?k=$key"), 'hit', 'nothing is kept meanwhile');
$proxy->release('hear');
ok($edge->await_cache, 'heard again');
$edge->finish;

# --- configuration -----------------------------------------------------------

for my $case (
    ['cardx_cache zone=c:512k;', qr/takes 1m/],
    ['cardx_cache zone=c;', qr/zero size shared memory zone/],
    ['cardx_cache zone=:4m;', qr/invalid parameter/],
    ['cardx_cache c:4m;', qr/invalid parameter/],
    ['cardx_cache zone=c:x;', qr/invalid parameter/],
    ["cardx_cache zone=c:4m;\n    server { listen 127.0.0.1:1;"
        . ' location /t/ { cardx_redis 127.0.0.1:2; cardx_thumbnail on; } }',
        qr/used with two "cardx_redis"/],
) {
    my ($text, $expected) = @$case;
    my $bad = CardxTest::Edge->new(no_start => 1, redis_started => 0,
        http => $text);
    my ($output, $good) = $bad->test_conf;
    ok(!$good, "refused: $text");
    like($output, $expected, 'and why');
}

# of another size: another zone, beside the old one until that has ended
$edge = CardxTest::Edge->new(workers => 2, cache => '4m');
ok($edge->await_cache, 'a cache');
$edge->{cache} = '8m';
$edge->write_conf;
ok($edge->reload, 'its size is changed');
ok($edge->await_cache, 'it goes on');
is($edge->forget('*'), scalar keys %{ { lease() } }, 'all that there are hear');
ok(await(sub { keys %{ { lease() } } == 1 && $edge->forget('*') == 1 }),
    'in the end it is one');

# what it holds comes from another Redis
$edge->{redis_options} = 'db=3';
$edge->{expect_log} = qr/was used with another "cardx_redis"/;
$edge->write_conf;
kill 'HUP', $edge->{nginx_pid};
ok(await(sub { $edge->error_log =~ /was used with another "cardx_redis"/ }),
    'another Redis is refused');
ok($edge->await_cache, 'and the old one goes on');
$edge->finish;

my $none = CardxTest::Edge->new(http => 'cardx_cache off;');
my $thumbnail = '/t/' . $none->thumbnail('x');
is($none->get($thumbnail)->{status}, 200, 'off') for 1 .. 2;
is($none->metric('cardx_edge_cache_stores_total'), 0, 'nothing is kept');
$none->finish;

done_testing;
