#!/usr/bin/perl

# ci/demo: what it says when something is in the way, and that it starts,
# starts again, keeps its data and stops.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET ();
use IO::Socket::UNIX ();
use Test::More;
use Time::HiRes qw(time);

use CardxTest;

my $t = CardxTest->new(settings => { socket_backlog => 2 });

# --- what trips people -----------------------------------------------------

sub refused {
    my ($change, $says, $what) = @_;
    my $other = bless { %$t, %$change }, 'CardxTest';
    my ($output, $good) = $other->demo('start');
    ok(!$good, "$what: refused");
    like($output, $says, "$what: says what to do");
}

refused({ var => "$t->{var}/" . 'long' x 25 },
    qr/too long for sockets: at most \d+ characters; choose.*CARDX_VAR=/,
    'a long path');

SKIP: {
    skip 'only root starts other users', 2 if $>;
    mkdir "$t->{var}/closed", 0700;
    refused({ var => "$t->{var}/closed/var" },
        qr/user \S+ can't go into \S+closed: choose.*CARDX_VAR=/,
        'a closed folder');
}

my $taken = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')
    or die "socket: $!";
refused({ port => $taken->sockport },
    qr/port \d+ is in use: choose others by CARDX_PORT=/, 'a port in use');

{
    my $output = CardxTest::capture('bash', '-c',
        "ulimit -n 512; CARDX_READY=1 CARDX_VAR=$t->{var}/few "
        . "'$CardxTest::ROOT/ci/demo' start");
    like($output, qr/only 512 open files are allowed: raise it/, 'few files');
}

my ($output, $good) = $t->demo('env');
ok(!$good, 'env before the first start');
like($output, qr{not started yet: ci/demo start}, 'says so');
($output, $good) = $t->demo('nonsense');
like($output, qr/ci\/demo stop \| status/, 'help');

# --- start -----------------------------------------------------------------

$t->start;
is($t->ops('GET', '/healthz')->{status}, 200, 'healthy');
($output, $good) = $t->demo('status');
ok($good, 'status: good');
like($output, qr/^postgres +\d+\nredis +\d+\nnginx +\d+\ncardxd +\d+\n/,
    'status: who runs');
like($output, qr/^fanout +\d+$/m, 'status: workers');
like($output, qr/^healthy$/m, 'status: healthy');

($output, $good) = $t->demo('env');
my %env = $output =~ /^(CARDX_\w+)='(.*)'$/mg;
is_deeply([ sort keys %env ], [ qw(CARDX_CA CARDX_OPS_URL CARDX_PG
    CARDX_PIDS CARDX_REDIS CARDX_SMS_LOG CARDX_SMS_SECRET CARDX_URL) ],
    'env: all of them');
is($env{CARDX_URL}, "https://127.0.0.1:$t->{port}", 'env: the address');
ok(-e $env{CARDX_CA} && -e $env{CARDX_SMS_LOG} && -S $env{CARDX_REDIS},
    'env: what it names is there');
is(CardxTest::capture('psql', '-XAtq', $env{CARDX_PG}, '-c', 'select 1'),
    "1\n", 'env: the connection string');

my %pids = map { $_ => $t->pid($_) } qw(postgres redis nginx cardxd fanout);
my $at = time;
($output, $good) = $t->demo('start');
ok($good, 'a second start');
cmp_ok(time - $at, '<', 5, 'is quick');
is_deeply({ map { $_ => $t->pid($_) } keys %pids }, \%pids,
    'and leaves alone what runs');

# --- the log ---------------------------------------------------------------

my $key = 'ABCDEFGHIJKLMNOPQRSTUVWXY2';
$t->get("/c/x?k=$key");
$t->get("/q/$key");
$t->get("/Q/$key");
$t->get("/%71/$key");
$t->get("//q/$key");
$t->get("/static/../q/$key");
$t->get("/v1/cards?k=$key");
ok($t->wait_for(sub { $t->read_log('nginx-access.log') =~ m{/v1/cards} }),
    'requests are logged');
unlike($t->read_log('nginx-access.log'), qr/$key/, 'without keys');

# --- what nginx refuses itself ---------------------------------------------

for ([ 413, 'too_large', 'POST', '/v1/sessions', 'x' x (1 << 21) ],
    [ 404, 'not_found', 'GET', '/nothing' ],
    [ 404, 'not_found', 'GET', '/static/none.css' ],
    [ 414, 'uri_too_long', 'GET', '/v1/' . 'x' x 9000 ])
{
    my ($status, $code, @request) = @$_;
    my $r = $t->request(@request);
    is("$r->{status} " . ($r->{json}{code} // '') . " $r->{headers}{'content-type'}",
        "$status $code application/problem+json", "nginx says $code");
}

# --- no worker is free ------------------------------------------------------

# Those of a pool stand still, and as many wait as the backlog takes.
$t->signal($_, 'STOP') for qw(api-slow-0 api-slow-1);
my @waiting;
while (my $socket = IO::Socket::UNIX->new(
    Peer => "$t->{var}/run/slow.sock", Blocking => 0))
{
    push @waiting, $socket;
    last if !$socket->connected || @waiting > 20;
}
cmp_ok(scalar @waiting, '<', 10, 'the backlog is filled');
$at = time;
my $r = $t->post('/v1/sessions', {});
is("$r->{status} " . ($r->{json}{code} // ''), '503 unavailable',
    'no worker is free: 503');
is($r->{headers}{'retry-after'}, 1, 'with Retry-After');
cmp_ok(time - $at, '<', 2, 'at once');
is($t->get('/v1/me')->{status}, 401, 'other pools answer');
close $_ for @waiting;
$t->signal($_, 'CONT') for qw(api-slow-0 api-slow-1);
cmp_ok($t->post('/v1/sessions', {})->{status}, '<', 500, 'free again');

# --- what was killed, stop, data -------------------------------------------

$t->kill9($_) for qw(cardxd nginx redis postgres);
$t->start;
is($t->ops('GET', '/healthz')->{status}, 200, 'healthy after kill -9 of all');

$t->psql('create table public.kept (n int); insert into kept values (7)');
is($t->demo('stop'), '', 'stop');
is(scalar(grep { $_ && -e "/proc/$_/exe" } map { $t->pid($_) }
    qw(postgres redis nginx cardxd)), 0, 'nobody runs');
($output, $good) = $t->demo('status');
ok(!$good, 'status: bad');
like($output, qr/^not healthy$/m, 'status: not healthy');

$t->start;
is($t->psql('select n from kept'), 7, 'data are kept');
is($t->get('/v1/me')->{status}, 401, 'and it answers');

is($t->demo('reset'), '', 'reset');
ok(!-e "$t->{var}/pg", 'drops the data');

$t->finish;
done_testing;
