#!/usr/bin/perl

# cardxd with workers that are made up: starts, restarts, reloads, stops.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Copy qw(copy);
use File::Temp ();
use IO::Socket::UNIX ();
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;

my $dir = File::Temp::tempdir('cx.XXXX', DIR => '/tmp', CLEANUP => 1);
my $build = $ENV{CARDX_BUILD} || "$CardxTest::ROOT/build";
my @names = (map({ ("api-$_-0", "api-$_-1") } qw(fast slow miss)),
    qw(push-0 push-1 fanout deliver-0 deliver-1 media picture));

sub spew {
    my ($name, $text, $mode) = @_;
    open my $out, '>', "$dir/$name" or die "$name: $!";
    print $out $text;
    close $out;
    chmod $mode // 0600, "$dir/$name";
    return "$dir/$name";
}

sub slurp {
    my ($name) = @_;
    open my $in, '<', "$dir/$name" or return '';
    local $/;
    return <$in> // '';
}

# Until it is true, at most 10 s.
sub wait_for { CardxTest->wait_for(@_) }

sub pid {
    my ($name) = @_;
    return slurp("pids/$name.pid") =~ /^(\d+)$/m ? $1 : 0;
}

# Never a group of processes, and no stranger.
sub strike {
    my ($name) = @_;
    my $pid = pid($name) || die "$name has no pid file";
    my $cmd = do { local (@ARGV, $/) = ("/proc/$pid/cmdline"); <> } // '';
    die "$pid is no $name: $cmd" if index($cmd, $dir) < 0;
    kill 'KILL', $pid;
}

sub alive { my ($pid) = @_; $pid && kill(0, $pid) && !CardxTest::zombie($pid) }

sub settings {
    my (%more) = @_;
    my %all = (
        public_url => 'https://cards.example.org',
        run_dir => "$dir/run", pid_dir => "$dir/pids",
        postgresql => 'x', postgresql_fanout => 'x', redis => '/x',
        id_key_file => "$dir/key", master_key_file => "$dir/key",
        sms_secret_file => "$dir/key", sms_log => "$dir/sms.log",
        workers_fast => 2, workers_slow => 2, workers_miss => 2,
        workers_deliver => 2, %more);
    spew('cardx.conf', join '', map { "$_ $all{$_}\n" } sort keys %all);
}

sub cardxd {
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDERR, '>>', "$dir/log";
        { exec "$dir/cardxd", "$dir/cardx.conf" }
        POSIX::_exit(127);
    }
    return $pid;
}

# A worker says who it is and waits; TERM ends it, once there is no `busy` in
# the folder.  `die` there makes those it names end at once.
my $worker = <<'WORKER';
#!/usr/bin/perl
use File::Basename;
my $dir = dirname($0);
$SIG{TERM} = sub { select undef, undef, undef, 0.02 while -e "$dir/busy"; exit 0 };
open my $out, '>>', "$dir/started";
syswrite $out, join(' ', basename($0), @ARGV, -S STDIN ? 'socket' : 'none')
    . "\n";
exit 3 if -e "$dir/die-" . basename($0);
sleep 100 while 1;
WORKER

copy("$build/cardxd", "$dir/cardxd") or die "cardxd: $!";
chmod 0755, "$dir/cardxd";
spew("cardx-$_", $worker, 0755) for qw(api push fanout deliver media picture);
spew('key', 'f' x 64);
settings();

# --- start -----------------------------------------------------------------

my $cardxd = cardxd();
my $all = sub {
    my %lines;
    $lines{$_}++ for split /\n/, slurp('started');
    return \%lines;
};
ok(wait_for(sub { keys(%{ $all->() }) == 10 && !grep { !alive(pid($_)) } @names }),
    'everybody runs');
is_deeply($all->(), {
    "cardx-api $dir/cardx.conf fast socket" => 2,
    "cardx-api $dir/cardx.conf slow socket" => 2,
    "cardx-api $dir/cardx.conf miss socket" => 2,
    "cardx-push $dir/cardx.conf 0 none" => 1,
    "cardx-push $dir/cardx.conf 1 none" => 1,
    "cardx-fanout $dir/cardx.conf none" => 1,
    "cardx-deliver $dir/cardx.conf 0 none" => 1,
    "cardx-deliver $dir/cardx.conf 1 none" => 1,
    "cardx-media $dir/cardx.conf none" => 1,
    "cardx-picture $dir/run/picture.sock none" => 1,
}, 'with what it needs');
is(pid('cardxd'), $cardxd, 'its own pid file');
is(sprintf('%o', (stat "$dir/run/fast.sock")[2] & 07777), '660',
    'permissions of a socket');
ok(IO::Socket::UNIX->new(Peer => "$dir/run/miss.sock"), 'a socket listens');

CardxTest::capture("$dir/cardxd", "$dir/cardx.conf");
is($? >> 8, 1, 'a second cardxd does not start');
is(pid('cardxd'), $cardxd, 'nor touches the pid file');

# --- deaths ----------------------------------------------------------------

my $old = pid('api-fast-0');
my $other = pid('api-fast-1');
my $at = time;
kill 'KILL', $old;
ok(wait_for(sub { pid('api-fast-0') != $old && alive(pid('api-fast-0')) }),
    'who dies is started again');
cmp_ok(time - $at, '<', 2, 'at once');
is(pid('api-fast-1'), $other, 'others are left alone');

spew('die-cardx-media', '');
my $before = () = slurp('started') =~ /cardx-media/g;
strike('media');
sleep 2;
my $starts = (() = slurp('started') =~ /cardx-media/g) - $before;
cmp_ok($starts, '>=', 3, 'who dies again and again is started again');
cmp_ok($starts, '<=', 6, 'less and less often');
unlink "$dir/die-cardx-media";
ok(wait_for(sub { alive(pid('media')) && sleep(0.2) && alive(pid('media')) }),
    'until it stays');
like(slurp('log'), qr/media \(\d+\) exited with code 3/, 'and is logged');

# --- reload ----------------------------------------------------------------

my %was = map { $_ => pid($_) } @names;
settings(workers_fast => 'many');
kill 'HUP', $cardxd;
ok(wait_for(sub { slurp('log') =~
    m{kept as they were: \Q$dir\E/cardx.conf:\d+: workers_fast: expected} }),
    'bad settings are refused by file and line');
is_deeply({ map { $_ => pid($_) } @names }, \%was, 'nobody is replaced');

settings(run_dir => "$dir/other");
kill 'HUP', $cardxd;
ok(wait_for(sub { slurp('log') =~ /run_dir and pid_dir need a restart/ }),
    'nor may sockets move');

settings(workers_fast => 3, workers_slow => 1, socket_mode => '0600');
kill 'HUP', $cardxd;
ok(wait_for(sub { !grep { alive($_) } values %was }), 'old workers end');
my @now = grep { $_ ne 'api-slow-1' } @names, 'api-fast-2';
ok(wait_for(sub { !grep { !alive(pid($_)) } @now }), 'new ones run');
ok(!-e "$dir/pids/api-slow-1.pid", 'one less');
is(sprintf('%o', (stat "$dir/run/fast.sock")[2] & 07777), '600',
    'a socket is changed');
ok(alive($cardxd), 'cardxd stays');

# one reload after the other, while those before have something to finish
spew('busy', '');
my @first = map { pid($_) } @now;
kill 'HUP', $cardxd;
ok(wait_for(sub { !grep { my $pid = pid($_);
    !alive($pid) || grep { $_ == $pid } @first } @now }), 'others run');
my @second = map { pid($_) } @now;
kill 'HUP', $cardxd for 1 .. 2;
sleep 0.5;
is(scalar(grep { !alive($_) } @first), 0, 'who is busy is not killed for it');
is_deeply([ map { pid($_) } @now ], \@second, 'the next reload waits');
unlink "$dir/busy";
ok(wait_for(sub { !grep { alive($_) } @first, @second }), 'and comes then');
ok(wait_for(sub { !grep { !alive(pid($_)) } @now }), 'with others');
unlike(slurp('log'), qr/old workers that did not end are killed/,
    'and nobody is killed');

# --- the supervisor dies ---------------------------------------------------

my @orphans = map { pid($_) } @now;
kill 'KILL', $cardxd;
waitpid $cardxd, 0;
ok(wait_for(sub { !grep { alive($_) } @orphans }), 'workers die with it');
ok(-S "$dir/run/fast.sock" && pid('api-fast-2'), 'and things are left behind');

settings();
$cardxd = cardxd();
ok(wait_for(sub { pid('cardxd') == $cardxd
    && !grep { !alive(pid($_)) } @names }), 'the next one copes');
ok(IO::Socket::UNIX->new(Peer => "$dir/run/fast.sock"), 'with new sockets');
ok(!-e "$dir/pids/api-fast-2.pid", 'and what was left is gone');

# --- stop ------------------------------------------------------------------

# two that can't be run (again), and wait for their next try
for my $name (qw(media deliver-0)) {
    unlink "$dir/cardx-" . $name =~ s/-.*//r;
    strike($name);
}
ok(wait_for(sub { slurp('log') =~ m{can't run \S+/cardx-media}
    && slurp('log') =~ m{can't run \S+/cardx-deliver} }),
    "who can't be run is named");
sleep 0.5;
my @last = map { pid($_) } @names;
kill 'TERM', $cardxd;
waitpid $cardxd, 0;
is($?, 0, 'TERM ends it well');
is(scalar(grep { alive($_) } @last), 0, 'and all workers before');
is_deeply([ glob "$dir/pids/*.pid" ], [], 'no pid file is left');
is_deeply([ grep { -e } glob "$dir/run/{fast,slow,miss}.sock" ], [],
    'nor a socket');
unlike(slurp('log'), qr/alert: |Sanitizer|runtime error/, 'no alert');

done_testing;

END {
    my $status = $?;
    kill 'KILL', $cardxd if $cardxd && kill 0, $cardxd;
    $? = $status;
}
