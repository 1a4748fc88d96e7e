#!/usr/bin/perl
# Delivery of SMS: each at most once, none lost while the gateway was
# certainly not called; by the log gateway, by a gateway that fails in every
# way, and by a real Kannel.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Temp ();
use IO::Socket::INET ();
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;
use CardxTest::Kannel;

my $t;
my $n = 0;

# A message as a request would leave it; its id.
sub sms {
    my ($to, $text, %more) = @_;
    my $id = sprintf 's%027d', ++$n;
    my $sealed = CardxTest::capture("$t->{build}/tools/sms_seal",
        "$t->{var}/conf/cardx.conf", $id, $text);
    chomp $sealed;
    my $state = $more{state} || 'queued';
    my $expires = $more{expires} || '10 min';
    $t->psql("insert into cardx.sms (sms_id, recipient, sealed_text, state,
        expires_at) values ('$id', '$to', '$sealed', '$state',
        now() + interval '$expires');
        select cardx.outbox_add('sms', '$id')");
    return $id;
}

sub state_of {
    my ($id) = @_;
    return $t->psql("select state || ' '
        || (sealed_text is null)::text || ' ' || (select count(*)
        from cardx.outbox where object = '$id')
        from cardx.sms where sms_id = '$id'");
}

# Until it is settled: nothing more to do, and the text erased.
sub becomes {
    my ($id, $state, $name) = @_;
    $t->wait_for(sub { state_of($id) eq "$state true 0" }, 15);
    is(state_of($id), "$state true 0", $name);
}

sub hurry { $t->psql('update cardx.outbox set due_at = now()') }

sub calm_logs {
    my ($name) = @_;
    my $all = join '', map { $t->read_log($_) }
        map { s{.*/}{}r } glob "$t->{var}/log/*.log";
    unlike($all, qr/1380013|the code 4711|%2B8613/, $name);
}

# --- the log gateway ---------------------------------------------------------

$t = CardxTest->new(settings => { workers_deliver => 1 })->start;

my $id = sms('+8613800138001', 'the code 4711');
becomes($id, 'sent', 'handed to the log');
is_deeply([ $t->all_sms('+8613800138001') ], ['the code 4711'], 'once');

$id = sms('+8613800138002', "quote \" and \\ and \x{e9}\x{4f60}");
becomes($id, 'sent', 'a text with everything in it');

my @lines = split /\n/, do {
    open my $in, '<', $t->{sms_log} or die;
    local $/;
    <$in>;
};
like(decode_json($lines[0])->{at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
    'at');
is(join(',', sort keys %{ decode_json($lines[0]) }), 'at,text,to',
    'nothing else in it');

becomes(sms('+8613800138003', 'late', expires => '-1 s'), 'failed',
    'expired: not sent');
becomes(sms('+8613800138003', 'was in hand', state => 'sending'), 'doubtful',
    'found in hand: never sent again');
$id = sms('+8613800138003', 'twice', state => 'sent');
$t->wait_for(sub { state_of($id) =~ / 0$/ });
is($t->all_sms('+8613800138003'), 0, 'none of these went out');

# a file that can't be written is a gateway that was not called
rename $t->{sms_log}, "$t->{sms_log}.away";
mkdir $t->{sms_log};
$id = sms('+8613800138004', 'patience');
$t->wait_for(sub { $t->psql("select attempts from cardx.outbox where object =
    '$id'") || 0 > 0 });
sleep 0.2;
is(state_of($id), 'queued false 1', 'kept while the log can not be written');
rmdir $t->{sms_log};
hurry();
becomes($id, 'sent', 'and sent when it can');
is((stat $t->{sms_log})[2] & 0777, 0600, 'a new log is for nobody else');
is_deeply([ $t->all_sms('+8613800138004') ], ['patience'], 'once');

# a text that can't be opened
$t->psql("insert into cardx.sms (sms_id, recipient, sealed_text, expires_at)
    values ('s', '+8613800138004', '\\x0102', now() + interval '1 min');
    select cardx.outbox_add('sms', 's')");
becomes('s', 'failed', 'a text of another master key');

# many, while deliver is killed again and again
my @many = map { sms("+86138001390$_", "m$_") } 10 .. 39;
for (1 .. 4) {
    $t->kill9('deliver-0');
    hurry();
    sleep 0.1;
}
$t->wait_for(sub {
    hurry();
    sleep 0.2;
    $t->psql('select count(*) from cardx.outbox') == 0;
}, 30);
my ($sent, $doubt, $wrong) = (0, 0, 0);
for my $i (0 .. $#many) {
    my $state = state_of($many[$i]);
    my $seen = $t->all_sms('+86138001390' . (10 + $i));
    $sent++ if $state eq 'sent true 0' && $seen == 1;
    $doubt++ if $state eq 'doubtful true 0' && $seen <= 1;
}
is($sent + $doubt, @many, "killed: none lost, none twice ($doubt in doubt)");
cmp_ok($doubt, '<=', 4, 'at most one in doubt for each time');

# PostgreSQL away: the same process goes on afterwards
my $pid = $t->pid('deliver-0');
$t->expect_log(qr/the database system|server closed the connection/);
$t->kill9('postgres');
$t->start;
becomes(sms('+8613800138005', 'again'), 'sent', 'after PostgreSQL was away');
is($t->pid('deliver-0'), $pid, 'by the same process');

calm_logs('neither number nor text in any log');
is($t->read_log('sms.log'), '', 'nor beside the log of messages');
$t->finish;

# --- a gateway that fails ----------------------------------------------------

my $port = CardxTest::free_port();
my $password = "/tmp/cx.kannel.$$";
open my $out, '>', $password or die;
print $out "cardxpw\n";
close $out;
chmod 0640, $password;
if ($> == 0) {
    my $gid = getgrnam 'www-data';
    chown 0, $gid, $password;
}

$t = CardxTest->new(settings => {
    workers_deliver => 1,
    sms_gateway => 'kannel',
    sms_kannel_url => "http://127.0.0.1:$port/cgi-bin/sendsms",
    sms_kannel_user => 'cardx',
    sms_kannel_password_file => $password,
    sms_from => '13013',
})->start;

# Answers each call as it is told to; notes the calls.
sub gateway {
    my ($answer) = @_;
    my $notes = File::Temp->new;
    my $socket = IO::Socket::INET->new(Listen => 5, ReuseAddr => 1,
        LocalAddr => '127.0.0.1', LocalPort => $port) or die "port: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $SIG{TERM} = 'DEFAULT';
        while (my $c = $socket->accept) {
            my $line = <$c>;
            open my $o, '>>', $notes->filename;
            print $o $line;
            close $o;
            while (<$c>) { last if /^\r\n$/ }
            sleep 3600 if $answer eq 'hang';
            print $c "HTTP/1.1 $answer\r\nContent-Length: 0\r\n\r\n"
                if $answer =~ /^\d/;
            close $c;
        }
        require POSIX;
        POSIX::_exit(0);
    }
    close $socket;
    return { pid => $pid, notes => $notes };
}

sub calls {
    my ($gateway) = @_;
    open my $in, '<', $gateway->{notes}->filename or return;
    my @lines = <$in>;
    return @lines;
}

sub stop {
    my ($gateway) = @_;
    kill 'TERM', $gateway->{pid};
    waitpid $gateway->{pid}, 0;
}

$id = sms('+8613800138010', 'nobody listens');
$t->wait_for(sub { $t->psql("select attempts > 0 from cardx.outbox
    where object = '$id'") eq 't' });
sleep 0.3;
is(state_of($id), 'queued false 1', 'no connection: kept');

my $g = gateway('503 Temporal failure, try again later.');
hurry();
$t->wait_for(sub { calls($g) });
sleep 0.3;
is(state_of($id), 'queued false 1', '503: kept');
stop($g);

$g = gateway('202 Accepted');
hurry();
becomes($id, 'sent', '202: sent');
is(scalar(my @c = calls($g)), 1, 'by one call');
is($c[0], 'GET /cgi-bin/sendsms?username=cardx&password=cardxpw&from=13013'
    . "&to=%2B8613800138010&text=nobody%20listens HTTP/1.1\r\n",
    'as Kannel wants it');

$id = sms('+8613800138011', "\xe4\xbd\xa0");
becomes($id, 'sent', 'Unicode');
@c = calls($g);
like($c[1], qr/&charset=UTF-8&coding=2&text=%E4%BD%A0 /, 'as UCS-2');
stop($g);

for my $answer ('403 Authorization failed for sendsms', '400 No') {
    $g = gateway($answer);
    becomes(sms('+8613800138012', 'no'), 'failed', "$answer: failed");
    is(scalar(@c = calls($g)), 1, 'by one call');
    stop($g);
}

for my $answer ('500 Oops', '302 Elsewhere', 'close') {
    $g = gateway($answer);
    becomes(sms('+8613800138013', 'perhaps'), 'doubtful',
        "$answer: in doubt");
    hurry();
    sleep 0.5;
    is(scalar(@c = calls($g)), 1, 'never called again');
    stop($g);
}

# killed during the call
$g = gateway('hang');
$id = sms('+8613800138014', 'in the middle');
$t->wait_for(sub { calls($g) });
like(state_of($id), qr/^sending false/, 'committed before the call');
$t->kill9('deliver-0');
hurry();
becomes($id, 'doubtful', 'killed during the call: in doubt');
is(scalar(@c = calls($g)), 1, 'not called again');

# stopped during the call: it is finished
$id = sms('+8613800138014', 'time-out');
$t->wait_for(sub { (my @all = calls($g)) == 2 });
becomes($id, 'doubtful', 'no answer in time: in doubt');
stop($g);

calm_logs('neither number nor text in any log, gateway');

# --- Kannel ------------------------------------------------------------------

SKIP: {
    my $kannel = CardxTest::Kannel->new(port => $port);
    skip 'no Kannel here', 1 unless $kannel;
    $kannel->start($t);

    $id = sms('+491700000002', 'Your cardx code is 123456');
    becomes($id, 'sent', 'a real Kannel takes it');
    $t->wait_for(sub { $kannel->received =~ /123456/ });
    like($kannel->received, qr/<13013 \S*491700000002 text Your cardx code/,
        'and it arrives at the centre');

    $id = sms('+491700000003', "\xe4\xbd\xa0\xe5\xa5\xbd \xc3\xa9");
    becomes($id, 'sent', 'Unicode by Kannel');
    $t->wait_for(sub { $kannel->received =~ /491700000003/ });
    like($kannel->received, qr/491700000003 (?:ucs-2|udh|data)/i,
        'arrives as UCS-2');

    $id = $t->post('/v1/registrations',
        { phone => '+491700000004', method => 'sms-down' });
    is($id->{status}, 202, 'a registration');
    $t->wait_for(sub { $kannel->received =~ /491700000004/ });
    like($kannel->received, qr/491700000004 \S+ .*\d/, 'its code arrives');
    $kannel->stop;
}

$t->finish;
unlink $password;
done_testing;
