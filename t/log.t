#!/usr/bin/perl
# What docs/changes.md says of the log, its heads and its streams, where no
# other test looks: above all what happens while something is away.

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
my $me = $t->register('+8613800138000');
my %mine = (token => $me->{access_token});
my $id = $me->{user_id};
my $noted = 0;
$t->expect_log(qr/exited on signal 9|the database system|server closed the/);

sub noted {
    $noted++;
    $t->psql("select cardx.log_add('$id', 'news', 'n$noted', 'put')");
}

sub updates {
    my ($since, $more) = @_;
    return $t->get('/v1/updates?' . join('&', defined $since ? "since=$since"
        : (), $more // ()), undef, \%mine);
}

# A token that is up to date.
sub newest {
    my $r = updates();
    $r = updates($r->{json}{token}) while $r->{json}{more};
    return $r->{json}{token};
}

my $s = CardxTest::Events->open($t, %mine);
$s->wait_for(sub { $s->{id} });

sub hears {
    my ($what) = @_;
    ok($s->wait_for(sub { grep { $_->{json}{id} eq "n$noted" } @_ }, $PATIENCE),
        "$what: the stream hears");
    ok(!$s->{ended}, "$what: it is the same one");
}

# --- the log and its heads ---------------------------------------------------

noted();
hears('a change');
$t->psql("select cardx.log_add('$id', 'share', 's' || i, 'put')
    from generate_series(1, 3) i");
$t->psql("select cardx.log_add('$id', 'share', 's2', 'delete')");
my @first = map { "$_->{kind} $_->{id}" } @{ updates()->{json}{changes} };
is("@first", join(' ', sort @first), 'a first reading: by kind and object');
ok(!(grep { $_ eq 'share s2' } @first), 'without tombstones');

$t->wait_for(sub { $t->psql("select count(*) from cardx.outbox
    where effect = 'wake'") == 0 });
my $since = newest();
updates($since);
my ($epoch, $bound) = split /\./, $since;
my $xid = $t->psql("select max(xid::text::bigint) from cardx.user_log
    where user_id = '$id'");
my ($head, $at) = split / /, $t->redis('GET', "cardx:head:{$id}");
is($head, "$epoch." . ($xid + 1), 'a head is one more than the newest change');
cmp_ok($at, '>=', $bound, 'with the bound of its time');
ok($t->wait_for(sub { updates($since, 'wait=1')->{status} == 204
    && $t->ops('GET', '/metrics')->{body}
        =~ /^cardx_edge_requests_total\{path="updates",status="hit"\} [1-9]/m }),
    'the edge answers who is up to date');

# --- streams -----------------------------------------------------------------

my @streams = map { CardxTest::Events->open($t, %mine) } 1 .. 12;
$_->wait_for(sub { 1 }) for @streams;
my %retry = map { $_->{retry} => 1 } @streams;
cmp_ok(scalar keys %retry, '>', 4, 'streams come back at different times');
$_->close for @streams;

my $metrics = $t->ops('GET', '/metrics')->{body};
for my $name (qw(streams_total stream_messages_total stream_catches_total)) {
    like($metrics, qr/^cardx_edge_$name \d+$/m, "cardx_edge_$name");
}

# --- Redis -------------------------------------------------------------------

$t->redis('FLUSHALL');
noted();
ok($t->wait_for(sub { updates($since)->{status} == 200 }),
    'Redis is emptied: workers answer');
hears('Redis emptied');

$since = newest();
my ($waited) = $t->at_once(
    sub {
        my ($r, $began) = (undef, time);
        my $from = $since;
        do { $r = updates($from, 'wait=50') } while $r->{status} == 204;
        return "$r->{status} " . (time - $began < 40 ? 'soon' : 'late');
    },
    sub { sleep 1; $t->kill9('redis'); noted(); return '' });
is($waited, '200 soon', 'Redis is killed: who waits comes again, and is told');
delete $t->{redis_socket};
ok($t->wait_for(sub { updates($since)->{status} == 200 }, 10),
    'Redis away: updates come from workers');
is(updates(newest())->{status}, 204, 'or that there are none');
for my $wait (1, 50) {
    my $began = time;
    is(updates(newest(), "wait=$wait")->{status}, 204, "waiting $wait s");
    my $took = time - $began;
    ok($took > 0.9 && $took < 30, 'takes a moment, and not for ever');
}
is($t->psql("select count(*) from cardx.outbox where effect = 'wake'"), 1,
    'nobody is woken');
$t->start;
hears('Redis back');

# --- workers, nginx ----------------------------------------------------------

$t->signal('fanout', 'STOP');
noted();
$t->kill9('fanout');
hears('fanout killed');

ok($t->wait_for(sub { my $began = time; updates(newest(), 'wait=1');
    time - $began > 0.9 }, 30), 'waiting is for the edge again');
$since = newest();
my ($answer) = $t->at_once(
    sub {
        my $began = time;
        my $r = updates($since, 'wait=50');
        return "$r->{status} " . (time - $began < 40 ? 'soon' : 'late');
    },
    sub { sleep 1; $t->signal('nginx', 'HUP'); return '' });
is($answer, '204 soon', 'nginx reloaded: who waits is answered');
ok($s->wait_end($PATIENCE), 'and a stream ends');
ok($s->{complete}, 'properly');
noted();
ok($s->follow(sub { grep { $_->{json}{id} eq "n$noted" } @_ }, $PATIENCE),
    'and comes back');

# --- PostgreSQL --------------------------------------------------------------

ok($t->wait_for(sub { my $began = time; updates(newest(), 'wait=1');
    time - $began > 0.9 }, 30), 'the edge knows');
my $before = $since;
$since = newest();
updates($since);
$t->kill9('postgres');
is(updates($since)->{status}, 204, 'PostgreSQL away: nothing new, as far as '
    . 'is known');
my $r = updates($before);
is("$r->{status} $r->{json}{code}", '503 unavailable',
    'who is not up to date comes again');
ok($r->{headers}{'retry-after'}, 'later');
$t->start;
noted();
hears('PostgreSQL back');

$s->close;
$t->finish;
done_testing;
