package CardxTest::Cluster;

# A Redis Cluster of three masters on loopback, in a folder of its own.
#
#     my $cluster = CardxTest::Cluster->new->start;
#     my $node = $cluster->owner('cardx:card:{...}');
#     $cluster->redis($node, 'GET', 'cardx:ready:{1}');
#     $cluster->stop;

use strict;
use warnings;

use File::Temp ();
use IO::Socket::INET ();
use POSIX ();

use CardxTest ();

my @RANGES = ([ 0, 5460 ], [ 5461, 10922 ], [ 10923, 16383 ]);

sub new {
    my ($class) = @_;
    my $dir = File::Temp::tempdir('cxr.XXXX', DIR => '/tmp', CLEANUP => 1);
    my @ports = map { CardxTest::free_port() } 1 .. 6;
    return bless { dir => $dir, ports => [ @ports[ 0 .. 2 ] ],
        buses => [ @ports[ 3 .. 5 ] ], pids => [], links => [],
        owner => $$ }, $class;
}

# As cardx_redis and the settings have them.
sub addresses {
    my ($self) = @_;
    return join ' ', map { "127.0.0.1:$_" } @{ $self->{ports} };
}

sub start_node {
    my ($self, $i) = @_;
    my $dir = "$self->{dir}/$i";
    mkdir $dir;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$dir/out";
        open STDERR, '>&', \*STDOUT;
        exec 'redis-server', '--port', $self->{ports}[$i],
            '--bind', '127.0.0.1', '--cluster-enabled', 'yes',
            '--cluster-config-file', 'nodes.conf',
            '--cluster-node-timeout', 2000,
            '--cluster-require-full-coverage', 'no',
            '--cluster-port', $self->{buses}[$i], '--save', '',
            '--appendonly', 'no', '--dir', $dir, '--logfile', "$dir/log"
            or POSIX::_exit(127);
    }
    $self->{pids}[$i] = $pid;
    delete $self->{links}[$i];
    CardxTest->wait_for(sub { eval { $self->redis($i, 'PING') } }, 20)
        or die "redis $i does not start";
}

sub start {
    my ($self) = @_;
    $self->start_node($_) for 0 .. 2;
    $self->redis($_, 'CLUSTER', 'ADDSLOTSRANGE', @{ $RANGES[$_] }) for 0 .. 2;
    $self->redis(0, 'CLUSTER', 'MEET', '127.0.0.1', $self->{ports}[$_],
        $self->{buses}[$_]) for 1, 2;
    $self->await_whole or die 'the cluster does not form';
    return $self;
}

# Until every node knows all three, and thinks well of them.
sub await_whole {
    my ($self) = @_;
    return CardxTest->wait_for(sub {
        for my $i (0 .. 2) {
            my $info = eval { $self->redis($i, 'CLUSTER', 'INFO') } // '';
            return if $info !~ /cluster_state:ok/
                || $info !~ /cluster_slots_ok:16384/
                || $info !~ /cluster_size:3/;
        }
        return 1;
    }, 30);
}

sub signal {
    my ($self, $i, $signal) = @_;
    kill $signal, $self->{pids}[$i];
    return if $signal eq 'STOP' || $signal eq 'CONT';
    waitpid $self->{pids}[$i], 0;
    delete $self->{pids}[$i];
    delete $self->{links}[$i];
}

sub stop {
    my ($self) = @_;
    for my $i (0 .. 2) {
        $self->signal($i, 'KILL') if $self->{pids}[$i];
    }
}

# One command to one node; dies on an error reply.
sub redis {
    my ($self, $i, @command) = @_;
    my $socket = $self->{links}[$i] ||= IO::Socket::INET->new(
        PeerAddr => '127.0.0.1', PeerPort => $self->{ports}[$i])
        || die "redis $i: $!";
    my $text = '*' . @command . "\r\n";
    $text .= '$' . length($_) . "\r\n$_\r\n" for @command;
    local $SIG{PIPE} = 'IGNORE';
    print $socket $text;
    $socket->flush;
    my $reply = eval { CardxTest::redis_reply($socket) };
    my $why = $@;
    delete $self->{links}[$i] if $why =~ /gone/;
    die $why if $why;
    return $reply;
}

sub slot {
    my ($self, $name) = @_;
    return $self->redis($self->some, 'CLUSTER', 'KEYSLOT', $name);
}

sub some {
    my ($self) = @_;
    my ($i) = grep { $self->{pids}[$_] } 0 .. 2;
    return $i;
}

# The node that has a name, by the nodes themselves.
sub owner {
    my ($self, $name) = @_;
    my $slot = $self->slot($name);
    for my $i (0 .. 2) {
        return $i if ($self->{moved}{$slot} // -1) == $i;
    }
    my ($i) = grep { $RANGES[$_][0] <= $slot && $slot <= $RANGES[$_][1] }
        0 .. 2;
    return $i;
}

sub id { return $_[0]->redis($_[1], 'CLUSTER', 'MYID') }

# A slot begins to move: what is asked for there meanwhile is answered ASK.
sub migrate {
    my ($self, $slot, $from, $to) = @_;
    $self->redis($to, 'CLUSTER', 'SETSLOT', $slot, 'IMPORTING',
        $self->id($from));
    $self->redis($from, 'CLUSTER', 'SETSLOT', $slot, 'MIGRATING',
        $self->id($to));
    for my $name (@{ $self->redis($from, 'CLUSTER', 'GETKEYSINSLOT', $slot,
        1000) }) {
        $self->redis($from, 'MIGRATE', '127.0.0.1', $self->{ports}[$to],
            $name, 0, 5000);
    }
}

# And has moved.
sub settle {
    my ($self, $slot, $to) = @_;
    my $id = $self->id($to);
    $self->redis($_, 'CLUSTER', 'SETSLOT', $slot, 'NODE', $id)
        for $to, grep { $_ != $to } 0 .. 2;
    $self->{moved}{$slot} = $to;
}

# Whether a node says that its projection is complete.
sub ready {
    my ($self, $i) = @_;
    return eval {
        my ($run_id) = $self->redis($i, 'INFO', 'server') =~ /run_id:(\w+)/;
        my @names = grep { /^cardx:ready:/ }
            @{ $self->redis($i, 'KEYS', 'cardx:ready:*') };
        scalar grep { ($self->redis($i, 'GET', $_) // '') eq $run_id } @names;
    };
}

sub await_ready {
    my ($self) = @_;
    return CardxTest->wait_for(sub {
        !grep { !$self->ready($_) } 0 .. 2;
    }, 30);
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local $?;
    $self->stop;
}

1;
