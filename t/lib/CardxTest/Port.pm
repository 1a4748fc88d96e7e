package CardxTest::Port;

# Ports for servers that are started later, and again after they were killed.

use strict;
use warnings;

use Exporter qw(import);
use IO::Socket::INET ();
use IO::Socket::UNIX ();

our @EXPORT_OK = qw(free_port);

# Below what the kernel gives to connections (ip_local_port_range): ten
# thousand of those are open when another test floods its server.
my ($FIRST, $LAST) = (10_000, 32_000);

# What says to the other tests' processes which ports are taken: sockets in
# the abstract namespace, which end with the process.
my @taken;

sub free_port {
    for (1 .. 1000) {
        my $port = $FIRST + int rand($LAST - $FIRST);
        my $mark = IO::Socket::UNIX->new(
            Local => "\0cardx-test-port-$port", Listen => 1) or next;
        IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1',
            LocalPort => $port, ReuseAddr => 1) or next;
        push @taken, $mark;
        return $port;
    }
    die "no free port: $!";
}

1;
