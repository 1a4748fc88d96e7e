#!/usr/bin/perl
# Streams that meet trouble: by HTTP/2, reset by their client, a thousand of
# them through a reload and a killed worker, with a client that does not read,
# with a Last-Event-ID that means harm; and who waits while PostgreSQL dies.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;
use CardxTest::Events;
use CardxTest::H2;
use CardxTest::Life;

my $PATIENCE = 120;
my $STREAMS = 1000;
my $PER_CONNECTION = 60;

my $t = CardxTest->new(nginx_conf => [ [ qr/cardx_events on;/,
    'cardx_events on; cardx_heartbeat 1s; send_timeout 2s;' ] ])->start;

my @users = map { $t->register("+861380000020$_") } 0 .. 7;
my $noted = 0;

# The next change of everybody, of which only their logs know.
sub note_all {
    my $list = join ',', map { "'$_->{user_id}'" } @users;
    $noted++;
    $t->psql("select cardx.log_add(u, 'news', 'n$noted', 'put')
        from unnest(array[$list]) u");
}

sub bearer { (authorization => "Bearer $_[0]{access_token}") }

sub until_true {
    my ($code, @connections) = @_;
    my $end = time + $PATIENCE;
    while (time < $end) {
        return 1 if $code->();
        CardxTest::H2::pump(0.1, @connections);
    }
    return 0;
}

sub heard { my ($s, $n) = @_; grep { $_->{json}{id} eq "n$n" } @{ $s->{events} } }

# --- two in one connection ---------------------------------------------------

{
    my $c = CardxTest::H2->connect($t);
    my @two = map { $c->get('/v1/events', bearer($users[0])) } 1, 2;
    ok(until_true(sub { 2 == grep { $_->{id} } @two }, $c), 'two streams');
    is("$two[0]{status} $two[1]{status}", '200 200', 'in one connection');
    note_all();
    ok(until_true(sub { 2 == grep { heard($_, $noted) } @two }, $c),
        'both are told');
    $c->reset($two[0]);
    note_all();
    ok(until_true(sub { heard($two[1], $noted) }, $c),
        'one is reset by its client: the other goes on');
    is(scalar(heard($two[0], $noted)), 0, 'that one is told no more');
    my $third = $c->get('/v1/events', bearer($users[0]),
        'last-event-id', $two[0]{id});
    ok(until_true(sub { heard($third, $noted) }, $c), 'and may come back');
    my @many;
    for (1 .. 50) {
        my $s = $c->get('/v1/events', bearer($users[1]));
        CardxTest::H2::pump(0.01, $c) if $_ % 2;
        $c->reset($s);
    }
    note_all();
    ok(until_true(sub { heard($third, $noted) }, $c), 'fifty are reset at once');
    ok(!$c->{goaway}, 'on a connection that stays');
    is(scalar(heard($two[1], $noted)), 1, 'each change is told once');
    $c->over;
}

# --- a client that does not read ---------------------------------------------

{
    my ($slow, $good) = (CardxTest::H2->connect($t, window => 400),
        CardxTest::H2->connect($t));
    my @slow = map { $slow->get('/v1/events', bearer($users[2])) } 1 .. 40;
    my $reads = $good->get('/v1/events', bearer($users[2]));
    until_true(sub { 41 == grep { $_->{id} } @slow, $reads }, $slow, $good);
    my @before = map { CardxTest::Life::memory($_)->{dirty} }
        CardxTest::Life::workers($t->pid('nginx'));
    my $n = 0;
    until_true(sub {
        $t->psql("do \$\$ begin for i in 1 .. 300 loop perform cardx.log_add(
            '$users[2]{user_id}', 'share', 's' || i, 'put'); commit;
            end loop; end \$\$");
        $t->psql("select cardx.log_add('$users[2]{user_id}', 'news',
            'round" . ++$n . "', 'put')");
        until_true(sub { grep { $_->{json}{id} eq "round$n" }
            @{ $reads->{events} } }, $slow, $good);
        40 == grep { $_->{ended} } @slow;
    }, $slow, $good);
    is(scalar(grep { $_->{ended} } @slow), 40, 'who does not read is let go');
    ok(!$reads->{ended}, 'who reads is not');
    my %ids;
    $ids{ $_->{json}{id} }++ for @{ $reads->{events} };
    is(scalar(grep { /^s\d/ } keys %ids), 300, 'and is told everything');
    my @after = map { CardxTest::Life::memory($_)->{dirty} }
        CardxTest::Life::workers($t->pid('nginx'));
    # 64 KiB of what waits and a page that is being sent, of each at most
    for (0, 1) {
        cmp_ok($after[$_] - $before[$_], '<', 40 * 256 + 4096,
            'with bounded memory');
    }
    $_->over for $slow, $good;
}

# --- Last-Event-ID -----------------------------------------------------------

{
    my $c = CardxTest::H2->connect($t);
    my $s = $c->get('/v1/events', bearer($users[0]));
    until_true(sub { $s->{id} }, $c);
    my ($epoch, $xid) = split /\./, $s->{id};
    my $theirs = $c->get('/v1/events', bearer($users[3]));
    until_true(sub { $theirs->{id} }, $c);
    my @hostile = map { [ $_, 'reset' ] } "$epoch.18446744073709551615",
        "$epoch.18446744073709551616", "$epoch.9223372036854775808",
        "$epoch.-1", "$epoch. $xid", "$epoch.$xid.", "$epoch.$xid..",
        "$epoch.$xid.news." . 'n' x 200, "$epoch.$xid.news.n1.n2.n3", ' ',
        "$epoch.$xid" . "\t" x 100, 'x' x 7000, "$epoch.$xid\x{7f}", '*', '-';
    push @hostile, [ "$epoch.$xid", '' ], [ $theirs->{id}, '' ];
    for (@hostile) {
        my ($last, $wanted) = @$_;
        my $h = $c->get('/v1/events', bearer($users[0]), 'last-event-id',
            $last);
        until_true(sub { $h->{ended} || $h->{id} && (!$wanted
            || @{ $h->{events} }) }, $c);
        my $got = join ' ', $h->{status}, map { $_->{event} }
            grep { $_->{event} eq 'reset' } @{ $h->{events} };
        is($got, $wanted ? "200 $wanted" : 200, 'Last-Event-ID: '
            . substr $last =~ s/[^ -~]/?/gr, 0, 50);
        is(scalar(grep { ($_->{json}{id} // '') eq $users[3]{user_id} }
            @{ $h->{events} }), 0, 'nothing of anybody else') if !$wanted;
        $c->reset($h) if !$h->{ended};
        $c = CardxTest::H2->connect($t) if $c->{closed};
    }
    my $two = $c->get('/v1/events', bearer($users[0]), 'last-event-id', $s->{id},
        'last-event-id', 'x');
    until_true(sub { $two->{ended} || $two->{id} }, $c);
    like($two->{status}, qr/^(?:200|400)$/, 'two of them');
    $c->over;
}

# --- a thousand --------------------------------------------------------------

# {user, stream, last, seen => {n => how often}, wrong => [...]}
my @crowd = map { { user => $users[$_ % @users], seen => {}, last_xid => 0 } }
    1 .. $STREAMS;
my @connections;

# Those that have ended are opened again where they were; what the others
# have heard is noted.
sub tend {
    my ($from) = @_;
    @connections = grep { !$_->{closed} } @connections;
    for my $one (@crowd) {
        my $s = $one->{stream};
        if ($s) {
            for my $event (splice @{ $s->{events} }) {
                $one->{reset} = 1 if $event->{event} eq 'reset';
                my ($n) = $event->{json}{id} =~ /^n(\d+)$/ or next;
                $one->{seen}{$n}++ if $n > $from;
            }
            $one->{last} = $s->{id} // $one->{last};
            next if !$s->{ended};
        }
        $one->{opened}++;
        my ($c) = grep { !$_->{goaway} && $_->open_streams < $PER_CONNECTION }
            @connections;
        if (!$c) {
            $c = CardxTest::H2->connect($t) or last;
            push @connections, $c;
        }
        $one->{stream} = $c->get('/v1/events', bearer($one->{user}),
            defined $one->{last} ? ('last-event-id', $one->{last}) : ());
    }
}

sub crowd {
    my ($from, $code) = @_;
    my $end = time + $PATIENCE;
    while (time < $end) {
        tend($from);
        return 1 if $code->();
        CardxTest::H2::pump(0.1, @connections);
    }
    return 0;
}

# Changes of everybody while something happens; each stream has all of them.
sub through {
    my ($what, $fault) = @_;
    my $from = $noted;
    my $last = $from + 60;
    my $writer = fork // die "fork: $!";
    if (!$writer) {
        for (1 .. 60) { note_all(); sleep 0.03 }
        POSIX::_exit(0);
    }
    $noted = $last;
    $_->{seen} = {} for @crowd;
    crowd($from, sub { 100 < grep { keys %{ $_->{seen} } } @crowd });
    $fault->();
    ok(crowd($from, sub { !grep { 60 > keys %{ $_->{seen} } } @crowd }),
        "$what: $STREAMS streams are told all of it") or diag(join ' ',
            map { scalar keys %{ $_->{seen} } } @crowd[0 .. 20]);
    waitpid $writer, 0;
    is(scalar(grep { grep { $_ > 1 } values %{ $_->{seen} } } @crowd), 0,
        "$what: once");
    is(scalar(grep { $_->{reset} } @crowd), 0, "$what: from where it was");
}

ok(crowd(0, sub { !grep { !$_->{stream} || !$_->{stream}{id} } @crowd }),
    "$STREAMS streams");
through('undisturbed', sub { });
is(scalar(grep { $_->{opened} > 1 } @crowd), 0, 'none has ended');
through('a reload', sub { $t->signal('nginx', 'HUP') });
cmp_ok(scalar(grep { $_->{opened} > 1 } @crowd), '>', 0, 'they came back');
$t->expect_log(qr/exited on signal 9|terminated by signal 9/);
through("kill -9 of one of nginx's workers", sub {
    my ($pid) = CardxTest::Life::workers($t->pid('nginx'));
    ok($t->strike('nginx', 'KILL', $pid), 'one is killed');
});
$_->over for @connections;

# --- who waits while PostgreSQL dies -----------------------------------------

$t->expect_log(qr/the database system|server closed the connection/);
{
    my @since = map { my $r = $t->get('/v1/updates', undef,
        { token => $_->{access_token} })->{json}; while ($r->{more}) {
        $r = $t->get("/v1/updates?since=$r->{token}", undef,
            { token => $_->{access_token} })->{json} } $r->{token} } @users;
    my @waiting = map {
        my $i = $_ % @users;
        sub {
            # a client that is told to come again does
            my $end = time + $PATIENCE;
            my $r;
            while (time < $end) {
                $r = $t->get("/v1/updates?since=$since[$i]&wait=50", undef,
                    { token => $users[$i]{access_token} });
                last if $r->{status} == 200;
                return "$r->{status} $r->{body}" if $r->{status} !~ /^(?:204|503)$/;
                sleep 0.1;
            }
            return "$r->{status} " . join ' ', map { $_->{id} }
                @{ $r->{json}{changes} || [] };
        };
    } 0 .. 23;
    my @answers = $t->at_once(@waiting, sub {
        sleep 1;
        my ($pid) = split /\n/, $t->psql("select pid from pg_stat_activity
            where usename = 'cardx_api'");
        $t->strike('postgres', 'KILL', $pid) or return 'nobody was killed';
        sleep 0.3;
        $t->wait_for(sub { eval { note_all(); 1 } }, 30) or return 'no PostgreSQL';
        return 'killed';
    });
    is(pop @answers, 'killed', 'a backend is killed while they wait');
    is(scalar(grep { $_ ne '200 n' . ($noted + 1) } @answers), 0,
        'who waited is told what came after') or diag(join "\n", @answers);
}

$t->finish;
done_testing;
