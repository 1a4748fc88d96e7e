#!/usr/bin/perl
# Two people who have each other's number see each other's changes, whatever
# dies: kill -9 of every process in turn, and an emptied Redis.  Everything
# goes through the calls that every client has.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;
use CardxTest::Events;
use CardxTest::Life;

my $PATIENCE = 60;

my $t = CardxTest->new->start;
my @both = map { person("+861380000000$_", $_) } 1, 2;
$both[$_]{other} = $both[1 - $_] for 0, 1;

# --- what a terminal does ----------------------------------------------------

# A call as a client makes it that does not give up while it may be repeated.
sub insist {
    my ($me, $method, $path, $body, %headers) = @_;
    my $r;
    for (1 .. 600) {
        $r = $t->request($method, $path, $body,
            { %headers, token => $me->{access_token} });
        return $r if $r->{status} < 500;
        sleep 0.1;
    }
    return $r;
}

# A new account, its card, and its stream.
sub person {
    my ($phone, $n) = @_;
    my $me = $t->register($phone);
    $me->{name} = $n == 1 ? 'A' : 'B';
    $me->{n} = 0;
    $me->{stream} = CardxTest::Events->open($t, token => $me->{access_token});
    is($me->{stream}{status}, 200, "$me->{name} listens");
    change($me);
    return $me;
}

# The terminal's card, with a title that nobody has had before.
sub change {
    my ($me) = @_;
    my $n = ++$me->{n};
    my $r = insist($me, 'PUT', '/v1/me/card', { '@type' => 'Card',
        version => '1.0', name => { full => "Person $me->{name}" },
        updated => sprintf('2026-01-01T%02d:%02d:%02dZ', $n / 3600,
            $n / 60 % 60, $n % 60),
        phones => { own => { number => $me->{phone} } },
        titles => { t => { name => "Title $n" } } });
    ok($r->{status} =~ /^20[01]$/, "$me->{name} changes the card: $n")
        or diag("$r->{status} $r->{body}");
    return $n;
}

# The book with the other's number in it.
sub upload {
    my ($me) = @_;
    my $r = insist($me, 'POST', '/v1/contacts/import', "BEGIN:VCARD\r\n"
        . "VERSION:3.0\r\nFN:A friend\r\nN:;A friend;;;\r\n"
        . "TEL;TYPE=CELL:$me->{other}{phone}\r\nEND:VCARD\r\n",
        'Content-Type' => 'text/vcard', 'Idempotency-Key' => $me->{name});
    is("$r->{status} $r->{json}{added}", '200 1', "$me->{name} uploads a book");
    my $list = insist($me, 'GET', '/v1/contacts')->{json}{items};
    $me->{contact_id} = $list->[0]{contact_id};
}

# What the entry of the other shows of the card.
sub title {
    my ($me) = @_;
    my $r = insist($me, 'GET', "/v1/contacts/$me->{contact_id}");
    return $r->{json}{card}{titles}{t}{name} // '';
}

# Waits until the stream has told of the contact, and the contact shows the
# other's change n; the seconds since `began`.
sub hears {
    my ($me, $n, $what, $began) = @_;
    my $seen = $me->{seen} // 0;
    my $told = $me->{stream}->follow(sub {
        my $of = grep { $_->{json}{kind} eq 'contact'
            && $_->{json}{id} eq $me->{contact_id} } @_;
        return if $of <= $seen;
        $seen = $of;
        return title($me) eq "Title $n";
    }, $PATIENCE);
    $me->{seen} = $seen;
    ok($told, "$what: $me->{name} hears of it, and sees it")
        or diag("shown: ", title($me), ' heard: ', $me->{stream}->shown);
    return time - ($began // time);
}

# `wait=` and updates: the same, asked for.
sub asks {
    my ($me, $n, $what) = @_;
    my $of = 'nothing';
    my $end = time + $PATIENCE;
    while (time < $end && $of ne "Title $n") {
        my $r = insist($me, 'GET', '/v1/updates?with=objects'
            . (defined $me->{token} ? "&since=$me->{token}&wait=1" : ''));
        next if $r->{status} != 200;
        $me->{token} = $r->{json}{token};
        for (grep { $_->{kind} eq 'contact' } @{ $r->{json}{changes} }) {
            $of = $_->{object}{card}{titles}{t}{name} // '';
        }
    }
    is($of, "Title $n", "$what: $me->{name} is told who asks");
}

# A change of either is seen by the other.  The first is answered just before
# the fault, and may not have been told; the second is made after it, or in it.
sub survives {
    my ($what, $fault) = @_;
    my ($first, $second) = rand > 0.5 ? @both : reverse @both;
    my $n = change($first);
    $fault->();
    my $m = change($second);
    hears($second, $n, $what);
    hears($first, $m, $what);
    asks($second, $n, $what);
    asks($first, $m, $what);
}

# --- they meet ---------------------------------------------------------------

upload($both[0]);
is(title($both[0]), '', 'one side alone');
upload($both[1]);
hears($_, 1, 'both have each other') for @both;

my @seconds;
for (1 .. 10) {
    for my $me (@both) {
        my $n = change($me);
        push @seconds, hears($me->{other}, $n, 'undisturbed', time);
    }
}
@seconds = sort { $a <=> $b } @seconds;
diag(sprintf 'a change is seen %.0f ms after its answer, %.0f ms at most',
    1000 * $seconds[@seconds / 2], 1000 * $seconds[-1]);
asks($_, $_->{other}{n}, 'undisturbed') for @both;

# --- each process in turn ----------------------------------------------------

$t->expect_log(qr/exited on signal 9|terminated by signal 9|SIGKILL/);
$t->expect_log(qr/the database system|server closed the connection/);

my @workers = map { m{([^/]+)\.pid$} } sort glob "$t->{pids}/*.pid";
@workers = grep { !/^(?:postgres|redis|nginx|cardxd)$/ } @workers;
cmp_ok(scalar @workers, '>=', 12, 'workers: ' . join ' ', @workers);
for my $name (@workers) {
    survives("kill -9 of $name", sub { $t->kill9($name) });
}
for my $pool (qw(fast slow miss)) {
    survives("kill -9 of all of $pool", sub {
        ok($t->strike("api-$pool-$_", 'KILL'), "api-$pool-$_") for 0, 1;
    });
}

sub edge_workers { CardxTest::Life::workers($t->pid('nginx')) }

for my $which ([0], [1], [0, 1]) {
    survives("kill -9 of nginx's workers @$which", sub {
        my @pids = (edge_workers())[@$which];
        $t->strike('nginx', 'KILL', $_) or fail("$_ is no worker") for @pids;
        my %gone = map { $_ => 1 } @pids;
        ok($t->wait_for(sub {
            my @now = edge_workers();
            return @now == 2 && !grep { $gone{$_} } @now;
        }), 'there are two again');
    });
}

for my $user (qw(cardx_api cardx_fanout)) {
    survives("kill -9 of a postgres backend of $user", sub {
        my ($pid) = split /\n/, $t->psql("select pid from pg_stat_activity
            where usename = '$user' order by random()");
        ok($t->strike('postgres', 'KILL', $pid), "$pid is killed");
    });
}

for my $name (qw(redis postgres nginx cardxd)) {
    survives("kill -9 of $name", sub {
        $t->kill9($name);
        sleep 0.5;
        $t->start;
    });
}
survives("an emptied redis, $_", sub { $t->redis('FLUSHALL') }) for 1 .. 3;

# --- what was told -----------------------------------------------------------

# A position says that all before it is known: it never goes back, and no
# change is told at a position where one has been told.
for my $me (@both) {
    my ($last, @wrong) = ('');
    for my $event ($me->{stream}->changes) {
        my ($xid, $rest) = $event->{id} =~ /^[0-9a-f]{16}\.(\d+)\.?(.*)/;
        my $at = sprintf '%020d.%s', $xid // 0, $rest // '';
        push @wrong, "$last, $at" if $at le $last;
        $last = $at;
    }
    is("@wrong", '', "$me->{name}: nothing is told twice, nor out of order");
    is(scalar(grep { $_->{event} eq 'reset' } @{ $me->{stream}{events} }), 0,
        'nor is anything called unknown');
    note("$me->{name} heard ", scalar(my @all = $me->{stream}->changes),
        ' changes, and came back ', $me->{stream}{resumed} // 0, ' times');
    $me->{stream}->close;
}

$t->finish;
done_testing;
