#!/usr/bin/perl

# Under attack the rest goes on: guesses that only workers can judge, from so
# many addresses that no limit holds them; clients that send slowly; and the
# limit itself, where all come from one address; and one user's calls.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::SSL ();
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;
use CardxTest::H2;

my $t = CardxTest->new->start;
my $me = $t->register('+8613800138000');
my %auth = (token => $me->{access_token});
my $card = $t->card(\%auth, name => { full => 'Anna' });
my $key = $t->key(\%auth, $card)->{key};

sub guess {
    my @alphabet = ('A' .. 'Z', 2 .. 7);
    return "/c/$card?k=" . join '', (map { $alphabet[rand 32] } 1 .. 25), 'A';
}

# Sends guesses for so long; how many of each status.
sub flood {
    my ($seconds) = @_;
    my %count;
    my $end = time + $seconds;
    srand($$ ^ int(time));
    $count{ $t->get(guess())->{status} }++ while time < $end;
    return join ' ', map { "$_:$count{$_}" } sort keys %count;
}

# What people do meanwhile: each must be answered, the slowest in seconds.
sub people {
    my ($seconds) = @_;
    my %slowest;
    my @bad;
    my $end = time + $seconds;
    for (my $n = 0; time < $end; $n++) {
        for my $call (
            ['hit', 200, GET => "/c/$card?k=$key"],
            ['code', 302, GET => "/q/$key"],
            ['call', 200, GET => '/v1/me', undef, { %auth }],
            # its answer also says when there are as many terminals as there
            # may be
            $n % 20 == 0 ? ['password', '200|409', POST => '/v1/sessions', {
                phone => $me->{phone}, password => $me->{initial_password},
                terminal => { name => 'x' } }] : (),
        ) {
            my ($what, $status, @call) = @$call;
            my $start = time;
            my $r = $t->request(@call);
            my $took = time - $start;
            push @bad, "$what: $r->{status}" if $r->{status} !~ /^(?:$status)$/;
            $slowest{$what} = $took if $took > ($slowest{$what} || 0);
        }
    }
    return join(', ', @bad) . '|'
        . join ' ', map { sprintf '%s:%.3f', $_, $slowest{$_} }
        sort keys %slowest;
}

# --- guesses ---------------------------------------------------------------

my $seconds = 3;
my @said = $t->at_once((map { sub { flood($seconds) } } 1 .. 6),
    sub { people($seconds) });
my ($bad, $slowest) = split /\|/, pop @said;
my %all;
for (map { split / / } @said) {
    my ($status, $n) = split /:/;
    $all{$status} += $n;
}
diag(join ', ', "guesses in $seconds s: " . join(' ', map { "$_: $all{$_}" }
    sort keys %all), "slowest answers: $slowest");
cmp_ok($all{404} || 0, '>', 50, 'guesses were refused');
is(join(' ', grep { !/^(?:404|503)$/ } keys %all), '', 'or turned away');
is($bad, '', 'whatever else was asked was answered');
for (split / /, $slowest) {
    my ($what, $took) = split /:/;
    cmp_ok($took, '<', 5, "$what: and soon");
}

# --- slow clients ----------------------------------------------------------

sub slow {
    my ($text) = @_;
    my $socket = IO::Socket::SSL->new(PeerAddr => '127.0.0.1',
        PeerPort => $t->{port}, SSL_ca_file => $t->ca,
        SSL_hostname => 'localhost') or die "connect: $!";
    print $socket $text;
    return $socket;
}

my $head = "POST /v1/registrations HTTP/1.1\r\nHost: localhost\r\n";
my @heads = map { slow("GET / HTTP/1.1\r\nHost: lo") } 1 .. 60;
my @bodies = map { slow("${head}Content-Type: application/json\r\n"
    . "Content-Length: 1000\r\n\r\n{") } 1 .. 60;
my $began = time;
($bad, $slowest) = split /\|/, people(2);
is($bad, '', 'slow clients: whatever else was asked was answered');

# Whether the other side has ended it.
sub ended {
    my ($socket) = @_;
    local $SIG{ALRM} = sub { die "still open\n" };
    alarm 60;
    my $ended = eval { 1 while sysread $socket, my $bytes, 4096; 1 };
    alarm 0;
    return $ended;
}
is(scalar(grep { !ended($_) } @heads, @bodies), 0, 'and they were ended');
cmp_ok(time - $began, '<', 50, 'in time');
$t->finish;

# --- from one address ------------------------------------------------------

$t = CardxTest->new(refusals => 'rate=1r/s burst=50')->start;
$me = $t->register('+8613800138000');
%auth = (token => $me->{access_token});
$card = $t->card(\%auth, name => { full => 'Anna' });
$key = $t->key(\%auth, $card)->{key};

@said = $t->at_once((map { sub { flood(2) } } 1 .. 3), sub { people(2) });
($bad, $slowest) = split /\|/, pop @said;
%all = ();
for (map { split / / } @said) {
    my ($status, $n) = split /:/;
    $all{$status} += $n;
}
cmp_ok($all{404}, '<', 150, 'one address: few guesses are heard');
cmp_ok($all{429}, '>', 50, 'and the others limited');
is($bad, '', 'and who has a key there is not');

my $r = $t->get(guess());
$r = $t->get(guess()) for 1 .. 60;
is($r->{status}, 429, 'limited');
is($t->get("/c/$card?k=$key", undef, { Accept => 'text/html' })->{status}, 200,
    'a page opens with its key');
is($t->get("/c/$card.vcf?k=$key")->{status}, 200, 'and a vCard');

$t->finish;

# --- from one user ---------------------------------------------------------

# Nothing ends while the workers stand still, and few calls have room in their
# queue: more of one user's are made than that.
$t = CardxTest->new(settings => { socket_backlog => 20 }, processes => 1,
    nginx_conf => [[qr/cardx_calls user=8 network=16;/,
        'cardx_calls user=8 network=16 waiting=52;']])->start;
$me = $t->register('+8613800138000');
my $other = $t->register('+8613800138001');
my @workers = qw(api-fast-0 api-fast-1);

sub asked {
    my ($who) = @_;
    return slow("GET /v1/me HTTP/1.1\r\nHost: localhost\r\nConnection: close"
        . "\r\nAuthorization: Bearer $who->{access_token}\r\n\r\n");
}

sub answered {
    my ($socket) = @_;
    my $line = <$socket> // '';
    return $line =~ m{^HTTP/1.1 (\d+)} ? $1 : 'none';
}

$t->signal($_, 'STOP') for @workers;
my @calls = map { asked($me) } 1 .. 60;
ok($t->wait_for(sub {
    my ($waited) = $t->ops(GET => '/metrics')->{body}
        =~ /^cardx_edge_calls_waited_total (\d+)/m;
    # eight do not
    $waited == 52;
}), 'one user: calls wait at the edge');
my $refused = $t->get('/v1/me', undef, { token => $me->{access_token} });
is("$refused->{status} " . ($refused->{json}{code} // ''), '429 rate_limited',
    'and there is an end to it');
ok($refused->{headers}{'retry-after'}, 'who is told when to come again');
my $call = asked($other);
$t->signal($_, 'CONT') for @workers;
is(answered($call), 200, 'another one is answered');
is(scalar(grep { answered($_) ne '200' } @calls), 0, 'and so are all of them');

# who leaves at once leaves the call in the workers' queue
for my $path ('/v1/me', '/v1/events') {
    $t->signal($_, 'STOP') for @workers;
    my $http2 = CardxTest::H2->connect($t) or die 'no HTTP/2';
    for (1 .. 60) {
        my $stream = $http2->get($path, 'last-event-id', 'x',
            authorization => "Bearer $me->{access_token}");
        CardxTest::H2::pump(0.02, $http2);
        $http2->reset($stream);
    }
    $call = asked($other);
    # it must have come to the queue before that moves on
    sleep 0.3;
    $t->signal($_, 'CONT') for @workers;
    is(answered($call), 200, "resets of $path: another one is answered");
    $http2->over;
}

$t->finish;
done_testing;
