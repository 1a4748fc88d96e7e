#!/usr/bin/perl

# cardx_calls: of one caller so many calls are with workers at a time, and the
# others wait for these.  The test is the worker: it takes what nginx passes
# on, and answers when it likes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest::Edge;
use CardxTest::H2;

my $worker = IO::Socket::INET->new(Listen => 200, LocalAddr => '127.0.0.1')
    or die "listen: $!";

my $edge = CardxTest::Edge->new(
    expect_log => qr/exited on signal 9/,
    http => "    cardx_calls user=3 network=2 waiting=4;\n",
    server => <<'END' =~ s/_PORT_/$worker->sockport/ger);
        proxy_set_header User $cardx_user_id;

        location /call/ {
            cardx_auth on;
            proxy_pass http://127.0.0.1:_PORT_;
        }
        location /open/ {
            proxy_pass http://127.0.0.1:_PORT_;
        }
        location /free/ {
            cardx_calls off;
            cardx_auth on;
            proxy_pass http://127.0.0.1:_PORT_;
        }
        location /slow/ {
            cardx_calls pool=slow user=2 network=2;
            cardx_auth on;
            proxy_pass http://127.0.0.1:_PORT_;
        }
        location /brief/ {
            cardx_calls user=3 network=2 timeout=100ms;
            cardx_auth on;
            proxy_pass http://127.0.0.1:_PORT_;
        }
        location /again/ {
            cardx_calls user=1 network=1;
            cardx_auth on;
            proxy_pass http://127.0.0.1:_PORT_;
            proxy_intercept_errors on;
            error_page 404 = @again;
        }
        location @again {
            cardx_calls user=1 network=1;
            proxy_pass http://127.0.0.1:_PORT_;
        }
        location /single/ {
            cardx_calls user=1 network=1;
            cardx_auth on;
            proxy_pass http://127.0.0.1:_PORT_;
        }
        location /broken/ {
            cardx_auth on;
            proxy_pass http://127.0.0.1:_PORT_;
            error_page 400 /broken/page;
        }
        location /linger/ {
            cardx_auth on;
            proxy_pass http://127.0.0.1:_PORT_;
            lingering_timeout 60s;
            lingering_time 60s;
        }
        location /file/ {
            internal;
            alias ./;
        }
        location = /v1/updates {
            cardx_auth on;
            cardx_updates on;
            cardx_fallback @call;
        }
        location @call {
            proxy_pass http://127.0.0.1:_PORT_;
        }
END

# --- clients, and the worker -----------------------------------------------

# One call on a connection of its own; without a token it is anybody's.
sub call {
    my ($path, $token, %o) = @_;
    my $socket = $edge->connect or die "connect: $!";
    print $socket CardxTest::Edge::request_text($o{method} || 'GET', $path,
        { Connection => 'close',
            ($token ? (Authorization => "Bearer $token->{token}") : ()),
            %{ $o{headers} || {} } }, $o{body});
    return $socket;
}

sub answer_of {
    my ($socket) = @_;
    my $r = CardxTest::Edge::read_response($socket, 'GET');
    return $r ? $r->{status} : 'none';
}

# The next call that the worker is given.
sub take {
    IO::Select->new($worker)->can_read(20) or die 'no call came';
    my $socket = $worker->accept or die "accept: $!";
    my $text = '';
    while ($text !~ /\r\n\r\n/) {
        sysread $socket, $text, 65536, length $text or die 'no head';
    }
    my ($path) = $text =~ m{^\w+ (\S+)};
    my ($user) = $text =~ /^User: (\S+)/m;
    return { socket => $socket, path => $path, user => $user };
}

# Whether it is given none; a wrong one shows if it comes soon.
sub none { return !IO::Select->new($worker)->can_read(0.1) }

sub reply {
    my ($call, $status, $body, $header) = @_;
    $body //= 'done';
    my $socket = $call->{socket};
    print $socket "HTTP/1.0 $status X\r\nContent-Length: "
        . length($body) . "\r\n" . ($header // '') . "\r\n$body";
    close $socket;
}

sub waited { return $edge->metric('cardx_edge_calls_waited_total') }
sub refused { return $edge->metric('cardx_edge_calls_refused_total') }

# Runs something that makes so many calls wait, until they do.
sub makes_wait {
    my ($n, $what) = @_;
    my $before = waited();
    my @made = $what->();
    CardxTest::Edge::await(sub { waited() == $before + $n })
        or die 'waited: ' . (waited() - $before) . " of $n";
    return @made;
}

my ($anna, $ben) = map { $edge->token } 1 .. 2;

# --- in turn ---------------------------------------------------------------

my @clients = map { call("/call/$_", $anna) } 1 .. 3;
my @taken = map { take() } 1 .. 3;
is(join(' ', sort map { $_->{path} } @taken), '/call/1 /call/2 /call/3',
    'three calls of a user are passed on');
push @clients, makes_wait(1, sub { call("/call/$_", $anna) }) for 4 .. 6;
ok(none(), 'three more wait');

my $other = call('/call/other', $ben);
my $his = take();
is($his->{user}, $ben->{user_id}, 'another user does not');
my @strangers = map { call("/open/$_") } 1 .. 2;
my @theirs = map { take() } 1 .. 2;
push @strangers, makes_wait(1, sub { call('/open/3') });
ok(none(), 'who has no token is counted by address');
reply($theirs[0], 200);
push @theirs, take();
is($theirs[2]{path}, '/open/3', 'and waits like a user');
reply($_, 200) for @theirs[1, 2], $his;
is(join(' ', map { answer_of($_) } @strangers, $other), '200 200 200 200',
    'all of them are answered');

my $free = call('/free/', $anna);
reply(take(), 200);
is(answer_of($free), 200, 'where it is off nobody waits');

my @slow_pool = map { call("/slow/$_", $anna) } 1 .. 2;
my @at_slow = map { take() } 1 .. 2;
is(join(' ', sort map { $_->{path} } @at_slow), '/slow/1 /slow/2',
    'calls of another pool are counted apart');
push @slow_pool, makes_wait(1, sub { call('/slow/3', $anna) });
reply($_, 200) for @at_slow;
reply(take(), 200);
is(join(' ', map { answer_of($_) } @slow_pool), '200 200 200',
    'and wait for those of that pool');

for (4 .. 6) {
    reply(shift @taken, 200);
    push @taken, take();
    is($taken[-1]{path}, "/call/$_", "call $_ has its turn");
    ok(none(), 'and no other');
}
reply($_, 200) for @taken;
is(join(' ', map { answer_of($_) } @clients), join(' ', (200) x 6),
    'all are answered');

# --- too many, too long ----------------------------------------------------

sub fill {
    my ($token) = @_;
    my @running = map { call("/call/run$_", $token) } 1 .. 3;
    my @at_work = map { take() } 1 .. 3;
    return (\@running, \@at_work);
}

sub drain {
    my ($running, $at_work) = @_;
    reply($_, 200) for @$at_work;
    return join ' ', map { answer_of($_) } @$running;
}

my ($running, $at_work) = fill($anna);
my @waiting = makes_wait(4, sub { map { call("/call/$_", $anna) } 1 .. 4 });
is(answer_of(call('/call/5', $anna)), 429, 'four wait, the next is refused');
is(refused(), 1, 'and counted');

# one that leaves: its place in the queue is another's
close shift @waiting;
my $late;
ok(CardxTest::Edge::await(sub {
    my $before = waited();
    $late = call('/call/late', $anna);
    CardxTest::Edge::await(sub {
        waited() > $before || IO::Select->new($late)->can_read(0) });
    return waited() > $before;
}), 'who leaves makes room for who comes');

# one that leaves while a worker has it: the next one's turn
close shift @$running;
my %came = map { $_->{path} => $_ } take();
is(scalar keys %came, 1, 'the place of who leaves is taken');
ok(none(), 'by one');
shift @$at_work;
for (1 .. 3) {
    reply((@$at_work ? shift @$at_work : (values %came)[0]), 200);
    my $next = take();
    $came{ $next->{path} } = $next;
}
reply($_, 200) for grep { $_->{socket}->opened } values %came;
ok(!$came{'/call/1'}, 'a call whose client has left is not passed on');
is(join(' ', sort keys %came), '/call/2 /call/3 /call/4 /call/late',
    'but all the others');
is(join(' ', map { answer_of($_) } @$running, @waiting, $late),
    join(' ', (200) x 6), 'and answered');

($running, $at_work) = fill($anna);
my $before = refused();
is(answer_of(call('/brief/', $anna)), 503, 'who has waited for long: 503');
is(refused(), $before + 1, 'which is counted, too');
is(drain($running, $at_work), '200 200 200', 'the others are answered');
my $next = call('/call/next', $anna);
reply(take(), 200);
is(answer_of($next), 200, 'and the next one');

# --- slow clients ----------------------------------------------------------

my @slow = map {
    my $socket = call("/call/slow$_", $anna, method => 'POST',
        headers => { 'Content-Length' => 4 });
    print $socket 'ab';
    $socket;
} 1 .. 5;
$next = call('/call/next', $anna);
is(take()->{path}, '/call/next', 'bodies that come slowly hold no place')
    or die;
close $next;

print $_ 'cd' for @slow[0 .. 2];
@taken = map { take() } 1 .. 3;
makes_wait(2, sub { print $_ 'cd' for @slow[3, 4] });
reply($_, 200) for @taken;
reply($_, 200) for map { take() } 1 .. 2;
is(join(' ', map { answer_of($_) } @slow), '200 200 200 200 200',
    'and are passed on when they are here');

# more than the sockets between hold, to clients that do not read
@slow = map { call("/call/large$_", $anna) } 1 .. 3;
reply(take(), 200, 'x' x (16 << 20)) for @slow;
$next = call('/call/next', $anna);
is(take()->{path}, '/call/next', 'answers that are read slowly hold no place')
    or die;
close $next;
my $r = CardxTest::Edge::read_response($slow[0], 'GET');
is(length($r->{body}), 16 << 20, 'and are whole');
close $_ for @slow;

CardxTest::Edge::write_file($edge->dir . '/large', 'x' x (16 << 20));
@slow = map { call("/call/$_", $anna) } 1 .. 3;
reply(take(), 200, '', "X-Accel-Redirect: /file/large\r\n") for @slow;
$next = call('/call/next', $anna);
is(take()->{path}, '/call/next', 'nor do files that take their place') or die;
close $_ for $next, @slow;

# what comes behind a request is read, and thrown away, after the answer
@slow = map {
    my $socket = call("/linger/$_", $anna, method => 'HEAD');
    print $socket 'more';
    $socket;
} 1 .. 3;
reply(take(), 200) for @slow;
$next = call('/call/next', $anna);
is(take()->{path}, '/call/next', 'nor do answers that are a head only') or die;
close $_ for $next, @slow;

# --- more than one location ------------------------------------------------

my $again = call('/again/', $anna);
reply(take(), 404);
reply(take(), 200);
is(answer_of($again), 200, 'an internal redirect keeps its place');

my $broken = call('/broken/', $anna, method => 'POST',
    headers => { 'Transfer-Encoding' => 'chunked' });
print $broken "no size\r\n";
my $page = take();
is($page->{path}, '/broken/page', 'the page of a body that can not be read');
reply($page, 200);
is(answer_of($broken), 400, 'is answered');

# where fewer places are, one has to wait for more of those that run
($running, $at_work) = fill($anna);
my ($single) = makes_wait(1, sub { call('/single/', $anna) });
reply(shift @$at_work, 200) for 1 .. 2;
is(join(' ', map { answer_of(shift @$running) } 1 .. 2), '200 200',
    'two of three are done');
my @behind = makes_wait(2, sub { map { call("/call/$_", $anna) } 1 .. 2 });
ok(none(), 'nobody overtakes who waits for all three');
close $single;
@taken = map { take() } 1 .. 2;
is(join(' ', sort map { $_->{path} } @taken), '/call/1 /call/2',
    'who leaves lets all pass that can');
is(drain([@$running, @behind], [@$at_work, @taken]), '200 200 200',
    'answered');

# a token that Redis has forgotten may be one that the user has lost
my $name = "cardx:token:{$anna->{user_id}}:$anna->{name}";
my $expires = $edge->redis('GET', $name);
$edge->redis('DEL', $name);
($running, $at_work) = fill($anna);
my ($lost) = makes_wait(1, sub { call('/call/lost', $anna) });
$edge->redis('SET', $name, $expires);
$next = call('/call/next', $anna);
push @$at_work, take();
is($at_work->[-1]{user}, $anna->{user_id},
    'a token that is known waits for none that is not');
reply(shift @$at_work, 200);
push @$at_work, take();
is(drain([@$running, $next, $lost], $at_work), '200 200 200 200 200',
    'all are answered');

$edge->redis('SET', "cardx:head:{$anna->{user_id}}", 'abc 5');
($running, $at_work) = fill($anna);
my ($updates) = makes_wait(1, sub { call('/v1/updates', $anna) });
ok(none(), 'what the edge can not answer waits, too');
reply(shift @$at_work, 200);
push @$at_work, take();
is($at_work->[-1]{path}, '/v1/updates', 'for its turn');
is(drain([@$running, $updates], $at_work), '200 200 200 200', 'answered');

# --- HTTP/2 ----------------------------------------------------------------

my @h2 = map { CardxTest::H2->connect($edge) or die 'no HTTP/2' } 1 .. 2;

sub streams {
    my ($connection) = @_;
    return map { $connection->get("/call/stream$_",
        authorization => "Bearer $anna->{token}") } 1 .. 5;
}

my @streams = makes_wait(2, sub { streams($h2[0]) });
@taken = map { take() } 1 .. 3;
ok(none(), 'streams of one connection wait');
$h2[0]->reset($streams[3]);
reply($_, 200) for @taken;
my $fifth = take();
is($fifth->{path}, '/call/stream5', 'but for one that was given up');
reply($fifth, 200);
CardxTest::H2::pump(0.1, $h2[0])
    until 4 == grep { ($_->{status} || 0) == 200 && $_->{ended} } @streams;
makes_wait(2, sub { streams($h2[1]) });
@taken = map { take() } 1 .. 3;
$_->over for @h2;
($running, $at_work) = fill($anna);
is(drain($running, $at_work), '200 200 200', 'a lost connection holds nothing');

# --- faults ----------------------------------------------------------------

($running, $at_work) = fill($anna);
@waiting = makes_wait(2, sub { map { call("/call/$_", $anna) } 1 .. 2 });
kill 'KILL', $edge->workers;
is(join(' ', map { answer_of($_) } @$running, @waiting), join(' ', ('none') x 5),
    'a killed nginx worker answers nobody');
CardxTest::Edge::await(sub { $edge->workers });
$edge->await_ready;
($running, $at_work) = fill($anna);
is(drain($running, $at_work), '200 200 200', 'and has left no count behind');

($running, $at_work) = fill($anna);
@waiting = makes_wait(2, sub { map { call("/call/$_", $anna) } 1 .. 2 });
my ($old) = $edge->workers;
kill 'HUP', $edge->{nginx_pid};
CardxTest::Edge::await(sub { (grep { $_ != $old } $edge->workers) })
    or die 'no reload';
is(drain($running, $at_work), '200 200 200', 'reload: what ran is answered');
reply($_, 200) for map { take() } 1 .. 2;
is(join(' ', map { answer_of($_) } @waiting), '200 200', 'and what waited');
ok(CardxTest::Edge::await(sub { !grep { $_ == $old } $edge->workers }),
    'and then the old worker ends');

$edge->await_ready;
$edge->stop_redis;
($running, $at_work) = fill($anna);
ok(!defined $at_work->[0]{user}, 'without Redis the token is the worker\'s');
@waiting = makes_wait(1, sub { call('/call/more', $anna) });
$other = call('/call/other', $ben);
is(take()->{path}, '/call/other', 'but it says whose turn it is');
reply(shift @$at_work, 200);
push @$at_work, take();
is(drain([@$running, @waiting], $at_work), '200 200 200 200',
    'and all are answered');

$edge->finish;
done_testing;
