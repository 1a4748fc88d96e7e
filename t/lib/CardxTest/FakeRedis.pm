package CardxTest::FakeRedis;

# A Redis that misbehaves on demand: a process that answers from a store it
# is told, in one of these modes, which holds for what requests ask:
#
#     good      as Redis would
#     split     byte by byte
#     stall     nothing, but all of it later, in another mode
#     close     closes the connection instead
#     half      half of the answer, then closes the connection
#     error     -ERR; loading: -LOADING; moved: -MOVED to where nobody is
#     loop      -MOVED to itself; asking: -ASK to itself
#     nested    an array in an array; long: more elements than asked for
#     short     all but the last element
#     garbage   no RESP; unasked: an answer too many
#     integers  numbers in place of strings
#
# What the link itself asks (INFO, cardx:ready), and counted scans, of which
# no request knows, are answered well, except in stall, and in `silent`, which
# accepts and never says a word, and in `refuse`, which answers AUTH and SELECT
# with an error.

use strict;
use warnings;

use IO::Select ();
use IO::Socket::INET ();
use IO::Socket::UNIX ();
use POSIX ();
use Socket qw(SOMAXCONN);
use Storable ();
use Time::HiRes qw(sleep);

my $RUN_ID = 'f' x 40;

# In these modes a link goes on, and what is told is refused, too.
my $refusing = qr/^(?:error|loading|moved|named|loop|asking)$/;

# With a port it listens there, and is the one node of a cluster.
sub new {
    my ($class, $socket, $dir, $port) = @_;
    my $self = bless { socket => $socket, dir => $dir, store => {},
        port => $port }, $class;
    $self->mode('good');
    $self->save;
    return $self;
}

sub encode {
    my (@arguments) = @_;
    return join '', '*' . @arguments . "\r\n",
        map { '$' . length($_) . "\r\n$_\r\n" } @arguments;
}

# --- in the test -----------------------------------------------------------

sub mode {
    my ($self, $mode) = @_;
    replace("$self->{dir}/fake.mode", $mode);
}

# SET, HSET, HDEL, DEL into the store.
sub put {
    my ($self, $command, $name, @rest) = @_;
    my $store = $self->{store};
    if ($command eq 'SET') {
        $store->{$name} = $rest[0];
    } elsif ($command eq 'HSET') {
        $store->{$name} = { %{ $store->{$name} || {} }, @rest };
    } elsif ($command eq 'HDEL') {
        delete $store->{$name}{$_} for @rest;
    } elsif ($command eq 'DEL') {
        delete $store->{$name};
    } else {
        die "fake redis: no $command";
    }
    $self->save;
}

sub save {
    my ($self) = @_;
    replace("$self->{dir}/fake.store", Storable::freeze($self->{store}));
}

# What requests asked so far, each a line.
sub asked {
    my ($self) = @_;
    open my $fh, '<', "$self->{dir}/fake.asked" or return ();
    my @lines = <$fh>;
    chomp @lines;
    return @lines;
}

sub replace {
    my ($path, $bytes) = @_;
    open my $fh, '>:raw', "$path.new" or die "$path: $!";
    print $fh $bytes;
    close $fh or die "$path: $!";
    rename "$path.new", $path or die "$path: $!";
}

sub slurp {
    my ($path) = @_;
    open my $fh, '<:raw', $path or return '';
    local $/;
    return scalar <$fh> // '';
}

sub start {
    my ($self) = @_;
    unlink $self->{socket};
    my $listen = $self->{port}
        ? IO::Socket::INET->new(LocalAddr => '127.0.0.1', ReuseAddr => 1,
            LocalPort => $self->{port}, Listen => SOMAXCONN)
        : IO::Socket::UNIX->new(
            Local => $self->{socket}, Listen => SOMAXCONN);
    die "fake redis: $!" if !$listen;
    chmod 0777, $self->{socket} if !$self->{port};
    $self->{pid} = fork // die "fork: $!";
    return if $self->{pid};
    $SIG{PIPE} = 'IGNORE';
    $SIG{$_} = 'DEFAULT' for qw(TERM INT);
    eval { $self->serve($listen) };
    warn $@ if $@;
    POSIX::_exit(1);
}

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    kill 'KILL', $pid;
    waitpid $pid, 0;
    unlink $self->{socket};
}

# --- in the process --------------------------------------------------------

sub serve {
    my ($self, $listen) = @_;
    my $select = IO::Select->new($listen);
    my (%in, %held);
    open my $asked, '>>', "$self->{dir}/fake.asked" or die;
    $asked->autoflush;

    while (1) {
        for my $ready ($select->can_read(0.02)) {
            if ($ready == $listen) {
                my $client = $listen->accept or next;
                $select->add($client);
                $in{$client} = '';
                next;
            }
            if (!sysread $ready, $in{$ready}, 65536, length $in{$ready}) {
                $select->remove($ready);
                delete @$_{$ready} for \%in, \%held;
                close $ready;
                next;
            }
            while (defined(my $command = shift_command(\$in{$ready}))) {
                my $good = $self->answer($ready, $command, $asked,
                    $held{$ready} ||= []);
                next if $good;
                $select->remove($ready);
                delete @$_{$ready} for \%in, \%held;
                close $ready;
                last;
            }
        }
        next if $self->now eq 'stall' || $self->now eq 'silent';
        for my $client ($select->handles) {
            send_all($client, $_) for splice @{ $held{$client} || [] };
        }
    }
}

sub now { return slurp("$_[0]{dir}/fake.mode") }

sub shift_command {
    my ($in) = @_;
    my ($n) = $$in =~ /^\*(\d+)\r\n/ or return;
    my $at = length "*$n\r\n";
    my @arguments;
    for (1 .. $n) {
        substr($$in, $at) =~ /^\$(\d+)\r\n/ or return;
        my $length = $1;
        $at += length "\$$length\r\n";
        return if length($$in) < $at + $length + 2;
        push @arguments, substr $$in, $at, $length;
        $at += $length + 2;
    }
    substr $$in, 0, $at, '';
    return \@arguments;
}

sub send_all {
    my ($client, $bytes) = @_;
    my $at = 0;
    while ($at < length $bytes) {
        my $n = syswrite $client, $bytes, length($bytes) - $at, $at;
        return if !$n;
        $at += $n;
    }
}

sub bulk {
    my ($value) = @_;
    return defined $value ? '$' . length($value) . "\r\n$value\r\n"
        : "\$-1\r\n";
}

# False: the connection is to be closed.
sub answer {
    my ($self, $client, $command, $asked, $held) = @_;
    my ($name, @rest) = @$command;
    my $mode = $self->now;
    my $own = $name =~ /^(?:AUTH|SELECT|INFO|CLUSTER)$/
        || $name eq 'GETEX' && $rest[0] =~ /^cardx:ready\b/
        || $name eq 'EVAL' && $mode !~ $refusing;

    if (!$own) {
        print $asked join(' ', @$command), "\n";
    }

    my $good = $self->reply($name, @rest);

    if ($mode eq 'stall' || $mode eq 'silent') {
        push @$held, $good;
        return 1;
    }
    if ($mode eq 'refuse' && $name =~ /^(?:AUTH|SELECT)$/) {
        send_all($client, "-WRONGPASS invalid\r\n");
        return 1;
    }
    if ($own || $mode eq 'good' || $mode eq 'refuse') {
        send_all($client, $good);
        return 1;
    }
    if ($mode eq 'split') {
        for (split //, $good) {
            send_all($client, $_);
            sleep 0.0002;
        }
        return 1;
    }
    if ($mode eq 'short') {
        pop @rest;
        send_all($client, $self->reply($name, @rest));
        return 1;
    }
    return 0 if $mode eq 'close';
    if ($mode eq 'half') {
        send_all($client, substr $good, 0, length($good) / 2);
        return 0;
    }
    my %bytes = (
        error => "-ERR something\r\n",
        loading => "-LOADING Redis is loading the dataset in memory\r\n",
        moved => "-MOVED 12182 127.0.0.1:1\r\n",
        loop => '-MOVED 12182 127.0.0.1:' . ($self->{port} || 1) . "\r\n",
        asking => '-ASK 12182 127.0.0.1:' . ($self->{port} || 1) . "\r\n",
        named => "-MOVED 12182 redis.example:6379\r\n",
        nested => "*4\r\n*1\r\n\$1\r\nx\r\n\$-1\r\n\$-1\r\n\$-1\r\n",
        long => '*9' . ("\r\n\$1\r\nx" x 9) . "\r\n",
        garbage => "HTTP/1.1 400 Bad Request\r\n\r\n",
        unasked => "$good+OK\r\n",
        integers => '*4' . ("\r\n:7" x 4) . "\r\n",
    );
    send_all($client, $bytes{$mode} // die "no mode $mode");
    return 1;
}

sub reply {
    my ($self, $name, @rest) = @_;
    my $store = Storable::thaw(slurp("$self->{dir}/fake.store"));

    return "+OK\r\n" if $name eq 'AUTH' || $name eq 'SELECT';
    return bulk("# Server\r\nredis_version:7.0.15\r\nrun_id:$RUN_ID\r\n")
        if $name eq 'INFO';
    return bulk($RUN_ID) if $name eq 'GETEX' && $rest[0] =~ /^cardx:ready\b/;
    return "+OK\r\n" if $name eq 'ASKING';
    return bulk(('f' x 40) . " 127.0.0.1:$self->{port}\@1 myself,master - 0 "
        . "0 1 connected 0-16383\n") if $name eq 'CLUSTER';
    return bulk($store->{ $rest[0] }) if $name eq 'GET';
    return ":1\r\n" if $name eq 'EVAL';
    return join '', '*' . @rest . "\r\n", map { bulk($store->{$_}) } @rest
        if $name eq 'MGET';
    if ($name eq 'HMGET') {
        my ($key, @fields) = @rest;
        my $hash = $store->{$key} || {};
        return join '', '*' . @fields . "\r\n",
            map { bulk($hash->{$_}) } @fields;
    }
    return "-ERR unknown command\r\n";
}

1;
