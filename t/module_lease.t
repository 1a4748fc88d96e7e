#!/usr/bin/perl
# The lease of a cache's zone: who holds it when a process stands still, can't
# speak, or is to exit; and that nobody gives back another's.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET ();
use Test::More;

use CardxTest::Edge ();
use CardxTest::Port qw(free_port);

*await = \&CardxTest::Edge::await;

my $edge;

sub lease {
    my %zones = @{ $edge->redis('HGETALL', 'cardx:{zones}') };
    delete $zones{since};
    my ($id) = keys %zones;
    return $id ? ($id, $zones{$id}) : ();
}

# The memory of a zone of 4m, through a process that has it: its id, then
# numbers of 8 bytes, the third of which is the holder's process.
sub zone {
    my ($id) = lease();
    my ($pid) = $edge->workers;
    no warnings 'portable';
    my ($at) = map { hex((split /-/)[0]) } grep {
        my ($from, $to) = /^(\w+)-(\w+) rw-s/;
        defined $to && hex($to) - hex($from) == 4 << 20;
    } split /\n/, CardxTest::Edge::read_file("/proc/$pid/maps");
    open my $memory, '<:raw', "/proc/$pid/mem" or return;
    sysseek $memory, $at, 0;
    sysread $memory, my $bytes, 65536;
    my $place = index $bytes, $id;
    return $place < 0 ? () : { memory => $memory, at => $at + $place + 48 };
}

sub read_holder {
    my ($zone) = @_;
    sysseek $zone->{memory}, $zone->{at}, 0;
    sysread($zone->{memory}, my $bytes, 8) == 8 or die "read: $!";
    return unpack 'Q', $bytes;
}

sub given_back { $edge->redis('INFO', 'commandstats') =~ /cmdstat_hdel:/ }

$edge = CardxTest::Edge->new(workers => 2, cache => '4m');
ok($edge->await_cache, 'a cache');

my $zone = zone();
plan skip_all => 'the memory of nginx can not be read' if !$zone;

# --- who gives up gives back its own lease alone -------------------------------

my ($id) = lease();
ok(scalar(grep { $_ == read_holder($zone) } $edge->workers), 'a worker holds it');
like((lease())[1], qr/^\d+ \d+$/, 'until when, and as which holder');

# Nobody can listen any more, and so nobody renews; then the lease is of a
# holder of whom those that give up know nothing.
$edge->redis('CONFIG', 'SET', 'maxclients', 1);
$edge->redis('CLIENT', 'KILL', 'TYPE', 'pubsub');
ok(await(sub { !lease() }), 'who does not hear gives it back');
$edge->redis('HSET', 'cardx:{zones}', $id, (time + 60) * 1000 . ' 999');
$edge->redis('CONFIG', 'RESETSTAT');
ok(await(sub { $edge->redis('INFO', 'commandstats') =~ /cmdstat_eval:/ }),
    'another one gives up');
like((lease())[1] // '', qr/ 999$/, "and leaves another's lease");
ok(!given_back(), 'as it is');
$edge->redis('CONFIG', 'SET', 'maxclients', 1000);
ok($edge->await_cache, 'they listen again');
unlike((lease())[1], qr/ 999$/, 'and note the lease anew');

# --- a holder that can't speak -------------------------------------------------

my $holder = read_holder($zone);
$edge->redis('CONFIG', 'SET', 'maxclients', 1);
$edge->redis('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
ok(await(sub { read_holder($zone) != $holder }),
    'it is heard, and can not speak: it does not stay');
$edge->redis('CONFIG', 'SET', 'maxclients', 1000);
ok($edge->await_cache, 'it goes on');

$edge->redis('CONFIG', 'RESETSTAT');
is($edge->stop_nginx, 0, 'the end');
ok(await(sub { !lease() }), 'its own is given back');
ok(given_back(), 'by who had it');
$edge->finish;

# --- a worker that is to exit, and takes its time ------------------------------

my $silent = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1')
    or die "listen: $!";
my $silent_port = $silent->sockport;
my $port = free_port();
$edge = CardxTest::Edge->new(cache => '4m', redis_address => "127.0.0.1:$port",
    redis_arguments => [ '--port', $port ],
    server => "location /silent/ { proxy_pass http://127.0.0.1:$silent_port; }");
ok($edge->await_cache, 'a cache');
$zone = zone();
my ($old) = $edge->workers;
my $client = $edge->connect;
print $client CardxTest::Edge::request_text('GET', '/silent/', {});
my $asked = $silent->accept;

# the same server by another name
$edge->{redis_address} = "127.1:$port";
$edge->write_conf;
kill 'HUP', $edge->{nginx_pid};
ok(await(sub { $edge->workers == 2 }), 'a reload: the old one has to wait');
ok(await(sub { my $pid = read_holder($zone); $pid && $pid != $old }),
    'and leaves the lease to the new one');
ok($edge->await_cache, 'which goes on');
ok(scalar(grep { $_ == $old } $edge->workers), 'while the old one is there');
close $asked;
close $client;
ok(await(sub { $edge->workers == 1 }), 'it ends');

# where a name leads to is what counts
$edge->{redis_address} = "127.0.0.2:$port";
$edge->{expect_log} = qr/was used with another "cardx_redis"/;
$edge->write_conf;
kill 'HUP', $edge->{nginx_pid};
ok(await(sub { $edge->error_log =~ /was used with another "cardx_redis"/ }),
    'another server is refused');
$edge->finish;

done_testing;
