# What the edge does when Redis is slow, wrong, or gone, when clients leave,
# and when nginx itself is reloaded or told to quit.

use strict;
use warnings;

use FindBin ();
use lib "$FindBin::Bin/lib";

use CardxTest::Edge ();
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;
use Time::HiRes qw(time sleep);

my $body = '{"note":"' . 'x' x 2000 . '"}';

sub ask {
    my ($edge, $path) = @_;
    my $socket = $edge->connect;
    print $socket CardxTest::Edge::request_text('GET', $path, {});
    return $socket;
}

sub status_of { return CardxTest::Edge::read_response($_[0], 'GET')->{status} }

# closes with a reset, so that nginx hears of it at once
sub hang_up {
    my ($socket) = @_;
    setsockopt $socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
    close $socket;
}

# --- a Redis that misbehaves ---------------------------------------------------

{
    my $edge = CardxTest::Edge->new(fake => 1,
        redis_options => 'timeout=1s connect_timeout=2s',
        server => "        location /page { ssi on; ssi_types *; }\n");
    my $fake = $edge->{fake_redis};
    my $card = $edge->card(body => $body);
    my $key = $edge->key($card);
    my $thumbnail = $edge->thumbnail('webp');
    my $token = $edge->token;
    my %bearer = (Authorization => "Bearer $token->{token}");
    my $path = "/c/$card?k=$key";

    is($edge->get($path)->{body}, $body, 'the fake works');
    is($edge->get('/v1/x', \%bearer)->{headers}{'cardx-user'},
        $token->{user_id}, 'for tokens too');

    $fake->mode('split');
    is($edge->get("/t/$thumbnail")->{body}, 'webp', 'byte by byte');
    is($edge->get("/q/$key")->{status}, 302, 'byte by byte: redirect');

    for my $mode (qw(error loading moved integers close half nested long
        garbage)) {
        $fake->mode($mode);
        is($edge->get($path)->{status}, 299, "$mode: a card falls back");
        $fake->mode('good');
        ok(CardxTest::Edge::await(sub {
            $edge->get($path)->{status} == 200 }), "$mode: overcome");
        $fake->mode($mode);
        is($edge->get("/t/$thumbnail")->{status}, 299,
            "$mode: a thumbnail falls back");
        $fake->mode('good');
        ok(CardxTest::Edge::await(sub {
            $edge->get($path)->{status} == 200 }), "$mode: overcome");
        $fake->mode($mode);
        my $r = $edge->get('/v1/x', \%bearer);
        is($r->{status}, 200, "$mode: a token passes");
        is($r->{headers}{'cardx-user'}, undef, "$mode: as nobody");
        $fake->mode('good');
        ok(CardxTest::Edge::await(sub {
            $edge->get($path)->{status} == 200 }), "$mode: overcome");
    }

    $fake->mode('unasked');
    is($edge->get($path)->{status}, 200, 'unasked: the right answer is given');
    $fake->mode('good');
    ok(CardxTest::Edge::await(sub { $edge->get($path)->{status} == 200 }),
        'unasked: overcome');

    # a stall: the first wait, the others fall back at once, and the link is
    # given up after connect_timeout
    my $timeouts = $edge->metric('cardx_edge_redis_timeouts_total');
    my $lost = $edge->metric('cardx_edge_redis_disconnects_total');
    $fake->mode('stall');
    my $begin = time;
    is($edge->get($path)->{status}, 299, 'stall: falls back');
    cmp_ok(time - $begin, '>', 0.9, 'stall: after the timeout');
    $begin = time;
    is($edge->get($path)->{status}, 299, 'stall: so does the next');
    cmp_ok(time - $begin, '<', 0.9, 'stall: at once');
    is($edge->metric('cardx_edge_redis_timeouts_total'), $timeouts + 1,
        'stall: one timeout counted');
    ok(CardxTest::Edge::await(sub {
        $edge->metric('cardx_edge_redis_disconnects_total') > $lost }),
        'stall: the link is given up');
    $fake->mode('good');
    ok(CardxTest::Edge::await(sub { $edge->get($path)->{status} == 200 }),
        'stall: overcome');

    # late replies: to requests that went on, and that are gone
    my $late = $edge->card(body => '{"late":true}');
    my $late_key = $edge->key($late);
    $edge->{fake_redis}->mode('stall');
    my @sockets = map { ask($edge, $path) } 1 .. 20;
    my @gone = map { ask($edge, "/c/$late?k=$late_key") } 1 .. 20;
    my $auth = $edge->connect;
    print $auth CardxTest::Edge::request_text('POST', '/v1/x', \%bearer,
        'x' x 100);
    ok(CardxTest::Edge::await(sub {
        41 == grep { /\Q$card\E|\Q$late\E|\Q$token->{user_id}\E/ }
            splice @{[ $fake->asked ]}, -41 }), 'all have asked');
    hang_up($_) for @gone, $auth;
    is(join(' ', map { status_of($_) } @sockets), join(' ', (299) x 20),
        'all fall back');
    $fake->mode('good');
    ok(CardxTest::Edge::await(sub { $edge->get($path)->{body} eq $body }),
        'and the right replies come to the right requests afterwards');

    # the same by HTTP/2, and of a page whose subrequests wait
    mkdir $edge->dir . '/html';
    CardxTest::Edge::write_file($edge->dir . '/html/page', join '', map {
        "<!--#include virtual=\"$_\" -->" } $path, "/t/$thumbnail", $path);
    is($edge->get('/page')->{body}, "${body}webp$body", 'a page');
    $fake->mode('stall');
    my $asked = () = $fake->asked;
    my $page = ask($edge, '/page');
    my $curl = $edge->spawn('curl.out', 'curl', '-sS', '-m', '0.1',
        '--http2-prior-knowledge', "http://127.0.0.1:$edge->{h2_port}$path");
    ok(CardxTest::Edge::await(sub { $asked + 4 <= (() = $fake->asked) }),
        'all wait');
    hang_up($page);
    waitpid $curl, 0;
    isnt($?, 0, 'the other client left too');
    $fake->mode('good');
    ok(CardxTest::Edge::await(sub { $edge->get($path)->{body} eq $body }),
        'and nothing broke');

    # a request of two commands
    my $view = '0123456789abcdef';
    my $small = $edge->key($card, view => $view);
    $edge->redis('HSET', "cardx:card:{$card}", "b:$view", '{"small":1}');
    is($edge->get("/c/$card?k=$small")->{body}, '{"small":1}', 'two commands');

    # accepted, but not a word: the setup ends too
    $fake->mode('silent');
    $lost = $edge->metric('cardx_edge_redis_disconnects_total');
    ok(CardxTest::Edge::await(sub {
        $edge->metric('cardx_edge_redis_disconnects_total') > $lost + 1 }),
        'silent: given up again and again');
    is($edge->get($path)->{status}, 299, 'silent: falls back');
    $fake->mode('good');
    ok(CardxTest::Edge::await(sub { $edge->get($path)->{status} == 200 }),
        'silent: overcome');

    # quit while a request waits: it is answered
    $fake->mode('stall');
    my $before = () = $fake->asked;
    my $waiting = ask($edge, $path);
    ok(CardxTest::Edge::await(sub { $before < (() = $fake->asked) }),
        'a request waits');
    kill 'QUIT', $edge->{nginx_pid};
    is(status_of($waiting), 299, 'quit: the waiting request is answered');

    $edge->finish;
    ok($edge->error_log =~ /cardx: redis "unix:\S+" is away: no answer/,
        'what was wrong is logged');
}

# what a stream asks for first is cut short: its worker is asked
{
    my $edge = CardxTest::Edge->new(fake => 1, server => <<'END');
        location = /events {
            cardx_auth on;
            cardx_events on;
            cardx_changes /changes;
        }
        location = /changes {
            return 404;
        }
END
    my $token = $edge->token;
    $edge->{fake_redis}->mode('short');
    is($edge->get('/events', { Authorization => "Bearer $token->{token}" })
        ->{status}, 503, 'short: a stream asks its worker');
    $edge->finish;
}

# --- a Redis that comes and goes -------------------------------------------------

{
    my $edge = CardxTest::Edge->new(workers => 2,
        redis_options => 'timeout=500ms');
    my $card = $edge->card(body => $body);
    my $key = $edge->key($card);
    my $path = "/c/$card?k=$key";
    is($edge->get($path)->{status}, 200, 'there');

    $edge->redis('DEL', 'cardx:ready');
    ok(CardxTest::Edge::await(sub { $edge->get($path)->{status} == 299 }),
        'a projection that is no longer complete');
    $edge->redis('SET', 'cardx:ready', '0' x 40);
    is($edge->get($path)->{status}, 299, 'or that of another server');
    $edge->make_ready;
    $edge->await_ready;
    ok(CardxTest::Edge::await(sub { $edge->get($path)->{status} == 200 }),
        'complete again');

    $edge->stop_redis('KILL');
    my $begin = time;
    ok(CardxTest::Edge::await(sub { $edge->get($path)->{status} == 299 }),
        'killed: falls back');
    is($edge->get($path)->{status}, 299, 'killed: goes on') for 1 .. 10;
    is($edge->get("/q/$key")->{status}, 299, 'killed: redirect');
    cmp_ok(time - $begin, '<', 0.5, 'killed: nobody waits');
    my $token = $edge->token(store => 0);
    is($edge->get('/v1/x', { Authorization => "Bearer $token->{token}" })
        ->{status}, 200, 'killed: tokens pass');
    is($edge->get('/v1/x')->{status}, 401, 'killed: without token nobody does');

    $edge->{not_ready} = 1;
    $edge->start_redis;
    my $again = $edge->card(body => $body);
    my $again_key = $edge->key($again);
    ok(CardxTest::Edge::await(sub {
        $edge->redis('CLIENT', 'LIST') =~ /name=\S* .*cmd=get/ }), 'connected');
    is($edge->get("/c/$again?k=$again_key")->{status}, 299,
        'a new server is not trusted before its projection is complete');
    $edge->make_ready;
    $edge->await_ready;
    # each of nginx's workers finds out by itself
    ok(CardxTest::Edge::await(sub {
        $edge->get("/c/$again?k=$again_key")->{status} == 200 }), 'then it is');

    # a frozen server
    kill 'STOP', $edge->{redis_pid};
    $begin = time;
    my @statuses = map { $edge->get($path)->{status} } 1 .. 20;
    is("@statuses", join(' ', (299) x 20), 'frozen: falls back');
    cmp_ok(time - $begin, '<', 5, 'frozen: only the first wait');
    kill 'CONT', $edge->{redis_pid};
    $edge->await_ready;
    ok(CardxTest::Edge::await(sub {
        $edge->get("/c/$again?k=$again_key")->{status} == 200 }), 'thawed');

    # FLUSHALL: everything is a miss, and nothing breaks
    $edge->redis('FLUSHALL');
    is($edge->get("/c/$again?k=$again_key")->{status}, 299, 'flushed');

    $edge->finish;
}

# --- reload and quit under load ----------------------------------------------------

{
    my $edge = CardxTest::Edge->new(workers => 2);
    my $card = $edge->card(body => $body);
    my $key = $edge->key($card);

    my $child = fork // die "fork: $!";
    if (!$child) {
        my ($good, $bad) = (0, 0);
        local $SIG{TERM} = sub { POSIX::_exit($bad ? 1 : $good > 50 ? 0 : 2) };
        while (1) {
            my $r = eval { $edge->get("/c/$card?k=$key") };

            # a worker that has just begun falls back until it is connected
            $r && $r->{status} =~ /^(?:200|299)$/ ? $good++ : $bad++;
        }
    }

    ok($edge->reload, "reload $_") for 1 .. 3;
    ok(CardxTest::Edge::await(sub {
        ($edge->redis('INFO', 'clients') =~ /connected_clients:(\d+)/)[0] <= 3
    }), 'links of old workers are closed');
    kill 'TERM', $child;
    waitpid $child, 0;
    is($?, 0, 'no request failed');
    $edge->finish;

    my $fast = CardxTest::Edge->new(fake => 1);
    my $slow = $fast->card(body => $body);
    my $slow_key = $fast->key($slow);
    $fast->{fake_redis}->mode('stall');
    my @sockets = map { ask($fast, "/c/$slow?k=$slow_key") } 1 .. 5;
    ok(CardxTest::Edge::await(sub {
        5 == grep { /\Q$slow\E/ } $fast->{fake_redis}->asked }), 'waiting');
    is($fast->stop_nginx('TERM'), 0, 'a fast shutdown while requests wait');
    $fast->finish;
}

# --- one process, no master ----------------------------------------------------------

{
    my $edge = CardxTest::Edge->new(master => 'off');
    my $card = $edge->card(body => $body);
    my $key = $edge->key($card);
    is($edge->get("/c/$card?k=$key")->{status}, 200, 'single process');
    $edge->finish;
}

# --- no worker to fall back to ---------------------------------------------------------

{
    my $edge = CardxTest::Edge->new(fallback => 0, redis_started => 0);
    my $card = $edge->id('c');
    my ($key) = $edge->new_key;
    for my $path ("/c/$card?k=$key", "/q/$key", '/t/' . $edge->id('t'),
        "/c/$card/photo?k=$key") {
        my $r = $edge->get($path);
        is($r->{status}, 503, '503 for ' . substr $path, 0, 3);
        is($r->{headers}{'content-type'}, 'application/problem+json', 'type');
        is($r->{headers}{'retry-after'}, 1, 'Retry-After');
        like($r->{body}, qr/"code":"unavailable"/, 'code');
    }
    is($edge->get("/c/x?k=$key")->{status}, 404, 'malformed is still refused');
    $edge->finish;
}

# --- signing in to Redis ------------------------------------------------------------------

{
    my $edge = CardxTest::Edge->new(no_start => 1, redis_started => 0,
        redis_options => 'db=3 password_file=redis.password');
    CardxTest::Edge::write_file($edge->dir . '/redis.password', "s3cret x\n");
    push @{ $edge->{secrets} }, 's3cret';
    $edge->{redis_arguments} = ['--requirepass', 's3cret x'];
    $edge->{not_ready} = 1;
    $edge->{redis_pid} = $edge->spawn('redis.out', 'redis-server', '--port', 0,
        '--unixsocket', $edge->{socket}, '--save', '', '--requirepass',
        's3cret x');
    ok(CardxTest::Edge::await(sub {
        eval { $edge->redis('AUTH', 's3cret x') } }), 'redis with a password');
    $edge->redis('SELECT', 3);
    $edge->make_ready;
    my $card = $edge->card(body => $body);
    my $key = $edge->key($card);
    $edge->start_nginx;
    $edge->await_ready;
    ok(CardxTest::Edge::await(sub {
        $edge->get("/c/$card?k=$key")->{status} == 200 }), 'password and db');

    CardxTest::Edge::write_file($edge->dir . '/redis.password', "wrong\n");
    ok($edge->reload, 'with a wrong password');
    is($edge->get("/c/$card?k=$key")->{status}, 299, 'it falls back');
    ok(CardxTest::Edge::await(sub { $edge->error_log =~
        /cardx: redis "\S+" is away: WRONGPASS/ }), 'and says why');
    $edge->finish;
}

# --- over TCP -----------------------------------------------------------------------------

{
    my $port = CardxTest::Edge::free_port();
    my $edge = CardxTest::Edge->new(no_start => 1, redis_arguments =>
        ['--port', $port, '--bind', '127.0.0.1'],
        redis_address => "localhost:$port");
    my $card = $edge->card(body => $body);
    my $key = $edge->key($card);
    $edge->start_nginx;
    is($edge->get("/c/$card?k=$key")->{status}, 200, 'TCP, a host by name');
    $edge->finish;
}

done_testing;
