#!/usr/bin/perl
# What a real Redis may say or do: full, read-only, loading, without scripts,
# with another password, back from an old dump, replaced by its replica.  What
# is answered stays right, what was denied stays denied, nothing that was
# answered is lost, and the projection comes back by itself.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;
use CardxTest::Events;

my $PATIENCE = 60;

my $t = CardxTest->new->start;
my ($anna, $bela) = map { $t->register("+861380000010$_") } 1, 2;
my %anna = (token => $anna->{access_token});
my %bela = (token => $bela->{access_token});
my $title = 0;
my $config = "$t->{var}/redis-faults.conf";

sub body { return { '@type' => 'Card', version => '1.0',
    name => { full => 'Anna' }, titles => { t => { name => "Title $_[0]" } } } }

my $card = $t->post('/v1/cards', body(0), \%anna)->{json}{card_id};

sub key { $t->key(\%anna, $card) }

my $key = key();
my $r = $t->post('/v1/contacts', { card_id => $card, key => $key->{key} },
    \%bela);
my $contact = $r->{json}{contact_id};
my @denied; # what opens what must not open any more
my $stream = CardxTest::Events->open($t, %bela);

# --- what holds at any time --------------------------------------------------

sub fetched { $t->get("/c/$card", undef, { key => $_[0] }) }

# The card as it was answered last, and nothing of what was denied.
sub all_right {
    my ($what) = @_;
    my $r = fetched($key->{key});
    is($r->{json} && $r->{json}{titles}{t}{name}, "Title $title",
        "$what: the card as it is") or diag("$r->{status} $r->{body}");
    is($t->get("/q/$key->{key}")->{status}, 302, "$what: and its link");
    is($t->get('/v1/me', undef, \%anna)->{status}, 200, "$what: a token");
    is($_->[1]->(), $_->[2], "$what: still denied: $_->[0]") for @denied;
}

# All that there is to know at the moment.
sub last_token {
    my ($who) = @_;
    my $r = $t->get('/v1/updates', undef, $who);
    $r = $t->get("/v1/updates?since=$r->{json}{token}", undef, $who)
        while $r->{json}{more};
    return $r->{json}{token};
}

# A change that is answered is read, and no "nothing new" hides it.
sub changes {
    my ($what) = @_;
    my $since = last_token(\%anna);
    my $r = $t->patch("/v1/cards/$card", { titles => { t => { name => 'Title '
        . ++$title } } }, \%anna);
    ok($r->{status} == 200 || $r->{json}{code} eq 'not_yet_in_force',
        "$what: changed, $r->{status}") or diag($r->{body});
    my $told = $r->{status} == 200;
    $t->wait_for(sub { fetched($key->{key})->{body} =~ /"Title $title"/ })
        unless $told;
    like(fetched($key->{key})->{body}, qr/"Title $title"/,
        "$what: and read as it is now");
    is($t->get("/v1/updates?since=$since", undef, \%anna)->{status}, 200,
        "$what: and nothing hides it from who asks");
    my $new = key();
    is(fetched($new->{key})->{status}, 200, "$what: which opens");
    return $new;
}

# A denial: what its first answer is, or one of those.  After a 204 it holds;
# after a 503 it is committed, and holds by and by.
sub denies {
    my ($what, $wanted, $new) = @_;
    my $second = $t->sign_in($anna->{phone}, $anna->{initial_password});
    my @calls = (
        [ 'a key', "/v1/cards/$card/keys/$new->{key_id}",
            sub { fetched($new->{key})->{status} }, 404 ],
        [ 'a terminal', "/v1/me/terminals/$second->{terminal_id}",
            sub { $t->get('/v1/me', undef,
                { token => $second->{access_token} })->{status} }, 401 ]);
    for (@calls) {
        my ($name, $path, $sees, $status) = @$_;
        my $r = $t->delete($path, undef, \%anna);
        my $said = $r->{status} . ($r->{json} ? " $r->{json}{code}" : '');
        like($said, $wanted, "$what: $name is denied: $said");
        $t->wait_for(sub { $sees->() == $status }) if $r->{status} != 204;
        is($sees->(), $status, "$what: and stays out");
        push @denied, [ "$name, $what", $sees, $status ];
        push @{ $_ }, $r->{status} == 204;
    }
    return grep { !$_->[4] } @calls;
}

# Redis answers from a whole projection of its own again.
sub from_redis {
    my $name = "cardx:card:{$card}";
    my $body = eval { $t->redis('HGET', $name, 'b:') } // return 0;
    $t->redis('HSET', $name, 'b:', '{"from":"Redis"}');
    my $r = fetched($key->{key});
    $t->redis('HSET', $name, 'b:', $body);
    return $r->{body} =~ /from/;
}

# What was not in force is, asked for again; everything was told.
sub comes_back {
    my ($what, @unsure) = @_;
    my $good = $t->wait_for(sub { eval { from_redis() } }, $PATIENCE);
    ok($good, "$what: from Redis again");
    for (@unsure) {
        my ($name, $path) = @$_;
        my $r;
        $t->wait_for(sub { $r = $t->delete($path, undef, \%anna);
            $r->{status} != 503 }, $PATIENCE);
        like($r->{status}, qr/^(?:204|404)$/, "$what: $name is in force");
    }
    my $seen = $stream->{seen} // 0;
    ok($stream->follow(sub {
        my $n = grep { $_->{json}{kind} eq 'contact' } @_;
        return if $n <= $seen;
        $stream->{seen} = $n;
        return $t->get("/v1/contacts/$contact", undef, \%bela)
            ->{json}{card}{titles}{t}{name} eq "Title $title";
    }, $PATIENCE), "$what: the stream has told of it");
    ok($t->outbox_empty($PATIENCE), "$what: nothing is left to do");
    all_right("$what, over");
}

# A fault from its begin to its end.
sub fault {
    my ($what, $wanted, $begin, $end) = @_;
    subtest $what => sub {
        my $spare = key();
        $begin->();
        all_right($what);
        my $new = changes($what);
        my @unsure = denies($what, $wanted, $new);
        push @unsure, denies("$what, drawn before", $wanted, $spare);
        all_right($what);
        $end->();
        comes_back($what, @unsure);
    };
}

# A Redis with other options, or on other ports, at its place or another.
sub redis_up {
    my ($name, @options) = @_;
    my $at = $name eq 'redis' ? "$t->{var}/run/redis.sock"
        : "$t->{var}/run/$name.sock";
    my $output = CardxTest::capture('redis-server',
        "$CardxTest::ROOT/conf/redis.conf", '--port', 0, '--unixsocket', $at,
        '--unixsocketperm', 777, '--daemonize', 'yes', '--dir',
        "$t->{var}/redis", '--pidfile', "$t->{pids}/$name.pid", '--logfile',
        "$t->{var}/log/$name.log", @options);
    $t->wait_for(sub { $t->is_process('redis', $t->pid($name) // 0) && -S $at })
        or die "no $name: $output";
    return $at;
}

sub down {
    $t->kill9('redis');
    unlink "$t->{pids}/redis.pid";
}

# One command to a Redis at a socket of its own.
sub said_at {
    my ($at, @command) = @_;
    local $t->{redis} = $at;
    local $t->{redis_socket};
    return eval { $t->redis_command(@command) } // "failed: $@";
}

my $in_force = qr/^204$/;
my $maybe = qr/^(?:204|503 not_yet_in_force)$/;
my $not_yet = qr/^503 not_yet_in_force$/;
my $dump = "$t->{var}/redis/dump.rdb";

fault('as it should be', $in_force, sub { }, sub { });

fault('scripts are flushed', $in_force, sub { $t->redis('SCRIPT', 'FLUSH') },
    sub { });

# What is in memory is answered, and denied, though nothing new has a place.
# Caches can't renew their leases, which end within a second.
fault('full', $in_force, sub {
    $t->redis('CONFIG', 'SET', 'maxmemory', 1);
    like(said_at($t->{redis}, 'SET', 'x', 1), qr/OOM/, 'nothing can be added');
    sleep 1.2;
    ok(from_redis_full(), 'Redis answers what it has');
    is($t->ops('GET', '/healthz')->{status}, 200, 'healthy');
}, sub { $t->redis('CONFIG', 'SET', 'maxmemory', 0) });

# from_redis() writes; here a field is only taken away, and given back.
sub from_redis_full {
    my $before = counted('hit');
    fetched($key->{key}) for 1 .. 3;
    return counted('hit') >= $before + 3;
}

sub counted { $t->answered('card', $_[0]) }

fault('read-only', $not_yet, sub {
    $t->redis('REPLICAOF', '127.0.0.1', CardxTest::free_port());
    like(said_at($t->{redis}, 'SET', 'x', 1), qr/READONLY/, 'a replica');
    like($t->redis('GET', 'cardx:ready'), qr/^\w{40}$/,
        'that has been complete');
    $t->wait_for(sub { my $n = counted('hit'); fetched($key->{key});
        counted('hit') == $n });
    is($t->ops('GET', '/healthz')->{status}, 503, 'not healthy');
}, sub { $t->redis('REPLICAOF', 'NO', 'ONE') });

fault('another password', $not_yet, sub {
    $t->redis('CONFIG', 'SET', 'requirepass', 'another');
    $t->redis('AUTH', 'another');
    $t->redis('CLIENT', 'KILL', 'TYPE', $_, 'SKIPME', 'yes')
        for qw(normal pubsub);
}, sub { $t->redis('CONFIG', 'SET', 'requirepass', '') });

# --- a dump ------------------------------------------------------------------

# Some thousand names, each of which takes its time.
$t->redis('SET', "filling:$_", 'x' x 1000) for 1 .. 3000;
$t->redis('SAVE');
fault('loading', $not_yet, sub {
    down();
    redis_up('redis', '--key-load-delay', 10000,
        '--loading-process-events-interval-bytes', 1024);
    like(said_at($t->{redis}, 'GET', 'cardx:ready'), qr/LOADING/, 'it loads');
}, sub {
    like(said_at($t->{redis}, 'GET', 'cardx:ready'), qr/LOADING/, 'all along');
    $t->redis('CONFIG', 'SET', 'key-load-delay', 0);
});
is(said_at($t->{redis}, 'EXISTS', 'filling:1'), 0, 'the old is gone');

# The dump from before all this: its keys are revoked, its heads outdated.
$t->redis('SAVE');
fault('back from an old dump', $maybe, sub {
    changes('after the dump');
    denies('after the dump', $in_force, key());
    down();
    redis_up('redis');
    ok(said_at($t->{redis}, 'EXISTS', 'cardx:ready'), 'it says it is complete');
}, sub { unlink $dump });

# --- a replica that takes over -----------------------------------------------

my $port = CardxTest::free_port();
my $replica;
fault('a replica takes over', $maybe, sub {
    down();
    my $other = CardxTest::free_port();
    redis_up('redis', '--port', $other, '--bind', '127.0.0.1');
    $t->wait_for(sub { from_redis() }, $PATIENCE);
    $replica = redis_up('replica', '--port', $port, '--bind', '127.0.0.1',
        '--replicaof', "127.0.0.1 $other", '--dbfilename', 'replica.rdb');
    ok($t->wait_for(sub { said_at($replica, 'INFO', 'replication')
        =~ /master_link_status:up/ }), 'it follows');
    denies('before', $in_force, key());
    down();
    rename "$t->{pids}/replica.pid", "$t->{pids}/redis.pid" or die $!;
    is(said_at($replica, 'REPLICAOF', 'NO', 'ONE'), 'OK', 'it is one itself');
    rename $replica, $t->{redis} or die "$replica: $!";
    ok(said_at($t->{redis}, 'EXISTS', 'cardx:ready'), 'with all it has heard');
}, sub { });

like($t->read_log('cardxd.log'), qr/Redis: refuses: OOM/,
    'what Redis refuses is told');
my $lines = () = $t->read_log('cardxd.log') =~ /Redis: refuses/g;
cmp_ok($lines, '<', 100, 'and not at every try');
$stream->close;
$t->finish;
done_testing;
