package Bench;

# What the measurements share: server CPU from /proc, rounds taken in turn,
# medians, and the RESULT lines.

use strict;
use warnings;

use Exporter 'import';
use POSIX ();

our @EXPORT_OK = qw(cores cpu_seconds children end_nginx filled has_directive
    least median nginx pinned put_file ratio result rounds wrk);

my $ticks = POSIX::sysconf(POSIX::_SC_CLK_TCK());

# The core for servers and the core for the load; the same if there is one.
sub cores {
    my $n = () = do { open my $in, '<', '/proc/cpuinfo'; local $/;
        <$in> =~ /^processor/mg };
    return $n > 1 ? (0, 1) : (0, 0);
}

# User and system time of processes so far, in seconds.
sub cpu_seconds {
    my $sum = 0;
    for my $pid (@_) {
        open my $in, '<', "/proc/$pid/stat" or next;
        my ($rest) = (<$in> // '') =~ /\) (.*)/ or next;
        my @field = split ' ', $rest;
        $sum += $field[11] + $field[12];
    }
    return $sum / $ticks;
}

# A process and all below it.
sub children {
    my ($pid) = @_;
    my @all = ($pid);
    for my $task (glob "/proc/$pid/task/*/children") {
        open my $in, '<', $task or next;
        push @all, map { children($_) } split ' ', <$in> // '';
    }
    return @all;
}

sub pinned {
    my ($core, @pids) = @_;
    system("taskset -apc $core $_ >/dev/null 2>&1") for @pids;
}

# A file with this text.
sub put_file {
    my ($name, $text) = @_;
    open my $out, '>:raw', $name or die "$name: $!";
    print $out $text;
    close $out or die "$name: $!";
}

# A template of bench/ with values for its words between @ signs.
sub filled {
    my ($file, %value) = @_;
    open my $in, '<', $file or die "$file: $!";
    my $text = do { local $/; <$in> };
    $text =~ s{@([A-Z_]+)@}{$value{$1} // die "$file: $1 has no value"}ge;
    return $text;
}

my @nginx;
END {
    my $status = $?;
    kill 'QUIT', @nginx;
    waitpid $_, 0 for @nginx;
    $? = $status;
}

# Starts an nginx of the measurement's own; gives its process id.  Peers are
# run by the packaged one (`packaged`), whose modules fit no other.
sub nginx {
    my ($conf, %o) = @_;
    my $binary = !$o{packaged} && $ENV{CARDX_NGINX} || '/usr/sbin/nginx';
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        (my $log = $conf) =~ s/\.conf$/-error.log/;
        exec $binary, '-c', $conf, '-e', $log or POSIX::_exit(127);
    }
    push @nginx, $pid;
    return $pid;
}

# Ends one of them.
sub end_nginx {
    my ($pid) = @_;
    kill 'QUIT', $pid;
    waitpid $pid, 0;
    @nginx = grep { $_ != $pid } @nginx;
}

# Whether the module knows a directive: rows that need it wait for it.
sub has_directive {
    my ($build, $directive) = @_;
    my $file = $ENV{CARDX_NGINX} || "$build/ngx_http_cardx_module.so";
    open my $in, '<:raw', $file or die "$file: $!";
    local $/;
    return <$in> =~ /\0\Q$directive\E\0/ ? 1 : 0;
}

# A short look may use no tick of the clock: then there is no ratio.
sub ratio {
    my ($one, $other) = @_;
    return $other > 0 ? $one / $other : 'inf';
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[$#sorted / 2];
}

# One run of wrk, on the load's core: {requests, bad, per_second, p50, p99}.
# It knows whole seconds only, so that less is ended by a signal.
sub wrk {
    my (%o) = @_;
    my (undef, $core) = cores();
    my @command = ('taskset', '-c', $core, 'wrk', '-t1',
        '-c', $o{connections} || 64, '--latency');
    my $seconds = $o{seconds} || 3;
    unshift @command, 'timeout', '-s', 'INT', $seconds if $seconds < 1;
    push @command, '-d', POSIX::ceil($seconds) . 's';
    push @command, '-s', $o{script} if $o{script};
    push @command, map { ('-H', $_) } @{ $o{headers} || [] };
    push @command, $o{url}, @{ $o{arguments} || [] };

    open my $out, '-|', @command or die "wrk: $!";
    my $text = do { local $/; <$out> };
    close $out or $seconds < 1 && $? >> 8 == 124 or die "wrk failed:\n$text";

    my ($requests) = $text =~ /(\d+) requests in/;

    # all went by with starting or connecting
    return wrk(%o, seconds => 2 * $seconds) if !$requests && $seconds < 5;

    die "wrk said:\n$text" if !defined $requests;
    my ($bad) = $text =~ /Non-2xx or 3xx responses: (\d+)/;
    my ($per_second) = $text =~ m{Requests/sec:\s+([\d.]+)};
    my %unit = (us => 1e-3, ms => 1, s => 1e3);
    my %latency = map { $_ => ($text =~ /^\s+$_%\s+([\d.]+)(us|ms|s)/m
        ? $1 * $unit{$2} : 0) } 50, 99;
    return { requests => $requests, bad => $bad || 0,
        per_second => $per_second, p50 => $latency{50}, p99 => $latency{99} };
}

# Measures several things in turn, `rounds` times, after one round that does
# not count (unless it is the only one: to see that all works).  Each is {name, pids => [...], run => sub -> wrk's hash}.  Gives
# {name => {us, per_second, p50, p99}}: medians; us is server CPU per request.
sub rounds {
    my ($rounds, @things) = @_;
    my %all;

    for my $round (0 .. $rounds) {
        for my $thing (@things) {
            my $before = cpu_seconds(@{ $thing->{pids} });
            my $run = $thing->{run}->();
            my $used = cpu_seconds(@{ $thing->{pids} }) - $before;
            die "$thing->{name}: $run->{bad} of $run->{requests} failed\n"
                if $run->{bad} || !$run->{requests};
            next if !$round && $rounds;
            push @{ $all{ $thing->{name} }{us} },
                1e6 * $used / $run->{requests};
            push @{ $all{ $thing->{name} }{$_} }, $run->{$_}
                for qw(per_second p50 p99);
        }
    }

    for my $name (keys %all) {
        $_ = median(@$_) for values %{ $all{$name} };
    }
    return \%all;
}

# The line for programs: met, if the value is not above the goal ...
sub result {
    my ($name, $value, $goal, $format) = @_;
    $value = sprintf $format || '%.2f', $value;
    printf "RESULT %s %s %s %s\n", $name, $value, $goal,
        $value <= $goal ? 'met' : 'short';
}

# ... or not below it.
sub least {
    my ($name, $value, $goal) = @_;
    $value = sprintf '%.2f', $value;
    printf "RESULT %s %s %s %s\n", $name, $value, $goal,
        $value >= $goal ? 'met' : 'short';
}

1;
