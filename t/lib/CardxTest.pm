package CardxTest;

# A whole cardx for one test file: PostgreSQL, Redis, nginx with the module,
# all workers, in a folder of its own on free ports, by ci/demo's own code.
#
#     my $t = CardxTest->new->start;
#     my $me = $t->register('+8613800138000');
#     my $r = $t->post('/v1/cards', $card, { token => $me->{access_token} });
#     is($r->{status}, 201);
#     $t->finish;
#     done_testing;
#
# finish() adds two tests: everything stopped by itself, and no log holds an
# alert or a sanitizer's report.  The folder is kept when a test failed, or
# by CARDX_KEEP=1.

use strict;
use warnings;

use Cwd ();
use Digest::SHA ();
use Exporter qw(import);
use File::Basename ();
use File::Path ();
use File::Temp ();
use HTTP::Tiny ();
use IO::Socket::UNIX ();
use JSON::PP ();
use POSIX ();
use Socket ();
use Test::More ();
use Time::HiRes qw(sleep time);

use CardxTest::Port qw(free_port);

# HTTP::Tiny writes head and body apart; without this the second waits 40 ms
# for the first one's acknowledgement.
{
    no warnings 'redefine';
    my $connect = \&HTTP::Tiny::Handle::connect;
    *HTTP::Tiny::Handle::connect = sub {
        my $handle = $connect->(@_);
        setsockopt $handle->{fh}, Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1;
        return $handle;
    };
}

our @EXPORT_OK = qw(is_problem);
our $ROOT = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/../..');

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my @running;

# What no log may hold.
my $alarm = qr/
    \[(?:alert|emerg)\] | \balert:[ ] | Sanitizer | runtime[ ]error:
    | exited[ ]on[ ]signal[ ](?!15\b) | terminated[ ]by[ ]signal
    | segfault | PANIC | stack[ ]smashing | double[ ]free
/x;

# settings: {name => value} for cardx.conf.  fsync: 1 for a PostgreSQL that
# means it.  nginx_conf: [[qr/.../, text], ...], what is other than in
# conf/nginx.conf.  processes: nginx's workers.  refusals: what cardx_refusals
# takes.
sub new {
    my ($class, %options) = @_;
    my $self = bless { %options, owner => $$, expected => [], seen => {} },
        $class;

    $self->{build} = $ENV{CARDX_BUILD} || "$ROOT/build";
    $self->{var} = File::Temp::tempdir('cx.XXXX', DIR => '/tmp');
    chmod 0755, $self->{var};
    $self->edit_nginx_conf if $self->{nginx_conf};

    # several stacks share the machine, some with sanitizers: Redis is not away
    # because it is slow
    $self->{settings} = { redis_timeout => 1000, %{ $self->{settings} || {} } };
    $self->{port} = free_port();
    $self->{ops_port} = free_port();
    push @running, $self;

    # So that END below is reached.
    for my $signal (qw(INT TERM HUP)) {
        $SIG{$signal} = sub { exit 1 } unless $SIG{$signal};
    }

    # A server that is killed does not take along who is writing to it; a
    # handler, since what is ignored stays so in all that is started.
    $SIG{PIPE} ||= sub { };
    return $self;
}

sub edit_nginx_conf {
    my ($self) = @_;
    open my $in, '<', "$ROOT/conf/nginx.conf" or die "nginx.conf: $!";
    my $conf = do { local $/; <$in> };
    for (@{ $self->{nginx_conf} }) {
        my ($what, $text) = @$_;
        $conf =~ s/$what/$text/g or die "nginx.conf has no $what";
    }
    open my $out, '>', "$self->{var}/nginx.conf.in" or die "nginx.conf.in: $!";
    print $out $conf;
    close $out or die "nginx.conf.in: $!";
}

# Runs ci/demo with this instance's environment; its output, and success.
sub demo {
    my ($self, @arguments) = @_;
    local %ENV = (
        %ENV,
        CARDX_VAR => $self->{var},
        CARDX_PORT => $self->{port},
        CARDX_OPS_PORT => $self->{ops_port},
        CARDX_BUILD => $self->{build},
        CARDX_TEMPLATE => "$ROOT/build/template",
        CARDX_READY => 1,
        CARDX_FSYNC => $self->{fsync} ? 'on' : 'off',
        CARDX_SETTINGS => join("\n", map { "$_ $self->{settings}{$_}" }
            sort keys %{ $self->{settings} }),
    );
    # all tests come from one address
    $ENV{CARDX_REFUSALS} = $self->{refusals} || 'rate=1000r/s burst=100000';
    $ENV{CARDX_NGINX_CONF} = "$self->{var}/nginx.conf.in"
        if $self->{nginx_conf};
    $ENV{CARDX_NGINX_PROCESSES} = $self->{processes} if $self->{processes};
    my $output = capture("$ROOT/ci/demo", @arguments);
    return wantarray ? ($output, $? == 0) : $output;
}

sub capture {
    my (@command) = @_;
    my $pid = open my $out, '-|';
    die "fork: $!" unless defined $pid;
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec @command or print "$command[0]: $!\n";
        POSIX::_exit(127);
    }
    local $/;
    my $output = <$out>;
    close $out;
    return $output;
}

# One at a time makes the database that all are copied from.
sub template {
    mkdir "$ROOT/build";
    open my $lock, '>', "$ROOT/build/template.lock" or die "template.lock: $!";
    flock $lock, 2;
    my $output = capture("$ROOT/ci/demo", 'template', "$ROOT/build/template");
    die "no database: $output" if $?;
    close $lock;
}

# PostgreSQL alone, with the schema and pgTAP.
sub start_database {
    my ($self) = @_;
    template();
    my ($output, $good) = $self->demo('database');
    die "no database: $output" unless $good;
    return $self;
}

# Starts it; also brings back those of postgres, redis, nginx and cardxd that
# were ended.
sub start {
    my ($self) = @_;

    template();
    my ($output, $good) = $self->demo('start');
    die "it does not start: $output" unless $good;

    delete $self->{redis_socket};
    open my $env, '<', "$self->{var}/demo.env" or die "demo.env: $!";
    while (<$env>) {
        $self->{lc $1} = $2 if /^CARDX_(\w+)='(.*)'$/;
    }
    $self->connect_anew;
    return $self;
}

# A child must not use its parent's connection.
sub connect_anew {
    my ($self) = @_;
    $self->{http} = HTTP::Tiny->new(
        verify_SSL => 1, max_redirect => 0, keep_alive => 1, timeout => 30,
        SSL_options => { SSL_ca_file => $self->{ca} });
}

sub url { $_[0]{url} }
sub ops_url { $_[0]{ops_url} }
sub ca { $_[0]{ca} }
sub var { $_[0]{var} }

# --- HTTP ------------------------------------------------------------------

# request(method, path, body, headers): a reference as body is sent as JSON,
# text as it is.  Headers `token` and `key` stand for a bearer token and a
# card key.  Gives {status, headers, body, json}.
sub request {
    my ($self, $method, $path, $body, $headers) = @_;
    my %headers = %{ $headers || {} };
    my %options;

    my $token = delete $headers{token};
    $headers{Authorization} = "Bearer $token" if defined $token;
    my $key = delete $headers{key};
    $headers{'Cardx-Key'} = $key if defined $key;

    if (ref $body) {
        $options{content} = $json->encode($body);
        $headers{'Content-Type'} ||= $method eq 'PATCH'
            ? 'application/merge-patch+json' : 'application/json';
    } elsif (defined $body) {
        $options{content} = $body;
    }

    my $url = $path =~ m{^https?://} ? $path : $self->{url} . $path;
    my $r = $self->{http}->request($method, $url,
        { %options, headers => \%headers });

    # HTTP::Tiny gives up when it can't close a connection that nginx has closed
    # already; the request was not sent
    if ($r->{status} == 599 && $r->{content} =~ /^Could not close socket/) {
        $self->connect_anew;
        $r = $self->{http}->request($method, $url,
            { %options, headers => \%headers });
    }
    my $answer = { status => $r->{status}, headers => $r->{headers},
        body => $r->{content} };
    if (($r->{headers}{'content-type'} || '') =~ m{^application/(?:[\w.-]+\+)?json}) {
        $answer->{json} = eval { $json->decode($r->{content}) };
    }
    return $answer;
}

sub get { my $self = shift; $self->request('GET', @_) }
sub head { my $self = shift; $self->request('HEAD', @_) }
sub post { my $self = shift; $self->request('POST', @_) }
sub put { my $self = shift; $self->request('PUT', @_) }
sub patch { my $self = shift; $self->request('PATCH', @_) }
sub delete { my $self = shift; $self->request('DELETE', @_) }

# The same on the loopback port of operation.
sub ops {
    my ($self, $method, $path, @rest) = @_;
    return $self->request($method, $self->{ops_url} . $path, @rest);
}

# An answer says that something went wrong, and what (RFC 9457).
sub is_problem {
    my ($r, $status, $code, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    Test::More::is(join(' ', $r->{status}, $r->{json}{code} // '',
        $r->{headers}{'content-type'} // ''),
        "$status $code application/problem+json", $name)
        or Test::More::diag($r->{body});
}

# --- people ----------------------------------------------------------------

# All SMS to a number so far, oldest first.
sub all_sms {
    my ($self, $phone) = @_;
    open my $in, '<', $self->{sms_log} or return;
    my @all;
    while (my $line = <$in>) {
        next unless $line =~ /\n\z/;
        my $sms = eval { $json->decode($line) } or next;
        push @all, $sms->{text} if $sms->{to} eq $phone;
    }
    return @all;
}

# The newest SMS to a number; waits for one that was not given before, undef
# after `seconds` (10).
sub sms {
    my ($self, $phone, $seconds) = @_;
    my @all;
    $self->wait_for(sub {
        @all = $self->all_sms($phone);
        @all > ($self->{seen}{$phone} || 0);
    }, $seconds || 10) or return undef;
    $self->{seen}{$phone} = @all;
    return $all[-1];
}

# An account by the real way: {phone, user_id, terminal_id, access_token,
# refresh_token, initial_password, ...}.  Dies if that does not work.
sub register {
    my ($self, $phone, %more) = @_;
    my $r = $self->post('/v1/registrations',
        { phone => $phone, method => 'sms-down' });
    die "registration: $r->{status} $r->{body}" if $r->{status} != 202;

    my $text = $self->sms($phone) // die "no SMS to $phone";
    my ($code) = $text =~ /(?<!\d)(\d{6})(?!\d)/ or die "no code in: $text";

    $r = $self->post("/v1/registrations/$r->{json}{registration_id}/verify",
        { code => $code, terminal => { name => 'test' }, %more });
    die "verify: $r->{status} $r->{body}" if $r->{status} != 200;
    return { phone => $phone, %{ $r->{json} } };
}

# Proofs of numbers so far do not count any more: others can be started.
sub forget_limits {
    my ($self) = @_;
    $self->psql("update cardx.registrations
        set created_at = created_at - interval '2 hours'");
}

# Another terminal of an account.
sub sign_in {
    my ($self, $phone, $password, $name) = @_;
    my $r = $self->post('/v1/sessions', { phone => $phone,
        password => $password, terminal => { name => $name || 'second' } });
    die "session: $r->{status} $r->{body}" if $r->{status} != 200;
    return { phone => $phone, %{ $r->{json} } };
}

# --- cards -----------------------------------------------------------------

# A card of whoever the headers are of; gives its id.  Dies if that does not
# work, as do the next.
sub card {
    my ($self, $headers, %card) = @_;
    my $r = $self->post('/v1/cards',
        { '@type' => 'Card', version => '1.0', %card }, $headers);
    die "card: $r->{status} $r->{body}" if $r->{status} != 201;
    return $r->{json}{card_id};
}

# A key of a card: {card, key, key_id, link, thumbnail, ...}.
sub key {
    my ($self, $headers, $card, %options) = @_;
    my $r = $self->post("/v1/cards/$card/keys", { ttl => 3600, %options },
        $headers);
    die "key: $r->{status} $r->{body}" if $r->{status} != 201;
    return { card => $card, %{ $r->{json} } };
}

# Takes a key of key() back; the answer.
sub revoke {
    my ($self, $headers, $key) = @_;
    return $self->delete("/v1/cards/$key->{card}/keys/$key->{key_id}", undef,
        $headers);
}

# The card that a key of key() opens, as JSON; the answer.
sub fetch {
    my ($self, $key) = @_;
    return $self->get("/c/$key->{card}", undef, { key => $key->{key},
        Accept => 'application/jscontact+json' });
}

# How often nginx has answered on a path in one way, as $cardx_status names it.
sub answered {
    my ($self, $path, $status) = @_;
    my ($n) = $self->ops('GET', '/metrics')->{body}
        =~ /^cardx_edge_requests_total\{path="$path",status="$status"\} (\d+)/m;
    return $n // 0;
}

# Until all that must happen outside has happened.
sub outbox_empty {
    my ($self, $seconds) = @_;
    return $self->wait_for(sub {
        $self->psql('select count(*) from cardx.outbox') == 0 }, $seconds);
}

# --- PostgreSQL, Redis -----------------------------------------------------

# What psql prints for a statement, without alignment; dies on an error.
sub psql {
    my ($self, $sql, $role, $database) = @_;
    my $output = capture('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-h',
        "$self->{var}/pgrun", '-U', $role || 'postgres', '-d',
        $database || 'cardx', '-c', $sql);
    die "psql: $output" if $?;
    chomp $output;
    return $output;
}

# One command; bulk strings and integers as text, arrays as references, nil
# as undef.  Dies on an error reply.  What a test changes behind the workers'
# back, the caches at the edge are told to forget.
sub redis {
    my ($self, @command) = @_;
    my $reply = $self->redis_command(@command);
    $self->forget if $command[0] =~ /^(?:H?DEL|H?SET|EXPIRE)$/
        && grep { /^cardx:(?:card|q|token|terminal|thumb|head):/ } @command;
    return $reply;
}

sub redis_command {
    my ($self, @command) = @_;
    my $socket = $self->{redis_socket} ||= IO::Socket::UNIX->new(
        Peer => $self->{redis}) || die "Redis: $!";
    my $text = '*' . @command . "\r\n";
    $text .= '$' . length($_) . "\r\n$_\r\n" for @command;
    local $SIG{PIPE} = 'IGNORE';
    print $socket $text;
    $socket->flush;
    return redis_reply($socket);
}

sub redis_reply {
    my ($socket) = @_;
    my $line = <$socket> // die "Redis has gone";
    $line =~ s/\r\n\z//;
    my ($kind, $rest) = $line =~ /^(.)(.*)/s or die "Redis: $line";

    return $rest if $kind eq '+' || $kind eq ':';
    die "Redis: $rest" if $kind eq '-';
    return undef if $rest == -1;
    return [ map { redis_reply($socket) } 1 .. $rest ] if $kind eq '*';

    read $socket, my $bulk, $rest + 2;
    return substr $bulk, 0, $rest;
}

# Until denials can be confirmed after a flush: Redis must have known for a
# second which caches there are.
sub settle {
    my ($self) = @_;
    return $self->wait_for(sub {
        my $since = $self->redis('HGET', 'cardx:{zones}', 'since') // '';
        $since =~ / (\d+)$/ && $1 < (time - 1) * 1000;
    });
}

# Lets the caches at the edge forget everything; true when they have.
sub forget {
    my ($self) = @_;
    my $nonce = sprintf '%08x%08x', rand 2**32, rand 2**32;
    my %zones = @{ $self->redis('HGETALL', 'cardx:{zones}') };
    delete $zones{since};
    $self->redis('PUBLISH', 'cardx:forget', "$nonce *");
    return $self->wait_for(sub {
        !grep { !$self->redis('EXISTS', "cardx:{zones}:ack:$nonce:$_") }
            keys %zones }, 2);
}

# --- processes -------------------------------------------------------------

# Of postgres, redis, nginx, cardxd, api-fast-0, fanout, deliver-0, ...
sub pid {
    my ($self, $name) = @_;
    open my $in, '<', "$self->{pids}/$name.pid" or return undef;
    my $pid = <$in>;
    return defined $pid && $pid =~ /^(\d+)/ ? $1 : undef;
}

sub alive {
    my ($self, $name) = @_;
    my $pid = $self->pid($name);
    return defined $pid && -d "/proc/$pid";
}

# The program that a name of pid() stands for.
sub program {
    my ($self, $name) = @_;
    return '/usr/lib/postgresql/15/bin/postgres' if $name eq 'postgres';
    return Cwd::abs_path('/usr/bin/redis-server') if $name eq 'redis';
    return Cwd::abs_path($ENV{CARDX_NGINX} || '/usr/sbin/nginx')
        if $name eq 'nginx';
    open my $in, '<', "$self->{var}/cardxd.path" or die "cardxd.path: $!";
    chomp(my $path = <$in>);
    return $path if $name eq 'cardxd';
    (my $kind = $name) =~ s/-.*//;
    return File::Basename::dirname($path) . "/cardx-$kind";
}

# Whether a process is one of that name; what its number was given to since is
# not.  A worker that has just been forked is not yet.
sub is_process {
    my ($self, $name, $pid) = @_;
    my $exe = readlink "/proc/$pid/exe" // return 0;
    $exe =~ s/ \(deleted\)\z//;
    return $exe eq $self->program($name);
}

# Sends a signal to a process, if it is one of that name: whether it did.
sub strike {
    my ($self, $name, $signal, $pid) = @_;
    $pid //= $self->pid($name);
    return defined $pid && $self->is_process($name, $pid)
        && kill $signal, $pid;
}

sub signal {
    my ($self, $name, $signal) = @_;
    my $pid;
    $self->wait_for(sub {
        $pid = $self->pid($name);
        $self->strike($name, $signal, $pid);
    }) or die "$name does not run";
    return $pid;
}

# Lets a stopped Redis go on.  Nothing outside shows when a worker's circuit
# breaker closes: 200 ms after what failed last.
sub thaw_redis {
    my ($self) = @_;
    $self->signal('redis', 'CONT');
    sleep 0.3;
}

# Ends a process the hard way.  A worker: waits for its successor, and gives
# its pid.  postgres, redis, nginx, cardxd: start() brings it back.
sub kill9 {
    my ($self, $name) = @_;
    my $old = $self->signal($name, 'KILL');
    $self->expect_log(qr/exited on signal 9/);
    $self->wait_for(sub { !-d "/proc/$old" || zombie($old) }, 10);

    if ($name =~ /^(?:postgres|redis|nginx|cardxd)$/) {
        delete $self->{redis_socket} if $name eq 'redis';
        return;
    }

    my $new;
    $self->wait_for(sub {
        $new = $self->pid($name);
        defined $new && $new != $old && -d "/proc/$new";
    }, 10) or die "$name does not come back";
    return $new;
}

sub zombie {
    my ($pid) = @_;
    open my $in, '<', "/proc/$pid/stat" or return 1;
    return (<$in> // ') Z') =~ /\) Z/;
}

# Until the code returns true, at most `seconds` (10); what it returned.
sub wait_for {
    my ($self, $code, $seconds) = @_;
    my $end = time + ($seconds || 10);
    for (;;) {
        my $result = $code->();
        return $result if $result;
        return if time > $end;
        sleep 0.02;
    }
}

# Calls of the code at once, one process each; gives what they returned.
sub at_once {
    my ($self, @calls) = @_;
    my @pipes = map {
        my $call = $_;
        my $pid = open my $out, '-|';
        die "fork: $!" unless defined $pid;
        if (!$pid) {
            $self->connect_anew;
            print $call->();
            close STDOUT;
            POSIX::_exit(0);
        }
        $out;
    } @calls;
    return map { my $out = $_; local $/; scalar <$out> } @pipes;
}

# What Redis calls a card key: keys are written in base32 (RFC 4648).
sub hash_name {
    my ($key) = @_;
    my $bits = join '', map { sprintf '%05b',
        index 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', $_ } split //, $key;
    return substr Digest::SHA::sha256_hex(pack 'B128', $bits), 0, 32;
}

# --- the end ---------------------------------------------------------------

# Lines of logs that would fail the test, but belong to what it does.
sub expect_log {
    my ($self, $pattern) = @_;
    push @{ $self->{expected} }, $pattern;
}

sub read_log {
    my ($self, $name) = @_;
    open my $in, '<', "$self->{var}/log/$name" or return '';
    local $/;
    return scalar <$in>;
}

sub alarms {
    my ($self) = @_;
    my @lines;
    for my $file (glob "$self->{var}/log/*.log") {
        open my $in, '<', $file or next;
        while (my $line = <$in>) {
            next if $line !~ $alarm;
            # nginx's own code, which the sanitizer of undefined behaviour
            # does not like everywhere
            next if $line =~ m{^src/(?:core|event|http|os)/.*runtime error:};
            next if grep { $line =~ $_ } @{ $self->{expected} };
            push @lines, File::Basename::basename($file) . ": $line";
        }
    }
    return @lines;
}

sub finish {
    my ($self) = @_;
    return if $self->{finished}++;

    my $output = $self->demo('stop');
    my @alarms = $self->alarms;
    Test::More::is($output, '', 'everything stopped by itself');
    Test::More::is(join('', @alarms), '', 'no alert in the logs');
    $self->clean;
}

sub clean {
    my ($self) = @_;
    if ($ENV{CARDX_KEEP} || !Test::More->builder->is_passing) {
        Test::More::diag("kept: $self->{var}");
        return;
    }
    File::Path::remove_tree($self->{var});
}

# A test that died: nothing is left running.
END {
    my $status = $?;
    for my $self (grep { $_->{owner} == $$ && !$_->{finished}++ } @running) {
        $self->demo('stop');
        Test::More::diag($_) for $self->alarms;
        Test::More::diag("kept: $self->{var}");
    }
    $? = $status;
}

1;
