#!/usr/bin/perl
# PostgreSQL slow, full, stopped, killed, and replaced by its replica: what is
# hot goes on from Redis, writes are answered 503 with Retry-After and done
# when they are repeated, and nothing that was answered is lost.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use POSIX ();
use Test::More;
use Time::HiRes qw(time sleep);

use CardxTest;

# short times, so that a stopped server is given up soon: statements after
# 4 s, locks after 2 s
my $t = CardxTest->new(settings => { postgresql_timeout => 6000,
    workers_slow => 1, workers_miss => 1 });
my @folders = map { "$t->{var}/pgrun$_" } '', 2;
my $hosts = join ',', @folders;
for my $role (qw(api fanout)) {
    $t->{settings}{ $role eq 'api' ? 'postgresql' : "postgresql_$role" } =
        "host=$hosts dbname=cardx user=cardx_$role connect_timeout=2 "
        . 'target_session_attrs=read-write';
}
$t->start;
$t->expect_log(qr/the database system|server closed the connection/);
$t->expect_log(qr/exited on signal 9|terminated by signal 9|SIGKILL/);

my $anna = $t->register('+8613800000001');
my $token = { token => $anna->{access_token} };
my $card = $t->card($token, name => { full => 'Anna' });
my $drawn = $t->key($token, $card);
my $revoked = $t->key($token, $card);

sub hot {
    my ($when) = @_;
    my $r = $t->get("/c/$card", undef, { key => $drawn->{key} });
    is($r->{status}, 200, "$when: the card");
    is($t->get("/q/$drawn->{key}")->{status}, 302, "$when: the redirect");
    is($t->get($drawn->{thumbnail})->{status}, 200, "$when: the thumbnail");
}

sub change {
    my ($title) = @_;
    return $t->patch("/v1/cards/$card",
        { notes => { n => { note => $title } } }, $token);
}

sub refused_for_now {
    my ($r, $what) = @_;
    is($r->{status}, 503, "$what: 503") or diag($r->{body});
    like($r->{headers}{'retry-after'} // '', qr/^\d+$/,
        "$what: with Retry-After");
    like($r->{headers}{'content-type'}, qr{^application/problem\+json},
        "$what: as a problem");
}

# Repeats while it is 503; the last answer.
sub insist {
    my ($code, $seconds) = @_;
    my $r;
    $t->wait_for(sub { $r = $code->(); $r->{status} != 503 }, $seconds || 60);
    return $r;
}

sub psql_at {
    my ($folder, $sql) = @_;
    my $output = CardxTest::capture('psql', '-XAtq', '-h', $folder, '-U',
        'postgres', '-d', 'cardx', '-c', $sql);
    chomp $output;
    return $output;
}

# Until fanout and media have done what they were asked for.
$t->outbox_empty(30);
hot('before');

# --- a lock, and a statement that is too long ---------------------------------

my $locker = open(my $lock, '|-', 'psql', '-XAtq', '-h', $folders[0], '-U',
    'postgres', '-d', 'cardx') or die "psql: $!";
$lock->autoflush;
print $lock "begin; select from cardx.cards for update;\n";
$t->wait_for(sub { $t->psql("select count(*) from pg_locks l
    join pg_class c on c.oid = l.relation where c.relname = 'cards'
    and l.mode = 'RowShareLock'") > 0 });
refused_for_now(change('locked'), 'a row that is locked');
hot('while it is');
is($t->psql("select count(*) from cardx.cards where card->'notes' is not null"),
    0, 'nothing of it was done');
close $lock;
is(insist(sub { change('unlocked') })->{status}, 200, 'unlocked: done');

# --- no connection left ---------------------------------------------------------

sub end_connections {
    $t->psql("select pg_terminate_backend(pid) from pg_stat_activity
        where usename in ('cardx_api', 'cardx_fanout')");
}

$t->psql('alter role cardx_api connection limit 0');
end_connections();
refused_for_now($t->post('/v1/cards', { '@type' => 'Card', version => '1.0',
    name => { full => 'Nobody' } }, $token), 'no connection left');
hot('with no connection left');
$t->psql('alter role cardx_api connection limit -1');
is(insist(sub { change('connected') })->{status}, 200,
    'connections again: done');
is($t->psql('select count(*) from cardx.cards'), 1, 'and nothing else');

# --- a server that does not answer ----------------------------------------------

# all of it, as when its machine hangs: what it had accepted, too
my @stopped = ($t->pid('postgres'), split ' ', CardxTest::capture('sh', '-c',
    'cat /proc/' . $t->pid('postgres') . '/task/*/children'));
kill 'STOP', @stopped;
my $began = time;
refused_for_now(change('stopped'), 'a server that does not answer');
cmp_ok(time - $began, '<', 30, 'it is given up');
hot('while it does not answer');
kill 'CONT', @stopped;
is(insist(sub { change('going on') })->{status}, 200, 'it goes on: done');

# --- killed -----------------------------------------------------------------------

$t->kill9('postgres');
hot('killed');
refused_for_now(change('killed'), 'killed: a change');
refused_for_now($t->post("/v1/cards/$card/keys", { ttl => 60 }, $token),
    'killed: a key');

# a denial that was not committed is none, and is not half in force either
my $r = $t->delete("/v1/cards/$card/keys/$revoked->{key_id}", undef, $token);
refused_for_now($r, 'killed: a revocation');
$r = $t->get("/c/$card", undef, { key => $revoked->{key} });
ok($r->{status} == 200 || $r->{status} == 503,
    'its key is not refused for good');
hot('while a revocation waits');
is($t->ops('GET', '/healthz')->{status}, 503, 'healthz tells');

$t->start;
is(insist(sub { change('started') })->{status}, 200, 'started again: done');
$r = insist(sub { $t->get("/c/$card", undef, { key => $revoked->{key} }) });
is($r->{status}, 200, 'the key was not revoked');
$r = insist(sub {
    $t->delete("/v1/cards/$card/keys/$revoked->{key_id}", undef, $token) });
is($r->{status}, 204, 'now it is');
is($t->get("/c/$card", undef, { key => $revoked->{key} })->{status}, 404,
    'and opens nothing');

# --- a replica takes over -----------------------------------------------------------

my $bin = '/usr/lib/postgresql/15/bin';
my $replica = "$t->{var}/pg2";

sub as_postgres {
    my (@command) = @_;
    my @as = $> == 0 ? ('setpriv', '--reuid=postgres', '--regid=postgres',
        '--init-groups') : ();
    return CardxTest::capture('sh', '-c', 'cd "$0" && exec "$@" </dev/null',
        $t->{var}, @as, @command);
}

sub pg_ctl {
    my ($data, $folder, @command) = @_;
    my $output = as_postgres("$bin/pg_ctl", '-D', $data, '-s', '-w', '-t', 60,
        '-l', "$t->{var}/log/postgres2.log", '-o', "-c listen_addresses='' "
        . "-c fsync=off -c unix_socket_permissions=0777 "
        . "-c unix_socket_directories='$folder'", @command);
    note($output) if $?;
    return $? == 0;
}

for my $folder ($folders[1], $replica) {
    mkdir $folder, 0750;
    chown((stat "$t->{var}/pg")[4], (stat $folders[0])[5], $folder);
}
chmod 0700, $replica;
CardxTest::capture('install', '-o', (getpwuid((stat "$t->{var}/pg")[4]))[0],
    '-m', 644, '/dev/null', "$t->{var}/log/postgres2.log");
my $output = as_postgres("$bin/pg_basebackup", '-h', $folders[0], '-U',
    'postgres', '-D', $replica, '-R', '-X', 'stream', '-c', 'fast', '-N');
is($?, 0, 'a replica') or diag($output);
ok(pg_ctl($replica, $folders[1], 'start'), 'is started');
$t->psql('alter system set synchronous_standby_names = \'*\'');
$t->psql('select pg_reload_conf()');
ok($t->wait_for(sub { $t->psql(
    "select count(*) from pg_stat_replication where sync_state = 'sync'") },
    30), 'is synchronous');

# A process that writes until it is told to stop; each line is a key that
# was answered 201.
my $journal = "$t->{var}/answered";
my $writer = fork // die "fork: $!";
if (!$writer) {
    my $go = 1;
    $SIG{TERM} = sub { $go = 0 };
    $t->connect_anew;
    open my $out, '>', $journal or POSIX::_exit(1);
    $out->autoflush;
    while ($go) {
        my $r = $t->post("/v1/cards/$card/keys", { ttl => 3600 }, $token);
        print $out "$r->{json}{key_id}\n" if $r->{status} == 201;
        sleep($r->{status} == 201 ? 0.01 : 0.05);
    }
    POSIX::_exit(0);
}
sub answered {
    open my $in, '<', $journal or return 0;
    chomp(my @all = <$in>);
    return @all;
}
ok($t->wait_for(sub { answered() > 20 }, 60), 'keys are drawn');
$t->kill9('postgres');
my $before = answered();
hot('the primary is dead');
ok(pg_ctl($replica, $folders[1], 'promote'), 'the replica is promoted');
ok($t->wait_for(sub { answered() > $before + 20 }, 60),
    'keys are drawn again');

# The old primary comes back, first in the list of hosts, and read only.
unlink glob "$folders[0]/.s.PGSQL.*";
ok($t->wait_for(sub { pg_ctl("$t->{var}/pg", $folders[0], '-o',
    '-c default_transaction_read_only=on -c synchronous_standby_names=',
    'start') }, 30), 'the old primary is back');
my $old = psql_at($folders[0], 'select count(*) from cardx.card_keys');
psql_at($folders[1], "select pg_terminate_backend(pid) from pg_stat_activity
    where usename in ('cardx_api', 'cardx_fanout')");
$before = answered();
ok($t->wait_for(sub { answered() > $before + 20 }, 60),
    'keys are drawn while it is there');
kill 'TERM', $writer;
waitpid $writer, 0;
is(psql_at($folders[0], 'select count(*) from cardx.card_keys'), $old,
    'nothing is written to it');

my %there = map { $_ => 1 } split /\n/,
    psql_at($folders[1], 'select key_id from cardx.card_keys');
is(join(' ', grep { !$there{$_} } answered()), '',
    'every key that was answered is there');
hot('after the change of servers');
ok($t->wait_for(sub {
    psql_at($folders[1], 'select count(*) from cardx.outbox') eq '0' }, 60),
    'no outbox row is stuck');

for (["$t->{var}/pg", $folders[0]], [$replica, $folders[1]]) {
    ok(pg_ctl(@$_, '-m', 'fast', 'stop'), 'stopped');
}

$t->finish;
done_testing;
